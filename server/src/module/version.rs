//! XEP-0092: Software Version, of the server.

use comity_xmpp::element::Element;
use comity_xmpp::stanza::IqType;

use super::{Context, Entity, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;

const VERSION: &str = "jabber:iq:version";

pub const MODULE: Module = Module {
    name: "version",
    handles: &[Handles {
        what: What::Iq(IqType::Get),
        ns: VERSION,
        name: "query",
        target: Target::Domain,
    }],
    features: &[(Entity::Domain, VERSION)],
    handle,
    ..Module::EMPTY
};

fn handle(_: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let text = |name: &str, text: &str| Element::new(VERSION, name).with_text(text);
        // XEP-0092 §5: the operating system is nobody's business.
        let query = Element::new(VERSION, "query")
            .with_child(text("name", "Comity"))
            .with_child(text("version", env!("CARGO_PKG_VERSION")));
        Deliveries::answer(request.stanza.result(Some(&query)))
    })
}

#[cfg(test)]
mod tests {
    use crate::play::Play;

    #[tokio::test]
    async fn the_version_is_told_and_nothing_else() {
        let play = Play::of(&["alice@a.example"]).await;
        let mut alice = play.login("alice@a.example/1").await;
        alice
            .send("<iq type='get' id='v' to='a.example'><query xmlns='jabber:iq:version'/></iq>")
            .await;
        alice
            .gets(&format!(
                "<iq type='result' id='v' from='a.example' to='alice@a.example/1'>\
                 <query xmlns='jabber:iq:version'><name>Comity</name><version>{}</version>\
                 </query></iq>",
                env!("CARGO_PKG_VERSION")
            ))
            .await;
    }
}
