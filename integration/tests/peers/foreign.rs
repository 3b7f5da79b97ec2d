//! The same play with any other server: ours is montague.example, theirs capulet.example.

use std::io;
use std::path::Path;

use integration::Home;
use integration::certificates::{Authority, Shape};
use integration::network::Network;
use integration::ordinary::Ordinary;
use integration::peers::{Options, Peer};
use integration::stage::PASSWORD;

use crate::scene::{self, Found, authority, comity, publish, resident};
use crate::speak;

pub(crate) struct Way {
    /// How the others find us, and we them.
    pub(crate) ours: Found,
    pub(crate) theirs: Found,
    pub(crate) software: &'static str,
    /// Our certificate is for servers alone, and both sides fall back on dialback (XEP-0220).
    pub(crate) dialback: bool,
    /// We offer and take one stream for both directions (XEP-0288).
    pub(crate) bidi: bool,
}

/// Both servers, and somebody at each.
pub(crate) struct Foreign<P> {
    pub(crate) home: Home,
    pub(crate) peer: P,
    pub(crate) romeo: Ordinary,
    pub(crate) juliet: Ordinary,
    authority: Authority,
}

impl<P: Peer> Foreign<P> {
    /// The peer is started by `start`.
    pub(crate) async fn set(
        network: &Network,
        way: &Way,
        start: impl FnOnce(Options, &Path) -> io::Result<P>,
    ) -> Self {
        let authority = authority(network);
        let (here, there) = (network.place(), network.place());
        publish(network, "montague.example", here, way.ours).await;
        publish(network, "capulet.example", there, way.theirs).await;
        let mut ours = comity("montague.example", here, &authority);
        if way.dialback {
            let public = Shape {
                server_auth_only: true,
                ..Shape::dns("montague.example")
            };
            ours.certificate = authority.issue("montague.example", &public).unwrap();
            ours.s2s.push_str("dialback = \"fallback\"\n");
        }
        ours.s2s.push_str(&format!("bidi = {}\n", way.bidi));
        let home = ours.start(network).unwrap();
        let shape = Shape::dns("capulet.example");
        let options = Options {
            domain: "capulet.example".to_owned(),
            place: there,
            certificate: authority.issue("capulet.example", &shape).unwrap(),
            authority: authority.file(),
            dialback: way.dialback,
            quiet: false,
            archive: false,
        };
        let peer = start(options, &network.folder().join("capulet.example")).unwrap();
        peer.add_user("juliet", PASSWORD).unwrap();
        Self {
            romeo: resident(&home, "romeo", &authority).await,
            juliet: juliet(&peer, &authority).await,
            home,
            peer,
            authority,
        }
    }

    /// Juliet after her server was away.
    pub(crate) async fn juliet_again(&mut self) {
        self.juliet = juliet(&self.peer, &self.authority).await;
    }

    /// Romeo after his was.
    pub(crate) async fn romeo_again(&mut self) {
        let (server, ca) = (self.home.c2s(), self.authority.file());
        self.romeo = Ordinary::login("romeo@montague.example", PASSWORD, server, &ca).await;
    }
}

async fn juliet<P: Peer>(peer: &P, authority: &Authority) -> Ordinary {
    let ca = authority.file();
    Ordinary::login("juliet@capulet.example", PASSWORD, peer.c2s(), &ca).await
}

/// Messages, presence, questions and notifications with a server started by `start`.
pub(crate) async fn federate<P: Peer>(
    network: &Network,
    way: Way,
    start: impl FnOnce(Options, &Path) -> io::Result<P>,
) {
    let mut scene = Foreign::set(network, &way, start).await;
    let (romeo, juliet) = (&mut scene.romeo, &mut scene.juliet);
    speak::messages(romeo, juliet).await;
    speak::presence(romeo, juliet).await;
    speak::questions(romeo, "capulet.example", way.software).await;
    speak::questions(juliet, "montague.example", "Comity").await;
    speak::notifications(juliet, romeo).await;
    speak::notifications(romeo, juliet).await;
    if way.dialback {
        scene::logged_at(&scene.peer.log(), &["montague.example", "db:result"]).await;
    }
    if !way.bidi {
        scene::streams_were(&scene.home, way.theirs, way.ours);
    }
}
