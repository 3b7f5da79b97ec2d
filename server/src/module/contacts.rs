//! XEP-0157: Contact Addresses for XMPP Services: whom to write to about this server.

use comity_xmpp::element::Element;
use comity_xmpp::form::{Field, Form, FormKind};

use super::{Entity, Module};
use crate::home::Home;

const SERVER_INFO: &str = "http://jabber.org/network/serverinfo";

pub const MODULE: Module = Module {
    name: "contacts",
    info,
    ..Module::EMPTY
};

fn info(home: &Home, entity: Entity) -> Vec<Element> {
    let contacts = &home.offers.now().contacts;
    if entity != Entity::Domain || contacts.is_empty() {
        return Vec::new();
    }
    let field = |(of, addresses): &(&str, Vec<String>)| Field {
        var: format!("{of}-addresses"),
        kind: Some("list-multi"),
        values: addresses.clone(),
        ..Field::default()
    };
    let mut form = Form::new(FormKind::Result, SERVER_INFO);
    form.fields.extend(contacts.iter().map(field));
    vec![form.to_element()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offers::Offers;
    use crate::play::Play;

    #[tokio::test]
    async fn addresses_are_found_by_service_discovery() {
        let contacts = vec![("abuse", vec!["mailto:abuse@a.example".to_owned()])];
        let offers = Offers {
            contacts,
            ..Offers::default()
        };
        let play = Play::offering(&["alice@a.example"], offers).await;
        let shown = info(&play.home, Entity::Domain);
        let form = Form::read(&shown[0]).unwrap();
        assert_eq!(form.form_type(), Some(SERVER_INFO));
        let field = form
            .fields
            .iter()
            .find(|field| field.var == "abuse-addresses");
        assert_eq!(field.unwrap().values, ["mailto:abuse@a.example"]);
        assert!(info(&play.home, Entity::Account).is_empty());
        // Without addresses there is no form.
        assert!(info(&Play::of(&[]).await.home, Entity::Domain).is_empty());
    }
}
