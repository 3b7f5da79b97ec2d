//! Comity and ejabberd.

use integration::network::play;
use integration::peers::Ejabberd;

use crate::foreign::{Way, federate};
use crate::scene::Found;

#[test]
fn ejabberd_by_starttls() {
    play("ejabberd-starttls", async |network| {
        let way = Way {
            ours: Found::StartTls,
            theirs: Found::StartTls,
            software: "ejabberd",
            dialback: false,
            bidi: false,
        };
        federate(network, way, Ejabberd::start).await;
    });
}

#[test]
fn ejabberd_by_direct_tls() {
    play("ejabberd-direct", async |network| {
        let way = Way {
            ours: Found::Direct,
            theirs: Found::Direct,
            software: "ejabberd",
            dialback: false,
            bidi: false,
        };
        federate(network, way, Ejabberd::start).await;
    });
}

#[test]
fn ejabberd_by_dialback() {
    play("ejabberd-dialback", async |network| {
        let way = Way {
            ours: Found::StartTls,
            theirs: Found::StartTls,
            software: "ejabberd",
            dialback: true,
            bidi: false,
        };
        federate(network, way, Ejabberd::start).await;
    });
}
