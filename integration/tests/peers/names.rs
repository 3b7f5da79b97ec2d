//! Every kind of name in a certificate that may speak for a domain does (RFC 6120 §13.7.1), and it
//! need not be for clients.

use integration::certificates::{San, Shape};
use integration::network::play;

use crate::scene::{Found, authority, comity, publish, resident, with};
use crate::speak;

#[test]
fn every_kind_of_name_speaks_for_its_domain() {
    play("names", async |network| {
        let authority = authority(network);
        let place = network.place();
        publish(network, "montague.example", place, Found::StartTls).await;
        let home = comity("montague.example", place, &authority);
        let home = home.start(network).unwrap();
        let mut romeo = resident(&home, "romeo", &authority).await;
        let only = |san| Shape {
            names: vec![san],
            ..Shape::default()
        };
        let public = Shape {
            server_auth_only: true,
            ..Shape::dns("public.example")
        };
        let cases = [
            ("address.example", only(San::XmppAddr("address.example"))),
            (
                "service.example",
                only(San::SrvName("_xmpp-server.service.example")),
            ),
            ("im.wild.example", only(San::Dns("*.wild.example"))),
            (
                "b\u{fc}cher.example",
                only(San::Dns("xn--bcher-kva.example")),
            ),
            ("public.example", public),
        ];
        for (domain, shape) in cases {
            let place = network.place();
            publish(network, domain, place, Found::StartTls).await;
            let certificate = authority.issue(domain, &shape).unwrap();
            let theirs = with(domain, place, &authority, certificate);
            let theirs = theirs.start(network).unwrap();
            let mut juliet = crate::scene::careless(&theirs, "juliet").await;
            speak::messages(&mut romeo, &mut juliet).await;
        }
    });
}
