//! XEP-0280: Message Carbons. Every client of an account that asks for it gets a copy of what the
//! others send and are sent, so that a person finds one conversation on all of them.

use std::sync::Arc;

use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

use super::archive::rules;
use super::{Context, Entity, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::module::message::id;

const CARBONS: &str = ns::CARBONS;

pub const MODULE: Module = Module {
    name: "carbons",
    handles: &[switch("enable"), switch("disable")],
    features: &[(Entity::Domain, CARBONS), (Entity::Account, CARBONS)],
    handle,
    ..Module::EMPTY
};

const fn switch(name: &'static str) -> Handles {
    Handles {
        what: What::Iq(IqType::Set),
        ns: CARBONS,
        name,
        target: Target::OwnAccount,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        if let Some(session) = context.session() {
            let on = request.payload.name == "enable";
            context
                .home
                .sessions
                .with(session, |session| session.carbons = on);
        }
        Deliveries::answer(request.stanza.result(None))
    })
}

/// A copy for each of some sessions.
pub(crate) type Copies = Vec<(Jid, Arc<Stanza>)>;

/// XEP-0280 §8: copies of what one session sends, for the others of its account. `name`: by which
/// its archive knows it.
pub(crate) fn sent(home: &Home, session: &Jid, stanza: &Stanza, name: Option<&str>) -> Copies {
    copies(home, &session.to_bare(), stanza, name, "sent", |other| {
        other != session
    })
}

/// XEP-0280 §7: copies of what some sessions of an account are given, for its others.
pub(crate) fn received(home: &Home, account: &BareJid, given: &[Jid], stanza: &Stanza) -> Copies {
    copies(home, account, stanza, None, "received", |other| {
        !given.contains(other)
    })
}

fn copies(
    home: &Home,
    account: &BareJid,
    stanza: &Stanza,
    name: Option<&str>,
    direction: &str,
    which: impl Fn(&Jid) -> bool,
) -> Copies {
    if !is_eligible(stanza) {
        return Copies::new();
    }
    let others = home.sessions.of(account, |session| {
        (session.carbons && which(&session.jid)).then(|| session.jid.clone())
    });
    if others.is_empty() {
        return Copies::new();
    }
    let named = name.map(|name| id::named(stanza, account, name));
    let Some(copy) = copy(account, named.as_ref().unwrap_or(stanza), direction) else {
        return Copies::new();
    };
    let addressed = |session: Jid| {
        let copy = copy.clone().with_to(session.clone());
        (session, Arc::new(copy))
    };
    others.into_iter().map(addressed).collect()
}

/// XEP-0280 §6.1, and what its sender has asked not to be copied (§9, XEP-0334 §4.3).
fn is_eligible(stanza: &Stanza) -> bool {
    let conversation = match stanza.kind {
        Kind::Message(MessageType::Chat) => true,
        Kind::Message(MessageType::Normal) => rules::converses(stanza),
        _ => false,
    };
    let copied = stanza.has(CARBONS, "sent") || stanza.has(CARBONS, "received");
    conversation && !copied && !stanza.has(CARBONS, "private") && !stanza.has(ns::HINTS, "no-copy")
}

/// A copy says what another client knows already: it is not worth keeping.
pub(crate) fn is_copy(stanza: &Stanza) -> bool {
    stanza.has(CARBONS, "sent") || stanza.has(CARBONS, "received")
}

/// XEP-0280 §7: from the account itself, or a client could be made to believe anything.
pub(crate) fn copy(account: &BareJid, stanza: &Stanza, direction: &str) -> Option<Stanza> {
    let bytes = stanza.to_bytes(Some(ns::CLIENT));
    let message = xml::parse(&bytes, &Header::of(ns::CLIENT)).ok()?;
    let forwarded = Element::new(ns::FORWARD, "forwarded").with_child(message);
    let payload = Element::new(CARBONS, direction).with_child(forwarded);
    Some(
        Stanza::new(stanza.kind)
            .with_from(account.clone())
            .with(&payload),
    )
}

#[cfg(test)]
mod tests {
    use crate::play::{Person, Play};

    const ENABLE: &str = "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>";

    async fn with_carbons(play: &Play, jid: &str) -> Person {
        let mut person = play.login(jid).await;
        person.send(ENABLE).await;
        person
            .gets(&format!("<iq type='result' id='c' to='{jid}'/>"))
            .await;
        person
    }

    fn copy(direction: &str, to: &str, inner: &str) -> String {
        format!(
            "<message type='chat' from='romeo@a.example' to='{to}'>\
             <{direction} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             {inner}</forwarded></{direction}></message>"
        )
    }

    #[tokio::test]
    async fn what_one_client_says_and_hears_the_others_know() {
        let play = Play::of(&["romeo@a.example", "juliet@a.example"]).await;
        let mut orchard = with_carbons(&play, "romeo@a.example/orchard").await;
        let mut phone = with_carbons(&play, "romeo@a.example/phone").await;
        let mut plain = play.login("romeo@a.example/plain").await;
        let mut juliet = play.login("juliet@a.example/balcony").await;
        orchard.forget().await;
        phone.forget().await;

        orchard
            .send("<message type='chat' to='juliet@a.example'><body>a</body></message>")
            .await;
        let said = "<message xmlns='jabber:client' type='chat' from='romeo@a.example/orchard' \
                    to='juliet@a.example'><body>a</body></message>";
        juliet.gets(said).await;
        phone
            .gets(&copy("sent", "romeo@a.example/phone", said))
            .await;

        juliet
            .send("<message type='chat' to='romeo@a.example/orchard'><body>b</body></message>")
            .await;
        let heard = "<message xmlns='jabber:client' type='chat' from='juliet@a.example/balcony' \
                     to='romeo@a.example/orchard'><body>b</body></message>";
        orchard.gets(heard).await;
        phone
            .gets(&copy("received", "romeo@a.example/phone", heard))
            .await;

        // To the bare address everybody is given it, and nobody a copy beside.
        juliet
            .send("<message type='chat' to='romeo@a.example'><body>c</body></message>")
            .await;
        let all = "<message type='chat' from='juliet@a.example/balcony' \
                   to='romeo@a.example'><body>c</body></message>";
        for person in [&mut orchard, &mut phone, &mut plain] {
            person.gets(all).await;
            person.gets_nothing().await;
        }

        for private in [
            "<private xmlns='urn:xmpp:carbons:2'/>",
            "<no-copy xmlns='urn:xmpp:hints'/>",
        ] {
            orchard
                .send(&format!(
                    "<message type='chat' to='juliet@a.example'><body>d</body>{private}</message>"
                ))
                .await;
        }
        phone
            .send("<iq type='set' id='d'><disable xmlns='urn:xmpp:carbons:2'/></iq>")
            .await;
        phone
            .gets("<iq type='result' id='d' to='romeo@a.example/phone'/>")
            .await;
        orchard
            .send("<message type='chat' to='juliet@a.example'><body>e</body></message>")
            .await;
        phone.gets_nothing().await;
    }
}
