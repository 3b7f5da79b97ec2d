//! XEP-0077: In-Band Registration. Here, for accounts that are there: another password, and their
//! end; in `new`, for those that are not.

use comity_storage::{DeleteAccount, EnableAccount, SetScramKeys};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind};
use tracing::{error, info};

use super::{Context, Entity, Handles, Later, Module, Request, Target, What, mls_crl, roster};
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::passwords::PasswordError;
use crate::route::unavailable;

pub(crate) mod new;

pub const MODULE: Module = Module {
    name: "registration",
    handles: &[
        asked(IqType::Get, Target::Domain),
        asked(IqType::Set, Target::Domain),
        asked(IqType::Get, Target::OwnAccount),
        asked(IqType::Set, Target::OwnAccount),
    ],
    features: &[(Entity::Domain, ns::REGISTER)],
    handle,
    ..Module::EMPTY
};

const fn asked(kind: IqType, target: Target) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: ns::REGISTER,
        name: "query",
        target,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let account = request.from.to_bare();
        if context.session().is_none() || account.domain() != request.to.domain() {
            // Of another domain, or of another of ours.
            return Deliveries::refuse(&request.stanza, &unavailable());
        }
        let done = match request.stanza.kind {
            Kind::Iq(IqType::Get) => Ok(Deliveries::answer(
                request.stanza.result(Some(&registered(&account))),
            )),
            _ if request.payload.child(ns::REGISTER, "remove").is_some() => {
                remove(&context.home, account, &request).await
            }
            _ => password(&context.home, &account, &request).await,
        };
        done.unwrap_or_else(|error| Deliveries::refuse(&request.stanza, &error))
    })
}

type Done = Result<Deliveries, StanzaError>;

/// XEP-0077 §3.1.1, for who is registered.
fn registered(account: &BareJid) -> Element {
    let name = account.local().unwrap_or_default();
    Element::new(ns::REGISTER, "query")
        .with_child(Element::new(ns::REGISTER, "registered"))
        .with_child(Element::new(ns::REGISTER, "username").with_text(name))
        .with_child(Element::new(ns::REGISTER, "password"))
}

/// XEP-0077 §3.3. Tokens to log in with end with the old password.
async fn password(home: &Home, account: &BareJid, request: &Request) -> Done {
    let text = |name| request.payload.child(ns::REGISTER, name).map(Element::text);
    let (Some(username), Some(password)) = (text("username"), text("password")) else {
        return Err(bad_request("name the account and its new password"));
    };
    let named = BareJid::parse(&format!("{username}@{}", account.domain()));
    if named.as_ref() != Ok(account) {
        return Err(
            StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAllowed)
                .with_text("only one's own password can be changed"),
        );
    }
    let keys = match home.passwords.keys(&password).await {
        Ok(keys) => keys,
        Err(PasswordError::Bad(why)) => return Err(bad_request(&why.to_string())),
        Err(PasswordError::Stopping) => return Err(later()),
    };
    let change = SetScramKeys {
        account: account.to_string(),
        keys,
    };
    match home.storage.write(change).await {
        Ok(true) => {
            info!(%account, "has changed its password");
            Ok(Deliveries::answer(request.stanza.result(None)))
        }
        Ok(false) => Err(unavailable()),
        Err(fault) => Ok(deliver::failed(&request.stanza, &fault)),
    }
}

/// XEP-0077 §3.2. Nobody logs in any more from here on; the rest follows the answer.
async fn remove(home: &Home, account: BareJid, request: &Request) -> Done {
    if request.payload.elements().count() > 1 {
        return Err(bad_request("nothing goes with <remove/>"));
    }
    let disable = EnableAccount {
        account: account.to_string(),
        enabled: false,
    };
    match home.storage.write(disable).await {
        Ok(true) => {}
        Ok(false) => return Err(unavailable()),
        Err(fault) => return Ok(deliver::failed(&request.stanza, &fault)),
    }
    let mut deliveries = Deliveries::answer(request.stanza.result(None));
    let home = home.clone();
    // Boxed with its type named: what it tells goes through the very door it came from.
    deliveries.afterwards(Box::pin(async move { gone(home, account).await }) as Later<Deliveries>);
    Ok(deliveries)
}

