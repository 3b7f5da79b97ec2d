//! Comity and Prosody.

use integration::network::play;
use integration::peers::Prosody;

use crate::foreign::{Way, federate};
use crate::scene::Found;

#[test]
fn prosody_by_starttls() {
    play("prosody-starttls", async |network| {
        let way = Way {
            ours: Found::StartTls,
            theirs: Found::StartTls,
            software: "Prosody",
            dialback: false,
            bidi: false,
        };
        federate(network, way, Prosody::start).await;
    });
}

#[test]
fn prosody_by_direct_tls() {
    play("prosody-direct", async |network| {
        let way = Way {
            ours: Found::Direct,
            theirs: Found::Direct,
            software: "Prosody",
            dialback: false,
            bidi: false,
        };
        federate(network, way, Prosody::start).await;
    });
}

#[test]
fn prosody_by_dialback() {
    play("prosody-dialback", async |network| {
        let way = Way {
            ours: Found::StartTls,
            theirs: Found::StartTls,
            software: "Prosody",
            dialback: true,
            bidi: false,
        };
        federate(network, way, Prosody::start).await;
    });
}
