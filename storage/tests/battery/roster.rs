use comity_storage::{
    ChangeSubscription, Contact, ContactSet, Outgoing, RemoveContact, RemovedContact, SetContact,
    Storage, Subscription, SubscriptionChanged, SubscriptionRequest, SubscriptionState,
    UpdateRequest,
};

use super::with;

const ALICE: &str = "alice@a.example";
const BOB: &str = "bob@b.example";

const REST: SubscriptionState = SubscriptionState {
    in_roster: false,
    subscription: Subscription::None,
    ask: false,
    approved: false,
    pending_in: false,
};

fn set(contact: &str, name: Option<&str>, groups: &[&str]) -> SetContact {
    SetContact {
        account: ALICE.to_owned(),
        contact: contact.to_owned(),
        name: name.map(str::to_owned),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        limit: 2,
    }
}

fn change(expected: SubscriptionState, next: SubscriptionState) -> ChangeSubscription {
    ChangeSubscription {
        account: ALICE.to_owned(),
        contact: BOB.to_owned(),
        expected,
        next,
        request: UpdateRequest::Keep,
        outbox: Vec::new(),
        limit: 2,
    }
}

fn stored(stanza: &[u8]) -> UpdateRequest {
    UpdateRequest::Store {
        stanza: stanza.to_vec(),
        received: 7,
    }
}

fn outgoing(stanza: &[u8]) -> Vec<Outgoing> {
    vec![Outgoing {
        destination: "b.example".to_owned(),
        stanza: stanza.to_vec(),
        created: 1,
        expires: 9,
    }]
}

async fn state(storage: &Storage) -> SubscriptionState {
    storage.subscription_state(ALICE, BOB).await.unwrap()
}

#[tokio::test]
async fn an_item_has_name_and_groups_and_no_subscription() {
    let storage = with(&[ALICE]).await;
    let contact = |name: Option<&str>, groups: &[&str]| Contact {
        contact: BOB.to_owned(),
        name: name.map(str::to_owned),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Contact::default()
    };
    let first = storage
        .write(set(BOB, Some("Bob"), &["work", "chess", "work"]))
        .await
        .unwrap();
    let expected = ContactSet::Set {
        contact: contact(Some("Bob"), &["chess", "work"]),
        version: 1,
    };
    assert_eq!(first, expected);
    let second = storage.write(set(BOB, None, &["go"])).await.unwrap();
    let expected = ContactSet::Set {
        contact: contact(None, &["go"]),
        version: 2,
    };
    assert_eq!(second, expected);
    let roster = storage.roster(ALICE).await.unwrap();
    assert_eq!(
        (roster.version, roster.contacts),
        (2, vec![contact(None, &["go"])])
    );
    assert_eq!(
        storage.contact(ALICE, BOB).await.unwrap(),
        Some(contact(None, &["go"]))
    );
    assert_eq!(storage.contact(ALICE, "x@b.example").await.unwrap(), None);
}

#[tokio::test]
async fn a_new_name_leaves_the_subscription_alone() {
    let storage = with(&[ALICE]).await;
    let both = SubscriptionState {
        in_roster: true,
        subscription: Subscription::Both,
        ask: true,
        approved: true,
        ..REST
    };
    storage.write(change(REST, both)).await.unwrap();
    storage.write(set(BOB, Some("Bob"), &[])).await.unwrap();
    assert_eq!(state(&storage).await, both);
}

#[tokio::test]
async fn a_roster_has_a_bound_and_an_account() {
    let storage = with(&[ALICE]).await;
    for contact in ["b@b.example", "c@b.example"] {
        storage.write(set(contact, None, &[])).await.unwrap();
    }
    assert_eq!(
        storage.write(set(BOB, None, &[])).await.unwrap(),
        ContactSet::Full
    );
    // What is there may still change.
    let renamed = storage
        .write(set("b@b.example", Some("B"), &[]))
        .await
        .unwrap();
    assert!(matches!(renamed, ContactSet::Set { version: 3, .. }));
    let subscribed = SubscriptionState {
        in_roster: true,
        ask: true,
        ..REST
    };
    let full = storage.write(change(REST, subscribed)).await.unwrap();
    assert_eq!(full, SubscriptionChanged::Full);
    assert_eq!(state(&storage).await, REST);
    let mut nobody = set(BOB, None, &[]);
    nobody.account = "nobody@a.example".to_owned();
    assert_eq!(storage.write(nobody).await.unwrap(), ContactSet::NoAccount);
    let mut nobody = change(REST, subscribed);
    nobody.account = "nobody@a.example".to_owned();
    assert_eq!(
        storage.write(nobody).await.unwrap(),
        SubscriptionChanged::NoAccount
    );
}

