//! What the running server knows of itself without asking its storage.

use comity_xmpp::jid::Jid;

use super::protocol::{DomainStats, Session, Stats};
use crate::home::Home;
use crate::process::Usage;

pub trait House: Send + Sync {
    /// Sessions of one account, of one domain, or of all (`""`), in the order of their addresses
    /// after one, at most so many.
    fn sessions(&self, of: &str, after: &str, most: usize) -> Vec<Session>;
    /// Ends one session, or all of a bare address, for this reason; how many there were.
    fn kill(&self, jid: &Jid, why: &str) -> usize;
    /// Everything but what is counted in storage.
    fn stats(&self) -> Stats;
}

impl House for Home {
    fn sessions(&self, of: &str, after: &str, most: usize) -> Vec<Session> {
        let now = self.now_ms();
        let of = |session: &crate::sessions::Session| {
            let jid = &session.jid;
            let account = jid.to_bare();
            of.is_empty() || of == jid.domain() || of == account.as_str()
        };
        let mut found = self.sessions.all(|session| {
            (of(session) && session.jid.as_str() > after).then(|| describe(session, now))
        });
        found.sort_by(|a, b| a.jid.cmp(&b.jid));
        found.truncate(most);
        found
    }

    fn kill(&self, jid: &Jid, why: &str) -> usize {
        match jid.resource() {
            None => self.sessions.kick(&jid.to_bare(), why),
            Some(_) => usize::from(self.sessions.kick_one(jid, why)),
        }
    }

    fn stats(&self) -> Stats {
        let usage = Usage::now();
        let domains = self.hosts.domains().iter().map(|domain| DomainStats {
            domain: domain.clone(),
            accounts: 0,
            sessions: self.sessions.count(domain),
        });
        let domains: Vec<DomainStats> = domains.collect();
        let up = |status: &comity_s2s::link::Status| status.state == comity_s2s::peer::State::Up;
        let incoming = self.remote.incoming();
        let passed = &self.counters;
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started_ms,
            now: self.now_ms(),
            sessions: domains.iter().map(|domain| domain.sessions).sum(),
            domains,
            streams_out: self.remote.outgoing().iter().filter(|s| up(s)).count(),
            streams_in: incoming.values().map(|count| count.streams).sum(),
            stanzas_from_clients: passed.from_clients.get(),
            stanzas_from_domains: passed.from_domains.get(),
            stanzas_to_clients: passed.to_clients.get(),
            stanzas_to_domains: passed.to_domains.get(),
            logins: passed.entered.get(),
            logins_refused: passed.refused.get(),
            memory_octets: usage.memory,
            cpu_ms: usage.cpu_ms,
            open_files: usage.open_files,
            ..Stats::default()
        }
    }
}

fn describe(session: &crate::sessions::Session, now: u64) -> Session {
    let age = u64::try_from(session.since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let shown = session.presence.as_ref();
    let shown = shown.map(|presence| match presence.text_of("show") {
        Some(show) if ["away", "chat", "dnd", "xa"].contains(&&*show) => show,
        _ => "available".to_owned(),
    });
    Session {
        jid: session.jid.to_string(),
        since: now.saturating_sub(age),
        shown,
        priority: session.priority,
        device: session.device.map(|device| device.to_string()),
        resumable: session.managed.is_some(),
        queued: session.outbound.waiting(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::Play;

    fn names(sessions: Vec<Session>) -> Vec<String> {
        sessions.into_iter().map(|one| one.jid).collect()
    }

    #[tokio::test]
    async fn who_is_logged_in_is_told_and_put_out() {
        let play = Play::of(&["alice@a.example", "bob@c.example"]).await;
        let phone = play.bind("alice@a.example/phone").await;
        let _desk = play.bind("alice@a.example/desk").await;
        let _bob = play.bind("bob@c.example/x").await;
        let house: &dyn House = &play.home;
        let all = names(house.sessions("", "", 10));
        let expected = [
            "alice@a.example/desk",
            "alice@a.example/phone",
            "bob@c.example/x",
        ];
        assert_eq!(all, expected);
        assert_eq!(
            names(house.sessions("", &all[0], 1)),
            ["alice@a.example/phone"]
        );
        assert_eq!(
            names(house.sessions("c.example", "", 9)),
            ["bob@c.example/x"]
        );
        assert_eq!(house.sessions("alice@a.example", "", 9).len(), 2);
        let stats = house.stats();
        assert_eq!((stats.sessions, stats.domains[0].sessions), (3, 2));
        let kill = |jid: &str| house.kill(&Jid::parse(jid).unwrap(), "out");
        assert_eq!(kill("alice@a.example/phone"), 1);
        assert_eq!(kill("alice@a.example/nowhere"), 0);
        assert_eq!(kill("carol@a.example"), 0);
        drop(phone);
    }
}
