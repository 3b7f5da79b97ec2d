//! One encoding, and refusals for everything else.

use super::*;

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

fn endorsement() -> Endorsement {
    Endorsement::new(
        Uuid::from_u128(1),
        [7; 32],
        1_800_000_000,
        Uuid::from_u128(2),
        vec![0x30; 70],
    )
}

fn request() -> SignedRequest {
    SignedRequest::new(
        &jid("bob@b.example"),
        &jid("alice@a.example"),
        Uuid::from_u128(3),
        1_800_000_000,
        vec![1; 64],
    )
}

fn samples() -> Vec<AuthenticatedData> {
    let revocation = Revocation {
        serial: vec![1, 0, 255],
        crl_number: 9,
    };
    let idle = Idle {
        updated_epoch: 4,
        limit_s: 60,
    };
    vec![
        AuthenticatedData::endorsing(vec![endorsement()]),
        AuthenticatedData::endorsing(vec![endorsement(), endorsement()]),
        AuthenticatedData::grounded(Ground::Revocation(revocation)),
        AuthenticatedData::grounded(Ground::Departure(request())),
        AuthenticatedData::grounded(Ground::Ban(request())),
        AuthenticatedData::grounded(Ground::Idle(idle)),
        AuthenticatedData::ephemeral(),
        AuthenticatedData {
            endorsements: vec![endorsement()],
            rejoin: Some(Rejoin {
                epoch: 5,
                mac: [8; 32],
            }),
            ..AuthenticatedData::default()
        },
        AuthenticatedData::franked([9; 32]),
    ]
}

#[test]
fn what_is_written_is_read_and_nothing_makes_no_octets() {
    for sample in samples() {
        let data = sample.to_bytes().unwrap();
        assert_eq!(AuthenticatedData::from_bytes(&data), Ok(sample));
    }
    assert_eq!(AuthenticatedData::default().to_bytes(), Ok(Vec::new()));
    assert_eq!(
        AuthenticatedData::from_bytes(&[]),
        Ok(AuthenticatedData::default())
    );
}

#[test]
fn the_octets_are_those_of_the_document() {
    let ground = Ground::Revocation(Revocation {
        serial: vec![0xab, 0xcd],
        crl_number: 9,
    });
    let data = AuthenticatedData::grounded(ground).to_bytes().unwrap();
    assert_eq!(
        data,
        [0, 1, 14, 0, 2, 1, 2, 0xab, 0xcd, 0, 0, 0, 0, 0, 0, 0, 9]
    );
}

#[test]
fn truncations_and_additions_are_refused() {
    for sample in samples() {
        let data = sample.to_bytes().unwrap();
        for end in 1..data.len() {
            let refused = AuthenticatedData::from_bytes(&data[..end]);
            assert!(
                matches!(refused, Err(AuthenticatedDataError::Malformed(_))),
                "{end}: {refused:?}"
            );
        }
        let longer = [&data[..], &[0]].concat();
        assert!(AuthenticatedData::from_bytes(&longer).is_err());
    }
}

#[test]
fn a_newer_version_is_named_whatever_follows_it() {
    assert_eq!(
        AuthenticatedData::from_bytes(&[0, 2, 0xff, 0xff]),
        Err(AuthenticatedDataError::UnknownVersion { found: 2 })
    );
}

/// Octets that are not in the one order, with items twice, empty or of no known type.
#[test]
fn other_spellings_are_refused() {
    let list = |items: &[Item]| {
        let mut data = VERSION.to_be_bytes().to_vec();
        items.to_vec().mls_encode(&mut data).unwrap();
        data
    };
    let rejoin = Item::Rejoin(Rejoin {
        epoch: 1,
        mac: [0; 32],
    });
    let endorsements = Item::Endorsements(vec![endorsement()]);
    let cases = [
        list(&[]),
        list(&[Item::Endorsements(Vec::new())]),
        list(&[rejoin.clone(), endorsements.clone()]),
        list(&[rejoin.clone(), rejoin.clone()]),
        list(&[endorsements.clone(), endorsements]),
        vec![0, 1, 2, 0, 9],
        vec![0, 1, 0x40, 42, 0, 3],
    ];
    for data in cases {
        let refused = AuthenticatedData::from_bytes(&data);
        assert!(
            matches!(refused, Err(AuthenticatedDataError::Malformed(_))),
            "{data:?}: {refused:?}"
        );
    }
}

#[test]
fn what_cannot_be_meant_is_refused_in_both_directions() {
    let mut unsigned = endorsement();
    unsigned.signature.clear();
    let mut long = endorsement();
    long.signature = vec![0; limits::SIGNATURE_BYTES + 1];
    let revoked = |serial: Vec<u8>| {
        AuthenticatedData::grounded(Ground::Revocation(Revocation {
            serial,
            crl_number: 1,
        }))
    };
    let mut named = request();
    named.account = "Bob@b.example".to_owned();
    let mut domain = request();
    domain.by = "a.example".to_owned();
    let idle = Idle {
        updated_epoch: 1,
        limit_s: 0,
    };
    let cases = [
        AuthenticatedData::endorsing(vec![unsigned]),
        AuthenticatedData::endorsing(vec![long]),
        AuthenticatedData::endorsing(vec![endorsement(); limits::JOINERS + 1]),
        revoked(Vec::new()),
        revoked(vec![1; 21]),
        AuthenticatedData::grounded(Ground::Ban(named)),
        AuthenticatedData::grounded(Ground::Departure(domain)),
        AuthenticatedData::grounded(Ground::Idle(idle)),
    ];
    for case in cases {
        assert!(case.to_bytes().is_err(), "{case:?}");
        let mut data = VERSION.to_be_bytes().to_vec();
        let mut items = Vec::new();
        if !case.endorsements.is_empty() {
            items.push(Item::Endorsements(case.endorsements.clone()));
        }
        items.extend(case.ground.clone().map(Item::Ground));
        items.mls_encode(&mut data).unwrap();
        assert!(AuthenticatedData::from_bytes(&data).is_err(), "{case:?}");
    }
}

#[test]
fn more_octets_than_are_read_are_refused_unread() {
    let data = vec![0; limits::AUTHENTICATED_BYTES + 1];
    assert!(matches!(
        AuthenticatedData::from_bytes(&data),
        Err(AuthenticatedDataError::TooLarge { .. })
    ));
    // A full commit's endorsements fit.
    let full = AuthenticatedData::endorsing(vec![endorsement(); limits::JOINERS]);
    assert!(full.to_bytes().unwrap().len() < limits::AUTHENTICATED_BYTES);
}
