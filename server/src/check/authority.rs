//! Are our certificate authorities at work? Each signs a statement of itself long before the last
//! one ends; other domains refuse our devices once it has ended.

use crate::admin::client::Client;
use crate::admin::protocol::{Answer, Request};
use crate::home::millis;
use crate::services;
use crate::time;

use super::{Findings, Ground};

const CHECK: &str = "authority";

pub(super) async fn check(ground: &Ground, server: &mut Client, found: &mut Findings) {
    let roots = match server.ask(&Request::PeerRoots).await {
        Ok(Answer::Roots { roots }) => roots,
        Ok(other) => return unknown(&format!("{other:?}"), found),
        Err(error) => return unknown(&error.to_string(), found),
    };
    tokens(ground, found).await;
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

/// Tokens are tried as the server does, with the same configuration.
async fn tokens(ground: &Ground, found: &mut Findings) {
    let mut labels = Vec::new();
    for domain in &ground.conf.server.domains {
        let options = services::options(&ground.conf, domain);
        let Some(token) = options
            .token
            .filter(|token| !labels.contains(&token.label().to_owned()))
        else {
            continue;
        };
        let label = token.label().to_owned();
        labels.push(label.clone());
        let what = format!("the token {label}");
        match tokio::task::spawn_blocking(move || token.check()).await {
            Ok(Ok(())) => found.ok(
                CHECK,
                &what,
                "it is there, and lets the server in".to_owned(),
            ),
            Ok(Err(error)) => {
                let todo = "until then nothing is issued or revoked";
                found.fault(CHECK, &what, error.to_string(), todo);
            }
            Err(error) => found.fault(CHECK, &what, error.to_string(), "run the check again"),
        }
    }
}

fn unknown(why: &str, found: &mut Findings) {
    let todo = "restart the server, so that it is of this program's version";
    found.fault(CHECK, "this server", why, todo);
}
