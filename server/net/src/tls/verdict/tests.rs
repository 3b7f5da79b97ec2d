use super::*;
use Name::{Dns, Srv, Xmpp};

/// One name of a certificate.
enum Name {
    Dns(&'static str),
    Srv(&'static str),
    Xmpp(&'static str),
}

/// RFC 6120 §13.7.1.2 and RFC 6125 §6.4: each name that a certificate may have, a domain, and
/// whether the one speaks for the other between servers.
#[test]
fn which_name_speaks_for_which_domain() {
    let cases = [
        // DNS-ID: letters of any size, the root's dot or none, whole names.
        (Dns("a.example"), "a.example", true),
        (Dns("A.Example"), "a.example", true),
        (Dns("a.example."), "a.example", true),
        (Dns("a.example"), "b.a.example", false),
        (Dns("b.a.example"), "a.example", false),
        (Dns("a.example.evil.example"), "a.example", false),
        (Dns(""), "a.example", false),
        (Dns("."), "a.example", false),
        // A wildcard is the whole left-most label, and one label.
        (Dns("*.rooms.example"), "one.rooms.example", true),
        (Dns("*.Rooms.example"), "one.rooms.example", true),
        (Dns("*.rooms.example"), "two.one.rooms.example", false),
        (Dns("*.rooms.example"), "rooms.example", false),
        (Dns("f*.rooms.example"), "foo.rooms.example", false),
        (Dns("*o.rooms.example"), "foo.rooms.example", false),
        (Dns("one.*.example"), "one.rooms.example", false),
        (Dns("*.*.example"), "one.rooms.example", false),
        (Dns("*.example"), "a.example", false),
        (Dns("*"), "localhost", false),
        (Dns("*"), "a.example", false),
        (Dns("*.0.2.1"), "192.0.2.1", false),
        // IDNA: certificates have A-labels, addresses U-labels.
        (Dns("xn--bcher-kva.example"), "b\u{fc}cher.example", true),
        (
            Dns("*.xn--bcher-kva.example"),
            "a.b\u{fc}cher.example",
            true,
        ),
        (Dns("*.example.net"), "b\u{fc}cher.example.net", true),
        (Dns("xn--*.example.net"), "b\u{fc}cher.example.net", false),
        (Dns("b\u{fc}cher.example"), "b\u{fc}cher.example", false),
        // SRV-ID (RFC 4985): for this service, and as DNS-IDs beyond its label.
        (Srv("_xmpp-server.a.example"), "a.example", true),
        (Srv("_XMPP-Server.A.example"), "a.example", true),
        (Srv("_xmpp-server.*.a.example"), "b.a.example", true),
        (Srv("_xmpp-client.a.example"), "a.example", false),
        (Srv("_xmpps-server.a.example"), "a.example", false),
        (Srv("_imaps.a.example"), "a.example", false),
        (Srv("xmpp-server.a.example"), "a.example", false),
        (Srv("_xmpp-server.a.example"), "b.a.example", false),
        (Srv("_xmpp-server."), "a.example", false),
        (Srv("_x\u{fc}"), "a.example", false),
        (Srv("a.example"), "a.example", false),
        // XmppAddr: a domain and nothing more, in Unicode.
        (Xmpp("a.example"), "a.example", true),
        (Xmpp("A.example"), "a.example", true),
        (Xmpp("b\u{fc}cher.example"), "b\u{fc}cher.example", true),
        (Xmpp("juliet@a.example"), "a.example", false),
        (Xmpp("a.example/home"), "a.example", false),
        (Xmpp("*.a.example"), "b.a.example", false),
        (Xmpp("*.a.example"), "a.example", false),
    ];
    for (name, domain, expect) in cases {
        let (mut names, shown) = (
            Names::default(),
            match &name {
                Dns(name) => format!("DNS {name}"),
                Srv(name) => format!("SRV {name}"),
                Xmpp(name) => format!("XmppAddr {name}"),
            },
        );
        match name {
            Dns(name) => names.dns.push(name.to_owned()),
            Srv(name) => names.srv.push(name.to_owned()),
            Xmpp(name) => names.xmpp.push(name.to_owned()),
        }
        let found = speaks_for(&names, domain, Service::Server);
        assert_eq!(found, expect, "{shown} for {domain}");
    }
}

#[test]
fn a_name_for_clients_is_one_for_clients() {
    let names = Names {
        srv: vec!["_xmpp-client.b.example".to_owned()],
        ..Names::default()
    };
    assert!(speaks_for(&names, "b.example", Service::Client));
    assert!(!speaks_for(&names, "b.example", Service::Server));
}

#[test]
fn faults_are_told_in_words() {
    let day = Duration::from_secs(86_400);
    let told = [
        (
            Unproven::Expired(3 * day),
            "the certificate expired 3 d ago",
        ),
        (
            Unproven::Early(Duration::from_secs(125)),
            "the certificate is not yet valid for another 2 min: whose clock is wrong?",
        ),
    ];
    for (why, expect) in told {
        assert_eq!(why.to_string(), expect);
    }
}
