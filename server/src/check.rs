//! `comity check`: what is wrong with this server as others see it, and what to do about it. A
//! check a file; each says what is well too, so that one sees what was looked at.
//!
//! Nothing here changes anything. What only the running server can tell (its streams, its
//! authorities) is asked over the admin socket.

mod acme;
mod authority;
pub(crate) mod certificate;
mod clock;
mod dns;
mod peer;
mod ports;
mod queues;
mod records;
mod storage;
#[cfg(test)]
mod zone;

use std::sync::Arc;
use std::time::SystemTime;

use comity_conf::Conf;
use comity_net::dns::Lookup;
use serde::Serialize;

use crate::admin::client::Client;

pub use records::records;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, or may work, and could be better.
    Advice,
    /// Somebody will notice.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check, named as its file.
    pub check: &'static str,
    /// The domain, file or host it is about.
    pub about: String,
    pub level: Level,
    pub what: String,
    /// The record or line to add, or the step to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
}

/// What the checks stand on.
pub struct Ground {
    pub conf: Conf,
    pub lookup: Arc<dyn Lookup>,
    pub now: SystemTime,
    /// Whose clock ours is compared with.
    pub time_server: String,
}

/// What was found, in the order in which it was looked at.
#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, about: &str, what: impl Into<String>) {
        self.add(check, about, Level::Ok, what.into(), None);
    }

    fn advice(
        &mut self,
        check: &'static str,
        about: &str,
        what: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, about, Level::Advice, what.into(), Some(todo.into()));
    }

    fn fault(
        &mut self,
        check: &'static str,
        about: &str,
        what: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, about, Level::Fault, what.into(), Some(todo.into()));
    }

    fn add(
        &mut self,
        check: &'static str,
        about: &str,
        level: Level,
        what: String,
        todo: Option<String>,
    ) {
        self.0.push(Finding {
            check,
            about: about.to_owned(),
            level,
            what,
            todo,
        });
    }
}

/// Looks at our own server, or where a peer is named, at the way to it.
pub async fn check(ground: &Ground, peer: Option<&str>) -> Vec<Finding> {
    let mut found = Findings::default();
    let mut server = Client::connect(&ground.conf.server.data_dir).await.ok();
    if let Some(peer) = peer {
        peer::check(ground, server.as_mut(), peer, &mut found).await;
        return found.0;
    }
    storage::check(ground, server.is_some(), &mut found).await;
    clock::check(ground, &mut found).await;
    for domain in &ground.conf.server.domains {
        certificate::check(ground, domain, &mut found);
        acme::check(ground, domain, &mut found).await;
        dns::check(ground, domain, &mut found).await;
        if server.is_some() {
            ports::check(ground, domain, &mut found).await;
        }
    }
    match &mut server {
        Some(server) => {
            authority::check(ground, server, &mut found).await;
            queues::check(ground, server, &mut found).await;
        }
        None => found.advice(
            "server",
            &ground.conf.server.data_dir.display().to_string(),
            "no server is running here: its ports, authorities and queues were not looked at",
            "comity serve --config FILE",
        ),
    }
    found.0
}

/// The exit status: 0 only when all is well, 1 for faults, 2 for advice alone.
#[must_use]
pub fn status(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.level).max() {
        None | Some(Level::Ok) => 0,
        Some(Level::Fault) => 1,
        Some(Level::Advice) => 2,
    }
}

/// For a person: what is wrong last, where it is read first.
#[must_use]
pub fn describe(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.level);
    let mut text = String::new();
    for finding in sorted {
        let mark = match finding.level {
            Level::Ok => "ok    ",
            Level::Advice => "ADVICE",
            Level::Fault => "FAULT ",
        };
        let Finding {
            check,
            about,
            what,
            todo,
            ..
        } = finding;
        text.push_str(&format!("{mark}  {check}: {about}: {what}\n"));
        for line in todo.iter().flat_map(|todo| todo.lines()) {
            text.push_str(&format!("          {line}\n"));
        }
    }
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    text.push_str(&match (count(Level::Fault), count(Level::Advice)) {
        (0, 0) => "all is well\n".to_owned(),
        (faults, advice) => format!("faults: {faults}, advice: {advice}\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_gives_the_status_and_comes_last() {
        let mut found = Findings::default();
        assert_eq!(status(&found.0), 0);
        found.ok("dns", "a.example", "fine");
        assert_eq!(status(&found.0), 0);
        assert!(describe(&found.0).ends_with("all is well\n"));
        found.fault("dns", "a.example", "broken", "mend it\nso");
        found.advice("dns", "a.example", "odd", "look");
        assert_eq!(status(&found.0), 1);
        let text = describe(&found.0);
        let expected = "FAULT   dns: a.example: broken\n          mend it\n          so\n\
                        faults: 1, advice: 1\n";
        assert!(text.ends_with(expected), "{text}");
        found.0.remove(1);
        assert_eq!(status(&found.0), 2);
    }
}
