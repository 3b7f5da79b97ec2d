//! An account that is about to be deleted says farewell, so that nobody goes on waiting for it or
//! counting on its presence.

use comity_storage::Error;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stanza::{Kind, PresenceType, Stanza};
use tracing::warn;

use super::remove;
use crate::deliver::{self, Deliveries};
use crate::home::Home;

/// Ends every subscription of the account, in both directions, as if it had removed each of its
/// contacts, and refuses what it was asked for.
///
/// # Errors
/// Contacts that were reached already are not called back: it can be done again.
pub(crate) async fn leave(home: &Home, account: &BareJid) -> Result<(), Error> {
    for contact in home.storage.roster(account.as_str()).await?.contacts {
        let Some(contact) = parsed(&contact.contact) else {
            continue;
        };
        if let Some((before, version)) = remove::settle(home, account, &contact).await? {
            let told = remove::told(home, account, &contact, before, version);
            deliver::deliver(home, told).await;
        }
    }
    // Those that are in no roster, and wait.
    for request in home.storage.subscription_requests(account.as_str()).await? {
        let Some(contact) = parsed(&request.contact) else {
            continue;
        };
        let refusal = Stanza::new(Kind::Presence(PresenceType::Unsubscribed))
            .with_from(account.clone())
            .with_to(contact);
        deliver::deliver(home, Deliveries::none().with(refusal)).await;
    }
    Ok(())
}

fn parsed(contact: &str) -> Option<BareJid> {
    BareJid::parse(contact)
        .inspect_err(|error| warn!(contact, %error, "a contact has no address"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::Play;

    const ALICE: &str = "alice@a.example";

    /// Both people see each other.
    async fn befriend(play: &Play) {
        let mut alice = play.login("alice@a.example/1").await;
        let mut bob = play.login("bob@a.example/1").await;
        alice
            .send("<presence type='subscribe' to='bob@a.example'/>")
            .await;
        bob.send("<presence type='subscribed' to='alice@a.example'/>")
            .await;
        bob.send("<presence type='subscribe' to='alice@a.example'/>")
            .await;
        alice
            .send("<presence type='subscribed' to='bob@a.example'/>")
            .await;
        alice.forget().await;
        bob.forget().await;
    }

    #[tokio::test]
    async fn local_contacts_keep_the_item_without_a_subscription() {
        let play = Play::of(&[ALICE, "bob@a.example"]).await;
        befriend(&play).await;
        leave(&play.home, &BareJid::parse(ALICE).unwrap())
            .await
            .unwrap();
        let storage = &play.home.storage;
        let left = storage
            .contact("bob@a.example", ALICE)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(left.subscription, comity_storage::Subscription::None);
        assert!(storage.roster(ALICE).await.unwrap().contacts.is_empty());
        // It can be done again.
        leave(&play.home, &BareJid::parse(ALICE).unwrap())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn other_domains_are_told() {
        let play = Play::of(&[ALICE]).await;
        let alice = play.login("alice@a.example/1").await;
        alice
            .send("<presence type='subscribe' to='carol@b.example'/>")
            .await;
        play.arrives("<presence type='subscribe' from='dave@b.example' to='alice@a.example'/>")
            .await;
        play.queued(
            "b.example",
            &["<presence type='subscribe' from='alice@a.example' to='carol@b.example'/>"],
        )
        .await;
        leave(&play.home, &BareJid::parse(ALICE).unwrap())
            .await
            .unwrap();
        play.queued(
            "b.example",
            &[
                "<presence type='unsubscribe' from='alice@a.example' to='carol@b.example'/>",
                "<presence type='unsubscribed' from='alice@a.example' to='dave@b.example'/>",
            ],
        )
        .await;
    }
}
