//! The same play with any other server: ours is montague.example, theirs capulet.example.

use std::io;
use std::path::Path;

use integration::certificates::Shape;
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
}

/// Messages, presence, questions and notifications with a server started by `start`.
pub(crate) async fn federate<P: Peer>(
    network: &Network,
    way: Way,
    start: impl FnOnce(Options, &Path) -> io::Result<P>,
) {
    let authority = authority(network);
    let (here, there) = (network.place(), network.place());
    publish(network, "montague.example", here, way.ours).await;
    publish(network, "capulet.example", there, way.theirs).await;
    let ours = comity("montague.example", here, &authority);
    let home = ours.start(network).unwrap();
    let shape = Shape::dns("capulet.example");
    let options = Options {
        domain: "capulet.example".to_owned(),
        place: there,
        certificate: authority.issue("capulet.example", &shape).unwrap(),
        authority: authority.file(),
        dialback: false,
    };
    let peer = start(options, &network.folder().join("capulet.example")).unwrap();
    peer.add_user("juliet", PASSWORD).unwrap();

    let mut romeo = resident(&home, "romeo", &authority).await;
    let ca = authority.file();
    let mut juliet = Ordinary::login("juliet@capulet.example", PASSWORD, peer.c2s(), &ca).await;
    speak::messages(&mut romeo, &mut juliet).await;
    speak::presence(&mut romeo, &mut juliet).await;
    speak::questions(&mut romeo, "capulet.example", way.software).await;
    speak::questions(&mut juliet, "montague.example", "Comity").await;
    speak::notifications(&mut juliet, &mut romeo).await;

    scene::streams_were(&home, way.theirs, way.ours);
}