#[tokio::test]
async fn a_request_waits_outside_the_roster() {
    let storage = with(&[ALICE]).await;
    let pending = SubscriptionState {
        pending_in: true,
        ..REST
    };
    let mut asked = change(REST, pending);
    asked.request = stored(b"<presence type='subscribe'/>");
    let changed = storage.write(asked).await.unwrap();
    let expected = SubscriptionChanged::Changed {
        contact: None,
        version: 0,
    };
    assert_eq!(changed, expected);
    assert!(storage.roster(ALICE).await.unwrap().contacts.is_empty());
    assert_eq!(state(&storage).await, pending);
    let waiting = SubscriptionRequest {
        contact: BOB.to_owned(),
        stanza: b"<presence type='subscribe'/>".to_vec(),
        received: 7,
    };
    assert_eq!(
        storage.subscription_requests(ALICE).await.unwrap(),
        [waiting]
    );
    let from = SubscriptionState {
        in_roster: true,
        subscription: Subscription::From,
        ..REST
    };
    let mut granted = change(pending, from);
    granted.request = UpdateRequest::Drop;
    let changed = storage.write(granted).await.unwrap();
    assert!(matches!(
        changed,
        SubscriptionChanged::Changed {
            contact: Some(_),
            version: 1
        }
    ));
    assert!(
        storage
            .subscription_requests(ALICE)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(state(&storage).await, from);
}

#[tokio::test]
async fn requests_have_a_bound() {
    let storage = with(&[ALICE]).await;
    let pending = SubscriptionState {
        pending_in: true,
        ..REST
    };
    let ask = async |contact: &str, expected| {
        let mut asked = change(expected, pending);
        asked.contact = contact.to_owned();
        asked.request = stored(b"<presence/>");
        storage.write(asked).await.unwrap()
    };
    for contact in ["x@b.example", "y@b.example"] {
        assert!(matches!(
            ask(contact, REST).await,
            SubscriptionChanged::Changed { .. }
        ));
    }
    assert_eq!(ask("z@b.example", REST).await, SubscriptionChanged::Full);
    // One that waits already may be renewed.
    assert!(matches!(
        ask("x@b.example", pending).await,
        SubscriptionChanged::Changed { .. }
    ));
}

#[tokio::test]
async fn of_two_decisions_upon_one_state_the_first_counts() {
    let storage = with(&[ALICE]).await;
    let to = SubscriptionState {
        in_roster: true,
        subscription: Subscription::To,
        ..REST
    };
    let from = SubscriptionState {
        in_roster: true,
        subscription: Subscription::From,
        ..REST
    };
    let mut late = change(REST, from);
    late.outbox = outgoing(b"<presence type='subscribed'/>");
    let answers = (storage.submit(change(REST, to)), storage.submit(late));
    assert!(matches!(
        answers.0.await.unwrap(),
        SubscriptionChanged::Changed { .. }
    ));
    assert_eq!(answers.1.await.unwrap(), SubscriptionChanged::Stale(to));
    assert_eq!(state(&storage).await, to);
    assert_eq!(storage.outbox_length("b.example").await.unwrap(), 0);
}

#[tokio::test]
async fn the_version_grows_only_when_the_item_changes() {
    let storage = with(&[ALICE]).await;
    let to = SubscriptionState {
        in_roster: true,
        subscription: Subscription::To,
        ..REST
    };
    let version = async |change| match storage.write(change).await.unwrap() {
        SubscriptionChanged::Changed { version, .. } => version,
        other => panic!("{other:?}"),
    };
    assert_eq!(version(change(REST, to)).await, 1);
    assert_eq!(version(change(to, to)).await, 1);
    assert_eq!(
        version(change(to, SubscriptionState { ask: true, ..to })).await,
        2
    );
}

#[tokio::test]
async fn a_step_and_what_it_sends_are_one() {
    let storage = with(&[ALICE]).await;
    let asking = SubscriptionState {
        in_roster: true,
        ask: true,
        ..REST
    };
    let mut subscribe = change(REST, asking);
    subscribe.outbox = outgoing(b"<presence type='subscribe'/>");
    storage.write(subscribe).await.unwrap();
    let rows = storage.outbox("b.example", 0, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].stanza, b"<presence type='subscribe'/>");
}

#[tokio::test]
async fn a_contact_is_removed_with_its_request_and_groups() {
    let storage = with(&[ALICE]).await;
    storage.write(set(BOB, None, &["work"])).await.unwrap();
    let known = SubscriptionState {
        in_roster: true,
        ..REST
    };
    let pending = SubscriptionState {
        pending_in: true,
        ..known
    };
    let mut asked = change(known, pending);
    asked.request = stored(b"<presence type='subscribe'/>");
    storage.write(asked).await.unwrap();
    let remove = |expected| RemoveContact {
        account: ALICE.to_owned(),
        contact: BOB.to_owned(),
        expected,
        outbox: outgoing(b"<presence type='unsubscribed'/>"),
    };
    let stale = storage.write(remove(known)).await.unwrap();
    assert_eq!(stale, RemovedContact::Stale(pending));
    assert_eq!(storage.outbox_length("b.example").await.unwrap(), 0);
    let removed = storage.write(remove(pending)).await.unwrap();
    assert_eq!(removed, RemovedContact::Removed { version: 2 });
    assert_eq!(state(&storage).await, REST);
    assert!(
        storage
            .subscription_requests(ALICE)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(storage.outbox_length("b.example").await.unwrap(), 1);
    // There is nothing left to remove.
    let again = storage.write(remove(REST)).await.unwrap();
    assert_eq!(again, RemovedContact::Stale(REST));
    storage.write(set(BOB, None, &[])).await.unwrap();
    assert!(
        storage
            .contact(ALICE, BOB)
            .await
            .unwrap()
            .unwrap()
            .groups
            .is_empty()
    );
}

#[test]
fn subscriptions_have_two_directions() {
    for (to, from, name) in [
        (false, false, "none"),
        (true, false, "to"),
        (false, true, "from"),
        (true, true, "both"),
    ] {
        let subscription = Subscription::of(to, from);
        assert_eq!(subscription.as_str(), name);
        assert_eq!((subscription.to(), subscription.from()), (to, from));
    }
}
