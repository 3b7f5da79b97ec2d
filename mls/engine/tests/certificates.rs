//! The corpus of certificates, each in a KeyPackage that a directory hands to somebody who invites.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../credential/tests/cases/reader.rs"]
mod reader;
mod world;

use std::time::Duration;

use comity_mls_credential::certificate::Certificate;
use comity_mls_credential::issue::Validity;
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_engine::Event;
use comity_mls_wire::keys::Published;
use comity_mls_wire::policy::EXTENSION_TYPE;
use comity_xmpp::jid::BareJid;
use mls_rs::{Client, CryptoProvider as _, ExtensionList};
use mls_rs_core::group::ProposalType;
use mls_rs_core::time::MlsTime;
use mls_rs_crypto_openssl::OpensslCryptoProvider;
use reader::{Case, Credulous, Shelf, read};
use world::domain::Device;
use world::{World, jid};

const DAY_S: u64 = 86_400;

#[test]
fn the_engine_judges_each_certificate_of_the_corpus_as_it_says() {
    let (shelf, cases) = read();
    for case in &cases {
        check(&shelf, case);
    }
}

fn check(shelf: &Shelf, case: &Case) {
    let mut world = World::with_suite(&["a.example", "b.example"], *case.suite());
    world.now = case.at * 1_000;
    anchor(&mut world, shelf);
    let account = match case.refused {
        None => case.account.clone(),
        Some(_) => jid("alice@a.example"),
    };
    let zoe = world.enrolled("zoe@b.example");
    offer(&mut world, case, &account);
    let now = world.now;
    let room = world.input(zoe, |e| e.create_room(None, now)).unwrap();
    world.input(zoe, |e| {
        e.invite(&room, std::slice::from_ref(&account), now)
    });
    world.run();
    let name = &case.name;
    let members = world.engine(zoe).members(&room).unwrap();
    let is_in = members.iter().any(|m| m.account == account);
    assert_eq!(
        is_in,
        case.refused.is_none(),
        "{name}: {:?}",
        world.clients[zoe].events
    );
    let told = faults(&world.clients[zoe].events);
    let asked = world.anchors_asked.iter().filter(|d| *d == "a.example");
    match (&case.refused, asked.count()) {
        (None, 1) => assert_eq!(told, [""; 0], "{name}"),
        // A CA that its domain says nothing of is waited for, and asked for again.
        (Some(words), 2) if words == "no CA" => assert_eq!(told, [""; 0], "{name}"),
        (Some(words), 0 | 1) => {
            let named = told.iter().any(|why| why.contains(words.as_str()));
            assert!(named, "{name}: expected {words}, found {told:?}");
        }
        (expected, asked) => panic!("{name}: expected {expected:?}, {told:?}, asked {asked} times"),
    }
}

/// What the person is told is wrong.
fn faults(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::NotInvited { why, .. } | Event::Refused { why, .. } => Some(why.clone()),
            Event::Warning { warning, .. } => Some(format!("{warning:?}")),
            _ => None,
        })
        .collect()
}

/// The domains say of the corpus's CAs that they are theirs.
fn anchor(world: &mut World, shelf: &Shelf) {
    for ((domain, _), certificate) in &shelf.0 {
        let certificate = Certificate::read(certificate).unwrap();
        if !certificate.authority {
            // No domain can say so of a leaf.
            continue;
        }
        let validity = Validity {
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        };
        world.has_issuing(domain, &certificate.public_key, validity);
    }
}

/// The directory has one KeyPackage of the account, in which nothing but the certificate can be
/// wrong.
fn offer(world: &mut World, case: &Case, account: &BareJid) {
    let crypto = OpensslCryptoProvider::default();
    let secret = crypto
        .cipher_suite_provider(case.suite())
        .unwrap()
        .import_der_private_signing_key(&case.key.to_pkcs8().unwrap())
        .unwrap();
    let package = Client::builder()
        .crypto_provider(crypto)
        .identity_provider(Credulous)
        .key_package_lifetime(Duration::from_secs(84 * DAY_S))
        .custom_proposal_type(ProposalType::SELF_REMOVE)
        .extension_type(EXTENSION_TYPE.into())
        .signing_identity(case.identity(), secret, case.suite())
        .build()
        .generate_key_package_message(
            ExtensionList::new(),
            ExtensionList::new(),
            Some(MlsTime::from(case.at)),
        )
        .unwrap();
    let key = case.key.public().unwrap();
    let hashes = [openssl::sha::sha256(&key.to_spki())];
    let root = batch_root(&hashes);
    let content = enrol_content(account.as_str(), case.device.as_bytes(), &root);
    let signature = case.key.sign(&content).unwrap();
    let domain = world.domains.get_mut(account.domain()).unwrap();
    domain
        .log
        .issued(account, case.device, &hashes, &signature, case.at);
    let package = Published {
        package: package.to_bytes().unwrap().into(),
        last_resort: false,
    };
    let device = Device {
        account: account.clone(),
        key,
        name: "test".to_owned(),
        packages: vec![package],
    };
    domain.devices.insert(case.device, device);
}
