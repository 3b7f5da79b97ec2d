mod stage;

use std::sync::Arc;

use mls_rs_codec::MlsEncode;
use openssl::nid::Nid;

use super::statement::{Der, MAX_ISSUING};
use super::store::MAX_DOMAINS;
use super::*;
use crate::certificate::{Certificate, issuer_id, sha256};
use crate::issue::Issuer;
use crate::leaf::{IssuerId, Issuers};
use stage::{A, DAY, NOW, Stage, VALIDITY, Web};

fn id(certificate: &[u8]) -> IssuerId {
    issuer_id(&Certificate::read(certificate).unwrap().public_key).unwrap()
}

fn first(stage: &Stage, signed: &[u8]) -> Result<Pinned, AnchorsError> {
    Pinned::first(A, signed, &stage.roots, NOW + DAY)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, AnchorsError>, word: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(word), "expected “{word}”, found “{error}”");
}

#[test]
fn an_unknown_domain_is_pinned_as_it_shows_itself() {
    let stage = Stage::new();
    let signed = stage.signed(|_| {});
    let pinned = first(&stage, &signed).unwrap();
    assert_eq!(pinned.domain(), A);
    assert_eq!(pinned.root(), &sha256(&stage.root.certificate).unwrap());
    assert_eq!((pinned.sequence(), pinned.expires()), (0, NOW + 7 * DAY));
    assert_eq!(&pinned.signed()[..], signed);
    let issuer = pinned.issuer(&id(&stage.issuing)).unwrap();
    assert_eq!(&issuer[..], stage.issuing);
    // The root itself issues no leaves.
    assert!(pinned.issuer(&id(&stage.root.certificate)).is_none());
}

#[test]
fn what_a_statement_must_say() {
    let stage = Stage::new();
    let foreign = stage::issuing(&stage::root());
    let own = stage.issuing.clone();
    type Change = Box<dyn Fn(&mut Statement)>;
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|s| s.version = 2), "version 2"),
        (
            Box::new(|s| s.domain = "b.example".to_owned()),
            "of b.example",
        ),
        (
            Box::new(|s| s.expires = s.issued + 7 * DAY + 1),
            "more than 7 days",
        ),
        (Box::new(|s| s.expires = s.issued), "more than 7 days"),
        (Box::new(|s| s.expires = NOW + DAY - 1), "fetch a newer one"),
        (
            Box::new(|s| s.issued = NOW + DAY + 301),
            "fetch a newer one",
        ),
        (Box::new(|s| s.predecessor = Some([7; 32])), "predecessor"),
        (
            Box::new(move |s| s.issuing.push(Der(foreign.clone()))),
            "not signed by the domain's root",
        ),
        (
            Box::new(move |s| s.issuing.push(Der(own.clone()))),
            "listed twice",
        ),
        (
            Box::new(|s| s.issuing = vec![s.root.clone()]),
            "listed twice",
        ),
        (
            Box::new(|s| s.issuing = vec![s.issuing[0].clone(); MAX_ISSUING + 1]),
            "too many",
        ),
        (Box::new(|s| s.root = Der(vec![1, 2, 3])), "cannot be read"),
        (
            Box::new(|s| s.root = s.issuing[0].clone()),
            "has not signed itself",
        ),
    ];
    for (change, word) in cases {
        refused(first(&stage, &stage.signed(change)), word);
    }
    let late = Pinned::first(A, &stage.signed(|_| {}), &stage.roots, NOW + 8 * DAY);
    refused(late, "fetch a newer one");
}

#[test]
fn both_signatures_must_hold() {
    let stage = Stage::new();
    let statement = stage.statement();
    let other = stage::root();
    let by_other_root = statement.sign(&other.key, &stage.tls).unwrap();
    refused(first(&stage, &by_other_root), "signature of the root");

    // The TLS signature of one statement under another.
    let (mut mixed, _) = Signed::read(&stage.signed(|_| {})).unwrap();
    let (older, _) = Signed::read(&stage.signed(|s| s.expires -= 1)).unwrap();
    mixed.tls = older.tls;
    let mixed = mixed.mls_encode_to_vec().unwrap();
    refused(first(&stage, &mixed), "signature of the TLS key");
}

