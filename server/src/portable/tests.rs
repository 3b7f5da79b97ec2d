use comity_storage::pubsub::{NewNode, Publish, Quota, Subscribe};
use comity_storage::{
    AcceptMessage, Archive, ArchivePolicy, ArchivePreferences, BlockContacts, Created,
    EnableAccount, KeepPrivateXml, PrivateXml, SetArchivePreferences, SetContact, SetScramKeys,
    Side, Storage, StoreOffline, Subscription,
};
use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stream::Header;
use comity_xmpp::{ns, xml};

use super::read::{Read, accounts};
use super::write::{Written, export};
use crate::module::pubsub::config::{AccessModel, Config};
use crate::passwords::Passwords;
use crate::play::{Play, START_S};

const ALICE: &str = "alice@a.example";
const NOW: u64 = START_S * 1000;

async fn exported(storage: &Storage) -> (String, Written) {
    let mut out = Vec::new();
    let alice = BareJid::parse(ALICE).unwrap();
    let written = export(storage, &alice, true, &mut out).await.unwrap();
    (String::from_utf8(out).unwrap(), written)
}

fn parse(text: &str) -> Element {
    let (_, text) = text.split_once("?>").unwrap();
    xml::parse(text.trim().as_bytes(), &Header::of(ns::CLIENT)).unwrap()
}

fn read_one(text: &str) -> Read {
    let mut found = accounts(&parse(text), NOW).unwrap();
    assert_eq!(found.len(), 1);
    found.pop().unwrap()
}

/// An account with something of everything.
async fn full() -> Play {
    let play = Play::of(&[ALICE]).await;
    let storage = &play.home.storage;
    let account = || ALICE.to_owned();
    let keys = Passwords::new(4096).keys("sesame").await.unwrap();
    storage
        .write(SetScramKeys {
            account: account(),
            keys,
        })
        .await
        .unwrap();
    let set = SetContact {
        account: account(),
        contact: "bob@b.example".to_owned(),
        name: Some("Bob & <Co>".to_owned()),
        groups: vec!["Friends".to_owned(), "Work".to_owned()],
        limit: 10,
    };
    storage.write(set).await.unwrap();
    let private = |ns: &str, name: &str, payload: &str| PrivateXml {
        ns: ns.to_owned(),
        name: name.to_owned(),
        payload: payload.into(),
        updated: NOW,
    };
    let elements = vec![
        private(
            "exodus:prefs",
            "exodus",
            "<exodus xmlns='exodus:prefs'><nick>A</nick></exodus>",
        ),
        private(
            "vcard-temp",
            "vCard",
            "<vCard xmlns='vcard-temp'><FN>Alice</FN></vCard>",
        ),
    ];
    let keep = KeepPrivateXml {
        account: account(),
        elements,
        bytes: 10_000,
    };
    storage.write(keep).await.unwrap();
    let block = BlockContacts {
        account: account(),
        jids: vec!["evil@b.example".to_owned(), "spam.example".to_owned()],
        limit: 10,
    };
    storage.write(block).await.unwrap();
    nodes(storage).await;
    messages(storage).await;
    let preferences = ArchivePreferences {
        policy: ArchivePolicy::Roster,
        exceptions: vec![
            ("b@b.example".to_owned(), true),
            ("c@c.example".to_owned(), false),
        ],
    };
    let set = SetArchivePreferences {
        account: account(),
        preferences,
    };
    storage.write(set).await.unwrap();
    play
}

async fn nodes(storage: &Storage) {
    let config = Config {
        access_model: AccessModel::Whitelist,
        max_items: 5,
        ..Config::default()
    };
    for (item, title) in [("one", "1"), ("two", "2")] {
        let publish = Publish {
            account: ALICE.to_owned(),
            node: "urn:xmpp:bookmarks:1".to_owned(),
            expected: (item == "two").then(|| config.stored()),
            new: NewNode {
                config: config.stored(),
                max_items: 5,
                created: NOW,
                nodes_limit: 9,
            },
            persist: true,
            item: item.to_owned(),
            publisher: ALICE.to_owned(),
            payload: format!("<conference xmlns='urn:xmpp:bookmarks:1' name='{title}'/>").into(),
            published: NOW,
            quota: Quota { bytes: 10_000 },
        };
        storage.write(publish).await.unwrap();
    }
    let subscribe = Subscribe {
        account: ALICE.to_owned(),
        node: "urn:xmpp:bookmarks:1".to_owned(),
        jid: "bob@b.example".to_owned(),
        pending: true,
        limit: 9,
    };
    storage.write(subscribe).await.unwrap();
}

