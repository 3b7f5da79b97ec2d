//! XEP-0215: External Service Discovery: STUN, TURN and whatever else the operator names, with
//! passwords that end for services that share a secret with us. For our own accounts alone.

use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::BareJid;
use comity_xmpp::sasl::{Hash, encode};
use comity_xmpp::stanza::IqType;

use super::{Context, Entity, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;
use crate::offers::{Access, Service};
use crate::time::stamp;

const EXTDISCO: &str = "urn:xmpp:extdisco:2";
/// Letters of a user name that tell one account from another, and no stranger which it is.
const ALIAS: usize = 16;

pub const MODULE: Module = Module {
    name: "external_services",
    handles: &[asked("services"), asked("credentials")],
    features: &[(Entity::Domain, EXTDISCO)],
    handle,
    ..Module::EMPTY
};

const fn asked(name: &'static str) -> Handles {
    Handles {
        what: What::Iq(IqType::Get),
        ns: EXTDISCO,
        name,
        target: Target::Domain,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        match answer(&context, &request) {
            Ok(answer) => Deliveries::answer(request.stanza.result(Some(&answer))),
            Err(error) => Deliveries::refuse(&request.stanza, &error),
        }
    })
}

fn answer(context: &Context, request: &Request) -> Result<Element, StanzaError> {
    let account = request.from.to_bare();
    let refused = |kind, condition| Err(StanzaError::new(kind, condition));
    if context.session().is_none() || account.domain() != request.to.domain() {
        // XEP-0215 §5: others are not to use up what our people need.
        return refused(ErrorType::Auth, StanzaCondition::Forbidden);
    }
    let offers = context.home.offers.now();
    let services = offers.services.iter();
    let show = |service: &Service| shown(service, &account, context.now_ms());
    if request.payload.name == "services" {
        let wanted = request.payload.attr("type");
        let wanted = services.filter(|service| wanted.is_none_or(|kind| kind == service.kind));
        return Ok(Element::new(EXTDISCO, "services")
            .with_attr_opt("type", request.payload.attr("type"))
            .with_children(wanted.map(show)));
    }
    // XEP-0215 §3.3.
    let Some(asked) = request.payload.child(EXTDISCO, "service") else {
        return refused(ErrorType::Modify, StanzaCondition::BadRequest);
    };
    let (Some(host), Some(kind)) = (asked.attr("host"), asked.attr("type")) else {
        return refused(ErrorType::Modify, StanzaCondition::BadRequest);
    };
    let port = asked.attr("port");
    let found: Vec<Element> = services
        .filter(|service| service.host == host && service.kind == kind)
        .filter(|service| {
            port.is_none() || service.port.map(|port| port.to_string()).as_deref() == port
        })
        .map(show)
        .collect();
    if found.is_empty() {
        return refused(ErrorType::Cancel, StanzaCondition::ItemNotFound);
    }
    Ok(Element::new(EXTDISCO, "credentials").with_children(found))
}

fn shown(service: &Service, account: &BareJid, now_ms: u64) -> Element {
    let mut shown = Element::new(EXTDISCO, "service")
        .with_attr("type", service.kind.as_str())
        .with_attr("host", service.host.as_str())
        .with_attr_opt("port", service.port.map(|port| port.to_string()))
        .with_attr_opt("transport", service.transport)
        .with_attr_opt("name", service.name.as_deref());
    match &service.access {
        Access::Open => {}
        Access::Fixed { username, password } => {
            shown.set_attr("restricted", "true");
            shown.set_attr("username", username);
            shown.set_attr("password", password);
        }
        Access::Shared { secret, lifetime } => {
            let seconds = now_ms / 1000 + lifetime.as_secs();
            let (username, password) = time_limited(secret, account, seconds);
            shown.set_attr("restricted", "true");
            shown.set_attr("expires", stamp(seconds * 1000));
            shown.set_attr("username", username);
            shown.set_attr("password", password);
        }
    }
    shown
}