#[test]
fn no_octet_of_a_statement_can_be_changed() {
    let stage = Stage::new();
    let good = stage.signed(|_| {});
    // Those that are not part of a certificate's own spelling, which has tests of its own, are
    // met as well as those that are.
    for place in (0..good.len()).step_by(5) {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        assert!(first(&stage, &bad).is_err(), "octet {place}");
        assert!(first(&stage, &good[..place]).is_err(), "cut to {place}");
    }
    assert!(first(&stage, &[&good[..], &[0]].concat()).is_err());
    refused(first(&stage, &vec![0; 70_000]), "larger than 64 KiB");
}

#[test]
fn tls_keys_of_all_kinds_sign() {
    let stage = Stage::new();
    let statement = stage.statement();
    for key in [
        stage::p256(),
        stage::ec(Nid::SECP384R1),
        stage::ec(Nid::SECP521R1),
        stage::ed25519(),
        stage::rsa(2048),
    ] {
        let tls = stage.web.leaf(key, A).key();
        first(&stage, &statement.sign(&stage.root.key, &tls).unwrap()).unwrap();
    }
    let small = stage.web.leaf(stage::rsa(1024), A).try_key();
    refused(small.map(drop), "neither ECDSA");
    let curve = stage.web.leaf(stage::ec(Nid::SECP256K1), A).try_key();
    refused(curve.map(drop), "neither ECDSA");
}

#[test]
fn the_tls_chain_must_speak_for_the_domain() {
    let stage = Stage::new();
    let stranger = Web::new();
    let leaf = |change: fn(&mut stage::TlsLeaf<'_>)| {
        let mut leaf = stage.web.leaf(stage::p256(), A);
        change(&mut leaf);
        leaf.key()
    };
    let cases = [
        (leaf(|l| l.names = vec!["b.example".to_owned()]), "mismatch"),
        (
            leaf(|l| {
                l.names.clear();
                l.common_name = A;
            }),
            "mismatch",
        ),
        (leaf(|l| l.names = vec!["*.example".to_owned()]), "mismatch"),
        (leaf(|l| l.until = NOW + DAY - 1), "expired"),
        (leaf(|l| l.for_clients = true), "purpose"),
        (stranger.leaf(stage::p256(), A).key(), "signature failure"),
    ];
    for (tls, word) in cases {
        let signed = stage.statement().sign(&stage.root.key, &tls).unwrap();
        refused(first(&stage, &signed), word);
    }
    let (mut empty, _) = Signed::read(&stage.signed(|_| {})).unwrap();
    empty.tls.chain.clear();
    refused(first(&stage, &empty.mls_encode_to_vec().unwrap()), "empty");
    let mismatch = TlsKey::from_pem(
        &stage
            .web
            .leaf(stage::p256(), A)
            .certificate()
            .to_pem()
            .unwrap(),
        &stage::p256().private_key_to_pem_pkcs8().unwrap(),
    );
    refused(mismatch.map(drop), "not that of the first certificate");
}

#[test]
fn a_domain_in_another_script_is_found_in_its_certificate() {
    let stage = Stage::new();
    let domain = "bücher.example";
    let tls = stage.web.leaf(stage::p256(), "xn--bcher-kva.example").key();
    let mut statement = stage.statement();
    statement.domain = domain.to_owned();
    let signed = statement.sign(&stage.root.key, &tls).unwrap();
    Pinned::first(domain, &signed, &stage.roots, NOW).unwrap();
}