fn side(address: &str, resource: &str, keeps: bool) -> Side {
    Side {
        address: address.to_owned(),
        resource: resource.to_owned(),
        keeps,
    }
}

async fn messages(storage: &Storage) {
    let store = StoreOffline {
        account: ALICE.to_owned(),
        stanza: b"<message from='bob@b.example/x' to='alice@a.example' type='chat'>\
                  <body>later</body></message>"
            .to_vec(),
        received: NOW - 1_000,
        limit: 9,
    };
    storage.write(store).await.unwrap();
    let alice = || side(ALICE, "", true);
    let bob = || side("bob@b.example", "x", false);
    let row = |uid: &str, (sender, recipient), stanza: &str, received| Archive {
        uid: uid.to_owned(),
        sender,
        recipient,
        stanza: stanza.into(),
        received,
    };
    let archive = [
        row(
            "u1",
            (bob(), alice()),
            "<message from='bob@b.example/x' to='alice@a.example' type='chat'><body>in</body></message>",
            NOW - 5_000,
        ),
        row(
            "u2",
            (alice(), bob()),
            "<message from='alice@a.example/1' to='bob@b.example/x' type='chat'><body>out</body></message>",
            NOW - 4_000,
        ),
    ];
    for archive in archive {
        let accept = AcceptMessage {
            archive: Some(archive),
            ..AcceptMessage::default()
        };
        storage.write(accept).await.unwrap();
    }
}

#[tokio::test]
async fn an_account_goes_out_and_comes_back_as_it_was() {
    let play = full().await;
    let (text, written) = exported(&play.home.storage).await;
    let expected = Written {
        contacts: 1,
        nodes: 1,
        offline: 1,
        archived: 2,
    };
    assert_eq!(written, expected, "{text}");
    let read = read_one(&text);
    assert_eq!(read.notes, Vec::<String>::new(), "{text}");
    assert_eq!(read.import.max_items, [5]);
    let peers: Vec<_> = read
        .import
        .archive
        .iter()
        .map(|row| {
            if row.sender.keeps {
                &row.recipient
            } else {
                &row.sender
            }
        })
        .map(|peer| (&*peer.address, &*peer.resource))
        .collect();
    assert_eq!(peers, [("bob@b.example", "x"), ("bob@b.example", "x")]);
    let other = Storage::open(":memory:".as_ref()).await.unwrap();
    assert_eq!(other.write(read.import).await.unwrap(), Created::Created);
    let (again, _) = exported(&other).await;
    assert_eq!(again, text);
    assert!(
        other.scram_keys(ALICE).await.unwrap()
            == play.home.storage.scram_keys(ALICE).await.unwrap()
    );
    // Once more, and nothing is changed.
    let read = read_one(&text);
    assert_eq!(other.write(read.import).await.unwrap(), Created::Exists);
    assert_eq!(exported(&other).await.0, text);
}

#[tokio::test]
async fn a_disabled_account_stays_so() {
    let play = Play::of(&[ALICE]).await;
    let disable = EnableAccount {
        account: ALICE.to_owned(),
        enabled: false,
    };
    play.home.storage.write(disable).await.unwrap();
    let (text, _) = exported(&play.home.storage).await;
    assert!(!read_one(&text).import.account.account.enabled);
}

/// As Prosody's storage of this format writes it, with the document's own examples inside.
const PROSODY: &str = include_str!("prosody.xml");

