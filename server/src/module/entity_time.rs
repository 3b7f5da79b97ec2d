//! XEP-0202: Entity Time, of the server: always UTC, since a machine's zone is nobody's business.

use comity_xmpp::element::Element;
use comity_xmpp::stanza::IqType;

use super::{Context, Entity, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;
use crate::time::stamp;

const TIME: &str = "urn:xmpp:time";

pub const MODULE: Module = Module {
    name: "entity_time",
    handles: &[Handles {
        what: What::Iq(IqType::Get),
        ns: TIME,
        name: "time",
        target: Target::Domain,
    }],
    features: &[(Entity::Domain, TIME)],
    handle,
    ..Module::EMPTY
};

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let text = |name: &str, text: String| Element::new(TIME, name).with_text(text);
        let time = Element::new(TIME, "time")
            .with_child(text("tzo", "+00:00".to_owned()))
            .with_child(text("utc", stamp(context.now_ms())));
        Deliveries::answer(request.stanza.result(Some(&time)))
    })
}

#[cfg(test)]
mod tests {
    use crate::play::Play;

    #[tokio::test]
    async fn the_server_tells_the_time() {
        let play = Play::of(&["alice@a.example"]).await;
        let mut alice = play.login("alice@a.example/1").await;
        alice
            .send("<iq type='get' id='t' to='a.example'><time xmlns='urn:xmpp:time'/></iq>")
            .await;
        alice
            .gets(
                "<iq type='result' id='t' from='a.example' to='alice@a.example/1'>\
                 <time xmlns='urn:xmpp:time'><tzo>+00:00</tzo>\
                 <utc>2027-01-15T08:00:00.000Z</utc></time></iq>",
            )
            .await;
    }
}