/// The statement after `pinned`.
fn successor(stage: &Stage, pinned: &Pinned, change: impl FnOnce(&mut Statement)) -> Vec<u8> {
    stage.signed(|statement| {
        statement.sequence = pinned.sequence() + 1;
        statement.predecessor = Some(*pinned.hash());
        change(statement);
    })
}

#[test]
fn a_domain_never_goes_back_nor_two_ways() {
    let stage = Stage::new();
    let zero = stage.signed(|_| {});
    let pinned = first(&stage, &zero).unwrap();
    let next = |pinned: &Pinned, signed: &[u8]| pinned.next(signed, &stage.roots, NOW + DAY);

    // The same again, with the TLS chain of today.
    assert_eq!(next(&pinned, &zero).unwrap().hash(), pinned.hash());
    let renewed = stage.web.leaf(stage::p256(), A).key();
    let renewed = stage.statement().sign(&stage.root.key, &renewed).unwrap();
    assert_eq!(next(&pinned, &renewed).unwrap().hash(), pinned.hash());

    let other_zero = stage.signed(|s| s.expires -= 1);
    refused(next(&pinned, &other_zero), "two tongues");
    let orphan = successor(&stage, &pinned, |s| s.predecessor = Some([7; 32]));
    refused(next(&pinned, &orphan), "two tongues");

    let one = successor(&stage, &pinned, |_| {});
    let pinned = next(&pinned, &one).unwrap();
    assert_eq!(pinned.sequence(), 1);
    refused(next(&pinned, &zero), "goes back");

    // Whoever slept through some cannot check the line, and believes the root.
    let five = successor(&stage, &pinned, |s| {
        s.sequence = 5;
        s.predecessor = Some([7; 32]);
    });
    assert_eq!(next(&pinned, &five).unwrap().sequence(), 5);
}

#[test]
fn a_root_changes_by_the_old_roots_word_or_a_persons() {
    let stage = Stage::new();
    let pinned = first(&stage, &stage.signed(|_| {})).unwrap();
    let next = |signed: &[u8]| pinned.next(signed, &stage.roots, NOW + DAY);
    let (second, third) = (stage::root(), stage::root());
    let hand = |old: &Issuer, new: &Issuer| Handover::sign(A, old, &new.certificate).unwrap();
    let under = |root: &Issuer, handovers: Vec<Handover>| {
        let mut statement = stage.statement();
        statement.sequence = 7;
        statement.predecessor = Some([7; 32]);
        statement.root = Der(root.certificate.clone());
        statement.issuing = vec![Der(stage::issuing(root))];
        statement.handovers = handovers;
        statement.sign(&root.key, &stage.tls).unwrap()
    };

    refused(
        next(&under(&second, vec![])),
        "changed without the old root",
    );
    let known = next(&under(&second, vec![hand(&stage.root, &second)])).unwrap();
    assert_eq!(known.root(), &sha256(&second.certificate).unwrap());
    // What the old root's CAs had issued is believed on.
    assert!(known.issuer(&id(&stage.issuing)).is_some());

    let line = vec![hand(&stage.root, &second), hand(&second, &third)];
    next(&under(&third, line.clone())).unwrap();
    let broken = vec![hand(&stage.root, &second)];
    refused(next(&under(&third, broken)), "old root");
    let mut forged = line;
    forged[0].signature = second.key.sign(b"anything").unwrap();
    refused(next(&under(&third, forged)), "old root");
    let stranger = vec![hand(&third, &second)];
    refused(next(&under(&second, stranger)), "changed without");

    let shown = under(&second, vec![]);
    let compared = *known.root();
    let accepted = pinned
        .next_with_root(&shown, &compared, &stage.roots, NOW)
        .unwrap();
    assert_eq!(accepted.root(), &compared);
    refused(
        pinned.next_with_root(&shown, &[7; 32], &stage.roots, NOW),
        "changed without",
    );
}