#[tokio::test]
async fn a_file_of_prosody_is_read() {
    let read = read_one(PROSODY);
    let account = &read.import.account;
    assert_eq!(account.account.account, "juliet@a.example");
    assert_eq!(account.keys.len(), 1);
    assert_eq!(account.keys[0].iterations, 10_000);
    let contacts: Vec<_> = account
        .contacts
        .iter()
        .map(|one| (&*one.contact, one.subscription))
        .collect();
    let expected = [
        ("romeo@montague.net", Subscription::Both),
        ("nurse@a.example", Subscription::None),
    ];
    assert_eq!(contacts, expected);
    assert_eq!(account.contacts[0].groups, ["Friends"]);
    assert!(account.contacts[1].ask);
    assert_eq!(account.requests[0].contact, "mercutio@montague.net");
    assert_eq!(account.blocked, ["tybalt@example.com"]);
    let names: Vec<_> = account
        .private
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["exodus", "vCard"]);
    let nodes: Vec<_> = account
        .nodes
        .iter()
        .map(|one| (&*one.node.node, one.items.len()))
        .collect();
    assert_eq!(
        nodes,
        [
            ("urn:xmpp:bookmarks:1", 2),
            ("http://jabber.org/protocol/nick", 1)
        ]
    );
    let config = |at: usize| Config::from_stored(&account.nodes[at].node.config);
    assert_eq!(config(0).access_model, AccessModel::Whitelist);
    assert_eq!(config(1).access_model, AccessModel::Open);
    assert_eq!(
        account.nodes[0].affiliations,
        [("romeo@montague.net".to_owned(), "member".to_owned())]
    );
    assert_eq!(read.import.offline.len(), 1);
    assert_eq!(read.import.archive.len(), 2);
    assert_eq!(read.import.archive[0].received, 1_278_803_305_000);
    assert_eq!(
        read.import.archive[1].recipient.address,
        "romeo@montague.lit"
    );
    let notes = [
        "the privacy list \"private\" is not the default one",
        "<x/> of \"urn:example:own\" is not known here",
    ];
    assert_eq!(read.notes, notes);
    // And it goes into a database.
    let storage = Storage::open(":memory:".as_ref()).await.unwrap();
    assert_eq!(storage.write(read.import).await.unwrap(), Created::Created);
    let page = storage
        .portable_account("juliet@a.example")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.nodes.len(), 2);
}

#[test]
fn what_is_no_account_is_refused_and_what_is_broken_is_told() {
    let wrap = |user: &str| {
        let text = format!(
            "<?xml version='1.0'?><server-data xmlns='urn:xmpp:pie:0'><host jid='a.example'>\
             {user}</host></server-data>"
        );
        accounts(&parse(&text), NOW)
    };
    for user in [
        "<user/>",
        "<user name=''/>",
        "<user name='~x'/>",
        "<user name='a b'/>",
    ] {
        assert!(wrap(user).is_err(), "{user}");
    }
    assert!(accounts(&Element::new("x", "server-data"), NOW).is_err());
    let keys = |mechanism: &str, key: &str| {
        format!(
            "<user name='a'><scram-credentials xmlns='urn:xmpp:pie:0#scram' \
             mechanism='{mechanism}'><iter-count>1</iter-count><salt>AA==</salt>\
             <server-key>{key}</server-key><stored-key>{key}</stored-key></scram-credentials></user>"
        )
    };
    let notes = |user: &str| wrap(user).unwrap().pop().unwrap().notes.join("; ");
    assert!(notes(&keys("SCRAM-SHA-1", "AAAA")).contains("are broken"));
    assert!(notes(&keys("SCRAM-SHA-512", "AAAA")).contains("of no use here"));
    let password = wrap("<user name='a' password='s3crEt'/>")
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(password.password.as_deref(), Some("s3crEt"));
    // A node that nobody has described is nobody's but its owner's.
    let open = "<user name='a'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                <items node='n'><item id='1'/></items></pubsub></user>";
    let read = wrap(open).unwrap().pop().unwrap();
    let config = Config::from_stored(&read.import.account.nodes[0].node.config);
    assert_eq!(config.access_model, AccessModel::Whitelist);
}