/// draft-uberti-behave-turn-rest-00 §2.2: base64(HMAC-SHA1(secret, expiry ":" user)).
fn time_limited(secret: &[u8], account: &BareJid, expires_s: u64) -> (String, String) {
    let alias = Hash::Sha256.hmac(secret, account.as_str().as_bytes());
    let alias: String = alias.iter().map(|byte| format!("{byte:02x}")).collect();
    let username = format!("{expires_s}:{}", &alias[..ALIAS]);
    let password = encode(&Hash::Sha1.hmac(secret, username.as_bytes()));
    (username, password)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::offers::Offers;
    use crate::play::Play;

    fn service(kind: &str, access: Access) -> Service {
        Service {
            kind: kind.to_owned(),
            host: "turn.a.example".to_owned(),
            port: Some(3478),
            transport: Some("udp"),
            name: None,
            access,
        }
    }

    fn offers() -> Offers {
        let shared = Access::Shared {
            secret: b"s3cret".to_vec(),
            lifetime: Duration::from_secs(3600),
        };
        let fixed = Access::Fixed {
            username: "u".to_owned(),
            password: "p".to_owned(),
        };
        Offers {
            services: vec![
                service("stun", Access::Open),
                service("turn", shared),
                service("ftp", fixed),
            ],
            ..Offers::default()
        }
    }

    /// The value was made by `printf %s 1800003600:… | openssl dgst -sha1 -hmac s3cret -binary | base64`.
    #[test]
    fn a_password_is_what_turn_servers_expect() {
        let account = BareJid::parse("alice@a.example").unwrap();
        let (username, password) = time_limited(b"s3cret", &account, 1_800_003_600);
        assert_eq!(username, "1800003600:e9d16f2f251f2445");
        assert_eq!(password, "7Mqy4anGDtQJHotfE8H7but9xFU=");
        let other = BareJid::parse("bob@a.example").unwrap();
        assert_ne!(time_limited(b"s3cret", &other, 1_800_003_600).0, username);
    }

    #[tokio::test]
    async fn accounts_are_told_what_they_ask_for() {
        let play = Play::offering(&["alice@a.example"], offers()).await;
        let mut alice = play.login("alice@a.example/1").await;
        let (username, password) =
            time_limited(b"s3cret", &alice.jid.to_bare(), crate::play::START_S + 3600);
        let place = "host='turn.a.example' port='3478' transport='udp'";
        let turn = format!(
            "<service type='turn' {place} restricted='true' expires='2027-01-15T09:00:00.000Z' \
             username='{username}' password='{password}'/>"
        );
        let fixed =
            format!("<service type='ftp' {place} restricted='true' username='u' password='p'/>");
        let stun = format!("<service type='stun' {place}/>");
        for (ask, expected) in [
            (
                "<services xmlns='urn:xmpp:extdisco:2'/>",
                format!("<services xmlns='urn:xmpp:extdisco:2'>{stun}{turn}{fixed}</services>"),
            ),
            (
                "<services xmlns='urn:xmpp:extdisco:2' type='turn'/>",
                format!("<services xmlns='urn:xmpp:extdisco:2' type='turn'>{turn}</services>"),
            ),
            (
                "<credentials xmlns='urn:xmpp:extdisco:2'><service type='turn' host='turn.a.example'/></credentials>",
                format!("<credentials xmlns='urn:xmpp:extdisco:2'>{turn}</credentials>"),
            ),
        ] {
            alice
                .send(&format!("<iq type='get' id='x' to='a.example'>{ask}</iq>"))
                .await;
            alice
                .gets(&format!(
                    "<iq type='result' id='x' from='a.example' to='alice@a.example/1'>{expected}</iq>"
                ))
                .await;
        }
    }

    #[tokio::test]
    async fn nobody_else_is() {
        let play = Play::offering(&["alice@c.example"], offers()).await;
        let mut alice = play.login("alice@c.example/1").await;
        let forbidden = "<error type='auth'><forbidden \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
        alice
            .send(
                "<iq type='get' id='x' to='a.example'><services xmlns='urn:xmpp:extdisco:2'/></iq>",
            )
            .await;
        alice
            .gets(&format!(
                "<iq type='error' id='x' from='a.example' to='alice@c.example/1'>{forbidden}</iq>"
            ))
            .await;
        play.arrives(
            "<iq type='get' id='x' from='eve@b.example/x' to='a.example'>\
             <services xmlns='urn:xmpp:extdisco:2'/></iq>",
        )
        .await;
        play.sent_away(&[&format!(
            "<iq type='error' id='x' from='a.example' to='eve@b.example/x'>{forbidden}</iq>"
        )]);
        for (ask, kind, condition) in [
            (
                "<credentials xmlns='urn:xmpp:extdisco:2'/>",
                "modify",
                "bad-request",
            ),
            (
                "<credentials xmlns='urn:xmpp:extdisco:2'><service type='x' host='y'/></credentials>",
                "cancel",
                "item-not-found",
            ),
        ] {
            alice
                .send(&format!("<iq type='get' id='x' to='c.example'>{ask}</iq>"))
                .await;
            alice
                .gets(&format!(
                    "<iq type='error' id='x' from='c.example' to='alice@c.example/1'>\
                     <error type='{kind}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                     </error></iq>"
                ))
                .await;
        }
    }
}