#[test]
fn issuers_once_shown_are_held_and_survive_storage() {
    let stage = Stage::new();
    let pinned = first(&stage, &stage.signed(|_| {})).unwrap();
    let fresh = stage::issuing(&stage.root);
    let one = successor(&stage, &pinned, |s| s.issuing = vec![Der(fresh.clone())]);
    let pinned = pinned.next(&one, &stage.roots, NOW).unwrap();
    let restored = Pinned::restore(&pinned.record().unwrap()).unwrap();
    for held in [&pinned, &restored] {
        assert!(held.issuer(&id(&fresh)).is_some());
        assert!(held.issuer(&id(&stage.issuing)).is_some());
    }
    assert_eq!(restored.hash(), pinned.hash());
    assert_eq!(restored.root(), pinned.root());
    assert_eq!(restored.signed(), pinned.signed());
    Pinned::restore(b"anything").unwrap_err();

    let own = Pinned::own(&stage.signed(|_| {}), std::slice::from_ref(&fresh)).unwrap();
    assert!(own.issuer(&id(&fresh)).is_some());
}

#[test]
fn the_store_judges_before_it_holds() {
    let stage = Stage::new();
    let anchors = Anchors::new(stage.roots.clone());
    let zero = stage.signed(|_| {});
    let issuer = id(&stage.issuing);
    let judged = anchors.judge(A, &zero, NOW).unwrap();
    assert!(judged.changed);
    assert!(anchors.issuer(A, &issuer).is_none());
    assert!(anchors.stale(A, NOW, 0));
    anchors.hold(Arc::clone(&judged.pinned));
    assert!(anchors.issuer(A, &issuer).is_some());
    assert!(anchors.issuer("b.example", &issuer).is_none());
    assert!(!anchors.stale(A, NOW, 0));
    assert!(anchors.stale(A, NOW, 7 * DAY));
    assert!(!anchors.judge(A, &zero, NOW).unwrap().changed);

    let one = successor(&stage, &judged.pinned, |_| {});
    let next = anchors.judge(A, &one, NOW).unwrap();
    anchors.hold(Arc::clone(&next.pinned));
    // Two callers at once: the older judgement comes late.
    anchors.hold(judged.pinned);
    assert_eq!(anchors.pinned(A).unwrap().sequence(), 1);
    refused(anchors.judge(A, &zero, NOW), "goes back");
}

#[test]
fn the_store_holds_so_many_domains() {
    let stage = Stage::new();
    let anchors = Anchors::new(stage.roots.clone());
    let pinned = first(&stage, &stage.signed(|_| {})).unwrap();
    for n in 0..=MAX_DOMAINS {
        anchors.hold(Arc::new(pinned.named(&format!("{n}.example"))));
    }
    assert!(anchors.pinned("0.example").is_none());
    assert!(anchors.pinned("1.example").is_some());
    assert!(anchors.pinned(&format!("{MAX_DOMAINS}.example")).is_some());
}

#[test]
fn a_root_that_has_ended_vouches_for_nothing() {
    let stage = Stage::new();
    let after = VALIDITY.not_after + 2 * DAY;
    let signed = stage.signed(|s| {
        s.issued = after;
        s.expires = after + DAY;
    });
    refused(
        Pinned::first(A, &signed, &stage.roots, after),
        "root has expired",
    );
}

