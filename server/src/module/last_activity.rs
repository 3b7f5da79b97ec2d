//! XEP-0012: Last Activity: how long the server runs, and how long an account has been away, for
//! those who see its presence.

use std::sync::Arc;

use comity_storage::{LastActivity, NoteGone};
use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stanza::{IqType, Stanza};
use tracing::error;

use super::{Context, Entity, Handles, Later, Module, Request, Target, What, presence};
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::route::unavailable;

const LAST: &str = "jabber:iq:last";
/// Bytes of what a last presence said.
const STATUS_BYTES: usize = 1023;

pub const MODULE: Module = Module {
    name: "last_activity",
    handles: &[
        asked(Target::Domain),
        asked(Target::OwnAccount),
        asked(Target::OtherAccount),
    ],
    features: &[(Entity::Domain, LAST), (Entity::Account, LAST)],
    handle,
    ..Module::EMPTY
};

const fn asked(target: Target) -> Handles {
    Handles {
        what: What::Iq(IqType::Get),
        ns: LAST,
        name: "query",
        target,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let home = &context.home;
        let now = context.now_ms();
        let account = request.to.to_bare();
        if request.target == Target::Domain {
            return answer(&request, now.saturating_sub(home.started_ms), "");
        }
        // XEP-0012 §5; strangers do not learn whether there is such an account.
        if !presence::sees(home, &request.from.to_bare(), &account).await {
            return Deliveries::refuse(&request.stanza, &unavailable());
        }
        if !home.sessions.available(&account).is_empty() {
            return answer(&request, 0, "");
        }
        match home.storage.last_activity(account.as_str()).await {
            Ok(Some(last)) => answer(&request, now.saturating_sub(last.gone), &last.status),
            Ok(None) => Deliveries::refuse(&request.stanza, &unavailable()),
            Err(fault) => deliver::failed(&request.stanza, &fault),
        }
    })
}

fn answer(request: &Request, ago_ms: u64, status: &str) -> Deliveries {
    let mut query = Element::new(LAST, "query").with_attr("seconds", (ago_ms / 1000).to_string());
    if !status.is_empty() {
        query = query.with_text(status);
    }
    Deliveries::answer(request.stanza.result(Some(&query)))
}

/// A session of the account is not available any more, and says this; notes it where it was the
/// last.
pub(crate) async fn left(home: &Home, account: &BareJid, presence: &Arc<Stanza>) {
    if !home.sessions.available(account).is_empty() {
        return;
    }
    let mut status = presence.text_of("status").unwrap_or_default();
    let end = status.floor_char_boundary(STATUS_BYTES);
    status.truncate(end);
    let note = NoteGone {
        account: account.as_str().to_owned(),
        last: LastActivity {
            gone: home.now_ms(),
            status,
        },
    };
    if let Err(fault) = home.storage.write(note).await {
        error!(%fault, "it is not noted when an account was last here");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::play::Play;

    const ALICE: &str = "alice@a.example";
    const BOB: &str = "bob@a.example";

    fn asks(to: &str) -> String {
        format!("<iq type='get' id='l' to='{to}'><query xmlns='jabber:iq:last'/></iq>")
    }

    #[tokio::test]
    async fn contacts_learn_how_long_somebody_is_away() {
        let play = Play::of(&[ALICE, BOB]).await;
        let mut alice = play.login("alice@a.example/1").await;
        let mut bob = play.login("bob@a.example/1").await;
        bob.send(&asks(ALICE)).await;
        let refused = "<iq type='error' id='l' from='alice@a.example' to='bob@a.example/1'>\
             <error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";
        bob.gets(refused).await;
        bob.send("<presence type='subscribe' to='alice@a.example'/>")
            .await;
        alice
            .send("<presence type='subscribed' to='bob@a.example'/>")
            .await;
        bob.forget().await;
        bob.send(&asks(ALICE)).await;
        bob.gets(
            "<iq type='result' id='l' from='alice@a.example' to='bob@a.example/1'>\
             <query xmlns='jabber:iq:last' seconds='0'/></iq>",
        )
        .await;
        alice
            .send("<presence type='unavailable'><status>tea</status></presence>")
            .await;
        play.clock.forward(Duration::from_millis(903_500));
        bob.forget().await;
        alice.forget().await;
        bob.send(&asks(ALICE)).await;
        bob.gets(
            "<iq type='result' id='l' from='alice@a.example' to='bob@a.example/1'>\
             <query xmlns='jabber:iq:last' seconds='903'>tea</query></iq>",
        )
        .await;
        bob.send(&asks("a.example")).await;
        bob.gets(
            "<iq type='result' id='l' from='a.example' to='bob@a.example/1'>\
             <query xmlns='jabber:iq:last' seconds='903'/></iq>",
        )
        .await;
    }
}
