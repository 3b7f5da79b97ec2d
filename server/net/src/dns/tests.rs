use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{SOA, SRV};
use hickory_resolver::proto::rr::{Record, RecordType};
use tokio::net::UdpSocket;

use super::*;

#[test]
fn names_are_asked_for_in_ascii_and_absolutely() {
    let asked = absolute("_xmpp-server._tcp.b\u{fc}cher.example").unwrap();
    assert_eq!(asked.to_ascii(), "_xmpp-server._tcp.xn--bcher-kva.example.");
    assert!(asked.is_fqdn());
    assert!(absolute("a..b").is_err());
}

#[test]
fn targets_lose_their_final_dot_but_the_root_stays() {
    assert_eq!(
        without_dot(&Name::from_ascii("xmpp.example.").unwrap()),
        "xmpp.example"
    );
    assert_eq!(without_dot(&Name::root()), ".");
}

/// A name server that knows one SRV record, fails for `broken.example` and counts its questions.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let answer = answer(question).to_vec().unwrap();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    (address, asked)
}

fn answer(question: Message) -> Message {
    let query = question.queries[0].clone();
    let name = query.name().clone();
    let known = Name::from_ascii("_xmpp-server._tcp.known.example.").unwrap();
    let mut answer = question.into_response();
    answer.edns = None;
    if name.to_ascii().contains("broken.example") {
        answer.metadata.response_code = ResponseCode::ServFail;
    } else if query.query_type() == RecordType::SRV && name == known {
        let host = Name::from_ascii("xmpp.known.example.").unwrap();
        let srv = RData::SRV(SRV::new(5, 7, 5269, host));
        answer.add_answer(Record::from_rdata(name, 3600, srv));
    } else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        let zone = Name::from_ascii("example.").unwrap();
        let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, 60);
        answer.add_authority(Record::from_rdata(zone, 60, RData::SOA(soa)));
    }
    answer
}

#[tokio::test]
async fn what_is_said_is_remembered_and_so_is_nothing() {
    let (address, asked) = server().await;
    let dns = Dns::asking(&[address]);
    for _ in 0..3 {
        let found = dns.srv("_xmpp-server._tcp.known.example").await.unwrap();
        let expect = Srv {
            priority: 5,
            weight: 7,
            port: 5269,
            target: "xmpp.known.example".to_owned(),
        };
        assert_eq!(found, [expect]);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    for _ in 0..3 {
        let found = dns.srv("_xmpp-server._tcp.unknown.example").await;
        assert_eq!(found, Ok(Vec::new()));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    for _ in 0..3 {
        assert_eq!(dns.addresses("unknown.example").await, Ok(Vec::new()));
    }
    // Both families, once.
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_failure_is_no_answer_and_is_not_remembered() {
    let (address, asked) = server().await;
    let dns = Dns::asking(&[address]);
    let failed = dns.srv("_xmpp-server._tcp.broken.example").await;
    assert!(failed.is_err(), "{failed:?}");
    let before = asked.load(Ordering::Relaxed);
    assert!(dns.srv("_xmpp-server._tcp.broken.example").await.is_err());
    assert!(asked.load(Ordering::Relaxed) > before);
}

#[tokio::test]
async fn where_nobody_can_be_asked_every_question_fails() {
    let dns = Dns(Err("there is no resolv.conf".to_owned()));
    let failed = dns.addresses("a.example").await.unwrap_err();
    assert!(failed.to_string().contains("no resolv.conf"), "{failed}");
}