#[test]
fn a_list_is_judged_under_its_domain_held_and_never_goes_back() {
    use crate::crl::{self, CrlError, Entry};
    let stage = Stage::new();
    let key = crate::keys::PrivateKey::generate(crate::keys::Algorithm::P256).unwrap();
    let certificate =
        crate::issue::issuing(A, &key.public().unwrap(), &stage.root, VALIDITY).unwrap();
    let issuer = Issuer { key, certificate };
    let anchors = Anchors::new(stage.roots.clone());
    let one = Entry {
        serial: vec![0x41],
        at: NOW,
    };
    let make = |number, revoked: &[Entry]| {
        crl::make(&issuer, number, NOW, NOW + crl::LIFETIME_S, revoked).unwrap()
    };
    let (first, second) = (make(1, &[]), make(2, std::slice::from_ref(&one)));
    assert!(matches!(
        anchors.judge_crl(A, &first, NOW),
        Err(CrlError::UnknownIssuer { .. })
    ));
    let signed = stage.signed(|s| s.issuing.push(Der(issuer.certificate.clone())));
    anchors.hold(anchors.judge(A, &signed, NOW).unwrap().pinned);
    // The CA of one domain revokes nothing of another.
    anchors.judge_crl("b.example", &first, NOW).unwrap_err();
    let judged = anchors.judge_crl(A, &first, NOW).unwrap();
    assert!(judged.changed && judged.news.is_empty());
    anchors.hold_crl(judged.crl);
    let id = id(&issuer.certificate);
    assert_eq!(anchors.revoked(&id, &[0x41]), None);

    let judged = anchors.judge_crl(A, &second, NOW).unwrap();
    assert_eq!(judged.news, [one]);
    // Judged is not yet held.
    assert_eq!(anchors.revoked(&id, &[0x41]), None);
    anchors.hold_crl(judged.crl);
    assert_eq!(anchors.revoked(&id, &[0x41]).unwrap().crl_number, 2);
    assert!(!anchors.judge_crl(A, &second, NOW).unwrap().changed);
    assert!(matches!(
        anchors.judge_crl(A, &first, NOW),
        Err(CrlError::Older { known: 2, found: 1 })
    ));
    anchors.hold_crl(Arc::new(crl::Crl::read(&first).unwrap()));
    assert_eq!(anchors.crl(&id).unwrap().number(), 2);
}

/// An issuing CA whose validity begins then.
fn issuing_from(root: &Issuer, not_before: u64) -> Issuer {
    let key = crate::keys::PrivateKey::generate(crate::keys::Algorithm::P256).unwrap();
    let validity = crate::issue::Validity {
        not_before,
        ..VALIDITY
    };
    let public = key.public().unwrap();
    let certificate = crate::issue::issuing(A, &public, root, validity).unwrap();
    Issuer { key, certificate }
}

#[test]
fn the_newest_issuing_ca_speaks_for_a_root_that_is_offline() {
    let stage = Stage::new();
    let old = issuing_from(&stage.root, NOW - DAY / 2);
    let new = issuing_from(&stage.root, NOW);
    let statement = |listed: &[&Issuer], signer: &Issuer, sequence, predecessor| {
        let mut statement = stage.statement();
        statement.issuing = listed
            .iter()
            .map(|one| Der(one.certificate.clone()))
            .collect();
        (statement.sequence, statement.predecessor) = (sequence, predecessor);
        statement.sign(&signer.key, &stage.tls).unwrap()
    };
    let pinned = first(&stage, &statement(&[&old], &old, 0, None)).unwrap();
    // Of several the newest speaks, and none that the root has not certified.
    refused(
        first(&stage, &statement(&[&old, &new], &old, 0, None)),
        "signature of the root",
    );
    let foreign = issuing_from(&stage::root(), NOW + 1);
    refused(
        first(&stage, &statement(&[&old], &foreign, 0, None)),
        "signature of the root",
    );
    let next = |pinned: &Pinned, signed: &[u8]| pinned.next(signed, &stage.roots, NOW + DAY);
    let second = statement(&[&old, &new], &new, 1, Some(*pinned.hash()));
    let renewed = next(&pinned, &second).unwrap();
    // Whoever stole the old key cannot leave the new one out.
    let forged = statement(&[&old], &old, 2, Some(*renewed.hash()));
    refused(next(&renewed, &forged), "has replaced");
    // The root can.
    let by_root = statement(&[&old], &stage.root, 2, Some(*renewed.hash()));
    next(&renewed, &by_root).unwrap();
}
