use bytes::Bytes;
use comity_xmpp::element::Element;
use comity_xmpp::ns::MLS_KEYS as NS;
use comity_xmpp::stanza::IqType;

use super::*;
use crate::limits;

fn some(octet: u8) -> Bytes {
    Bytes::from(vec![octet; 5])
}

fn claim() -> Claim {
    Claim {
        room: BareJid::parse("~abcdefghijklmnopqrstuvwxyz@a.example").unwrap(),
        suites: vec![2, 1],
        extensions: vec![0xF1C0],
        devices: vec![Uuid::from_u128(7)],
    }
}

fn count() -> Count {
    Count {
        device: Uuid::from_u128(9),
        suite: 2,
        ordinary: 3,
        last_resort: true,
    }
}

#[test]
fn requests_round_trip_by_their_iq_type_only() {
    let device = Uuid::from_u128(1);
    for request in [
        Request::Publish {
            device,
            replace: true,
            packages: vec![
                Published {
                    last_resort: false,
                    package: some(1),
                },
                Published {
                    last_resort: true,
                    package: some(2),
                },
            ],
            signature: some(3),
        },
        Request::Count,
        Request::Delete {
            device,
            references: vec![some(4)],
        },
        Request::Delete {
            device,
            references: Vec::new(),
        },
        Request::Claim(claim()),
    ] {
        let element = request.to_element();
        let iq = request.iq_type();
        let wrong = if iq == IqType::Get {
            IqType::Set
        } else {
            IqType::Get
        };
        assert_eq!(Request::from_iq(iq, &element), Ok(request));
        assert!(Request::from_iq(wrong, &element).is_err());
    }
}

#[test]
fn answers_and_notices_round_trip() {
    let device = Uuid::from_u128(1);
    let results = [
        ClaimResult::Package {
            package: some(1),
            last_resort: true,
        },
        ClaimResult::Exhausted,
        ClaimResult::Incompatible,
    ];
    for answer in [
        Answer::Published(vec![count()]),
        Answer::Counts(Vec::new()),
        Answer::Deleted(vec![count()]),
        Answer::Claimed(
            results
                .map(|result| Claimed { device, result })
                .into_iter()
                .collect(),
        ),
    ] {
        assert_eq!(Answer::from_element(&answer.to_element()), Ok(answer));
    }
    for notice in [
        Notice::LowStock(count()),
        Notice::LastResortUsed { device, suite: 1 },
    ] {
        assert_eq!(Notice::from_element(&notice.to_element()), Ok(notice));
    }
}

#[test]
fn what_is_missing_or_wrong_is_refused() {
    let mut without_suites = claim();
    without_suites.suites.clear();
    assert!(Request::from_element(&Request::Claim(without_suites).to_element()).is_err());

    let mut many = claim();
    many.suites = vec![2; limits::SUITES + 1];
    assert!(Request::from_element(&Request::Claim(many).to_element()).is_err());

    let resource = Request::Claim(claim())
        .to_element()
        .with_attr("room", "~abcdefghijklmnopqrstuvwxyz@a.example/x");
    assert!(Request::from_element(&resource).is_err());

    let device = Element::new(NS, "device").with_attr("id", Uuid::nil().to_string());
    let empty = Element::new(NS, "claimed").with_child(device);
    assert!(Answer::from_element(&empty).is_err());

    let large = Request::Publish {
        device: Uuid::nil(),
        replace: false,
        packages: vec![Published {
            last_resort: false,
            package: Bytes::from(vec![1; limits::KEY_PACKAGE_BYTES + 1]),
        }],
        signature: some(1),
    };
    assert!(Request::from_element(&large.to_element()).is_err());
}