/// An account that is disabled goes: its contacts are told, its sessions and its data end.
async fn gone(home: Home, account: BareJid) -> Deliveries {
    home.sessions.kick(&account, "the account has been removed");
    if let Err(fault) = roster::leave(&home, &account).await {
        error!(%account, %fault, "is disabled, but not removed: delete it by hand");
        return Deliveries::none();
    }
    let delete = DeleteAccount {
        account: account.to_string(),
    };
    if let Err(fault) = home.storage.write(delete).await {
        error!(%account, %fault, "is disabled, but not removed: delete it by hand");
        return Deliveries::none();
    }
    home.blocklists.forget(&account);
    info!(%account, "has removed itself");
    // Its devices ended with it; the revocation list says so at once.
    mls_crl::publish(&home, &account).await
}

fn bad_request(text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest).with_text(text)
}

fn later() -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
        .with_text("the server is stopping: come back soon")
}

#[cfg(test)]
mod tests {
    use comity_xmpp::jid::BareJid;

    use crate::module::account;
    use crate::play::{Person, Play};

    const ALICE: &str = "alice@a.example";

    async fn ask(person: &mut Person, kind: &str, content: &str, answer: &str) {
        let jid = person.jid.clone();
        person
            .send(&format!(
                "<iq type='{kind}' id='r' to='a.example'><query xmlns='jabber:iq:register'>\
                 {content}</query></iq>"
            ))
            .await;
        let to = format!("id='r' from='a.example' to='{jid}'");
        person.gets(&answer.replace("%TO", &to)).await;
    }

    async fn opens(play: &Play, password: &str) -> bool {
        let jid = BareJid::parse(ALICE).unwrap();
        let credentials = account::credentials(&play.home, &jid).await;
        credentials.usable
            && credentials.sha256.verify_password(password)
            && credentials.sha1.verify_password(password)
    }

    #[tokio::test]
    async fn a_password_is_changed_by_its_owner_alone() {
        let play = Play::of(&[ALICE]).await;
        let mut alice = play.login("alice@a.example/1").await;
        let shown = "<iq type='result' %TO><query xmlns='jabber:iq:register'><registered/>\
             <username>alice</username><password/></query></iq>";
        ask(&mut alice, "get", "", shown).await;
        let change = "<username>alice</username><password>sesame</password>";
        ask(&mut alice, "set", change, "<iq type='result' %TO/>").await;
        assert!(opens(&play, "sesame").await);
        for (content, kind, condition) in [
            (
                "<username>bob</username><password>x</password>",
                "cancel",
                "not-allowed",
            ),
            (
                "<username>alice</username><password/>",
                "modify",
                "bad-request",
            ),
            ("<username>alice</username>", "modify", "bad-request"),
            (
                "<remove/><username>alice</username>",
                "modify",
                "bad-request",
            ),
            ("", "modify", "bad-request"),
        ] {
            let refused = format!(
                "<iq type='error' %TO><error type='{kind}'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            );
            ask(&mut alice, "set", content, &refused).await;
        }
        assert!(opens(&play, "sesame").await);
        play.arrives(
            "<iq type='set' id='r' from='alice@b.example/x' to='a.example'>\
             <query xmlns='jabber:iq:register'><remove/></query></iq>",
        )
        .await;
        play.sent_away(&[
            "<iq type='error' id='r' from='a.example' to='alice@b.example/x'>\
             <error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
        ]);
    }

    #[tokio::test]
    async fn an_account_removes_itself() {
        let play = Play::of(&[ALICE]).await;
        let mut alice = play.login("alice@a.example/1").await;
        alice
            .send("<presence type='subscribe' to='carol@b.example'/>")
            .await;
        alice.forget().await;
        play.queued(
            "b.example",
            &["<presence type='subscribe' from='alice@a.example' to='carol@b.example'/>"],
        )
        .await;
        ask(&mut alice, "set", "<remove/>", "<iq type='result' %TO/>").await;
        alice.is_thrown_out().await;
        for _ in 0..1000 {
            if !play.home.storage.account_exists(ALICE).await.unwrap() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(!play.home.storage.account_exists(ALICE).await.unwrap());
        play.queued(
            "b.example",
            &["<presence type='unsubscribe' from='alice@a.example' to='carol@b.example'/>"],
        )
        .await;
    }
}
