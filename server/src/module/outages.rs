//! XEP-0455: Service Outage Status: where a client that cannot reach this server reads why. It learns
//! of the place while it can.

use comity_xmpp::element::Element;
use comity_xmpp::form::{Field, Form, FormKind};

use super::{Entity, Module};
use crate::home::Home;

const SOS: &str = "urn:xmpp:sos:0";

pub const MODULE: Module = Module {
    name: "outages",
    info,
    ..Module::EMPTY
};

fn info(home: &Home, entity: Entity) -> Vec<Element> {
    let outages = &home.offers.now().outages;
    if entity != Entity::Domain || outages.is_empty() {
        return Vec::new();
    }
    let mut form = Form::new(FormKind::Result, SOS);
    form.fields.push(Field {
        var: "external-status-addresses".to_owned(),
        kind: Some("list-multi"),
        values: outages.clone(),
        ..Field::default()
    });
    vec![form.to_element()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::disco;
    use crate::offers::Offers;
    use crate::play::Play;

    #[tokio::test]
    async fn pages_about_outages_are_found_by_service_discovery() {
        let page = "https://status.example/xmpp.json";
        let offers = Offers {
            outages: vec![page.to_owned()],
            ..Offers::default()
        };
        let play = Play::offering(&["alice@a.example"], offers).await;
        let form = Form::read(&info(&play.home, Entity::Domain)[0]).unwrap();
        assert_eq!(form.form_type(), Some(SOS));
        let field = form
            .fields
            .iter()
            .find(|field| field.var == "external-status-addresses");
        assert_eq!(field.unwrap().values, [page]);
        assert!(info(&play.home, Entity::Account).is_empty());
        assert!(
            disco::info(&play.home, Entity::Domain)
                .to_string()
                .contains(page)
        );
        // Without pages there is no form.
        assert!(info(&Play::of(&[]).await.home, Entity::Domain).is_empty());
    }
}
