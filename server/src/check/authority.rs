//! Are our certificate authorities at work? Each signs a statement of itself long before the last
//! one ends; other domains refuse our devices once it has ended.

use crate::admin::client::Client;
use crate::admin::protocol::{Answer, Request};
use crate::home::millis;
use crate::time;

use super::{Findings, Ground};

const CHECK: &str = "authority";

pub(super) async fn check(ground: &Ground, server: &mut Client, found: &mut Findings) {
    let roots = match server.ask(&Request::PeerRoots).await {
        Ok(Answer::Roots { roots }) => roots,
        Ok(other) => return unknown(&format!("{other:?}"), found),
        Err(error) => return unknown(&error.to_string(), found),
    };
    let now = millis(ground.now) / 1000;
    for domain in &ground.conf.server.domains {
        let own = roots.iter().find(|root| root.own && root.domain == *domain);
        let todo = "the log says why: look for \"anchors\" and \"certificate\" there";
        match own {
            None => {
                let what = "its authority has published nothing: other domains refuse its devices";
                found.fault(CHECK, domain, what, todo);
            }
            Some(root) if root.expires <= now => {
                let ended = time::day(root.expires);
                let what = format!("what its authority said of itself ended on {ended}");
                found.fault(CHECK, domain, what, todo);
            }
            Some(root) => {
                let until = time::day(root.expires);
                let what = format!("its authority's statement lasts until {until}");
                found.ok(CHECK, domain, what);
            }
        }
    }
}

fn unknown(why: &str, found: &mut Findings) {
    let todo = "restart the server, so that it is of this program's version";
    found.fault(CHECK, "this server", why, todo);
}
