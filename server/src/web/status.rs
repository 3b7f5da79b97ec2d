//! `/status`: what `comity stats`, `comity peer list` and `comity check` show, for the operator's
//! browser. Nothing can be done here. Only for the addresses that `web.status_from` names, since it
//! tells with whom our people talk.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use comity_conf::Conf;
use comity_net::dns::Dns;
use comity_net::http::{Response, StatusCode};
use tokio::sync::Semaphore;

use super::html::{self, Inline, Page, marked, text};
use super::metrics::{self, Peer};
use super::{Route, Visit};
use crate::admin;
use crate::check::{self, Finding, Ground, Level};
use crate::cli::stats::rows;
use crate::cli::table::age;
use crate::home::Home;
use crate::time;

pub(super) const STATUS: Route = Route::get("/status", |visit| Box::pin(answer(visit)));

/// Findings are shown again for so long before it is looked again: the database is read through.
const FRESH: Duration = Duration::from_secs(600);
/// How long a visitor waits for them; later ones find them.
const PATIENCE: Duration = Duration::from_secs(10);
/// Other domains that are shown: those with the most stanzas waiting.
const PEERS_SHOWN: usize = 50;
/// Whose clock ours is compared with, as `comity check` has it by itself.
const TIME_SERVER: &str = "pool.ntp.org";

/// What the page needs beside the server's state. Cheap to clone.
#[derive(Clone)]
pub struct Status(Arc<Inner>);

struct Inner {
    conf: Conf,
    found: Mutex<Option<Found>>,
    /// One look at a time.
    looking: Semaphore,
}

#[derive(Clone)]
struct Found {
    since: Instant,
    /// Milliseconds since 1970.
    at: u64,
    findings: Arc<[Finding]>,
}

impl Status {
    #[must_use]
    pub fn new(conf: Conf) -> Self {
        Self(Arc::new(Inner {
            conf,
            found: Mutex::new(None),
            looking: Semaphore::new(1),
        }))
    }

    #[cfg(test)]
    pub(super) fn after(conf: Conf, findings: Vec<Finding>) -> Self {
        let status = Self::new(conf);
        *status.lock() = Some(Found {
            since: Instant::now(),
            at: 0,
            findings: findings.into(),
        });
        status
    }

    fn allows(&self, from: IpAddr) -> bool {
        metrics::allowed(&self.0.conf.web.status_from, from)
    }

    /// What was found last. If that was long ago it is looked again meanwhile, and waited a while.
    async fn findings(&self, home: &Home) -> Option<Found> {
        let known = self.known();
        if known
            .as_ref()
            .is_some_and(|found| found.since.elapsed() < FRESH)
        {
            return known;
        }
        let (status, home) = (self.clone(), home.clone());
        let look = tokio::spawn(async move { status.look(&home).await });
        // Whoever does not wait lets it go on for the next visitor.
        let _ = tokio::time::timeout(PATIENCE, look).await;
        self.known()
    }

    async fn look(&self, home: &Home) {
        // Never closed.
        let Ok(_one) = self.0.looking.acquire().await else {
            return;
        };
        if self
            .known()
            .is_some_and(|found| found.since.elapsed() < FRESH)
        {
            return;
        }
        let ground = Ground {
            lookup: Arc::new(Dns::asking(&self.0.conf.server.nameservers)),
            conf: self.0.conf.clone(),
            now: home.clock.wall(),
            time_server: TIME_SERVER.to_owned(),
        };
        let findings = check::check(&ground, None).await;
        *self.lock() = Some(Found {
            since: Instant::now(),
            at: home.now_ms(),
            findings: findings.into(),
        });
    }

    fn known(&self) -> Option<Found> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Found>> {
        // Nothing panics while it holds the lock.
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(visit: Visit) -> Response {
    let home = &visit.home;
    let Some(status) = &visit.streams.status else {
        return html::refused(
            StatusCode::NOT_FOUND,
            "Status",
            "There is no such page here.",
        );
    };
    let from = visit.request.peer.ip();
    if !status.allows(from) {
        let why = format!("{from} is not in web.status_from of this server's configuration.");
        return html::refused(StatusCode::FORBIDDEN, "Status", &why);
    }
    let stats = admin::stats::gather(&home.storage, home).await;
    let peers = metrics::peers(home).await;
    let (Ok(stats), Ok(peers)) = (stats, peers) else {
        tracing::error!("the status page cannot read the storage");
        let why = "The storage cannot be read; the log says why.";
        return html::refused(StatusCode::INTERNAL_SERVER_ERROR, "Status", why);
    };
    let mut page = Page::new("Status");
    match status.findings(home).await {
        Some(found) => checked(&mut page, &found),
        None => {
            page.heading("Check");
            page.paragraph(text("It is being looked; open the page again in a while."));
        }
    }
    page.heading("Domains");
    page.table(
        Some(["domain", "accounts", "sessions"]),
        stats.domains.iter().map(|one| {
            let numbers = [one.accounts.to_string(), one.sessions.to_string()];
            [text(&one.domain), text(&numbers[0]), text(&numbers[1])]
        }),
    );
    page.heading("Numbers");
    let numbers = rows(&stats).into_iter();
    page.table(None, numbers.map(|(name, value)| [text(name), text(value)]));
    others(&mut page, peers);
    page.answer()
}

/// What is wrong comes first.
fn checked(page: &mut Page, found: &Found) {
    page.heading("Check");
    let count = |level| {
        found
            .findings
            .iter()
            .filter(|one| one.level == level)
            .count()
    };
    let verdict = match (count(Level::Fault), count(Level::Advice)) {
        (0, 0) => marked("good", "all is well"),
        (0, advice) => marked("odd", &format!("advice: {advice}")),
        (faults, advice) => marked("bad", &format!("faults: {faults}, advice: {advice}")),
    };
    let at = time::stamp(found.at);
    page.paragraph(verdict.then(text(format!(" — looked at {at}"))));
    let mut sorted: Vec<&Finding> = found.findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    page.table(
        Some(["", "what", "about", ""]),
        sorted.into_iter().map(|finding| {
            let mark = match finding.level {
                Level::Ok => marked("good", "ok"),
                Level::Advice => marked("odd", "advice"),
                Level::Fault => marked("bad", "fault"),
            };
            let mut what = text(&finding.what);
            if let Some(todo) = &finding.todo {
                what = what.then(text(" ")).then(marked("todo", todo));
            }
            [mark, text(finding.check), text(&finding.about), what]
        }),
    );
}

fn others(page: &mut Page, peers: std::collections::BTreeMap<String, Peer>) {
    page.heading("Other domains");
    if peers.is_empty() {
        return page.paragraph(text("No streams, and nothing waits."));
    }
    let mut sorted: Vec<(String, Peer)> = peers.into_iter().collect();
    sorted.sort_by_key(|(_, peer)| std::cmp::Reverse(peer.queued));
    let hidden = sorted.len().saturating_sub(PEERS_SHOWN);
    sorted.truncate(PEERS_SHOWN);
    page.table(
        Some([
            "domain",
            "our stream",
            "its streams",
            "waiting",
            "oldest",
            "last error",
        ]),
        sorted.iter().map(|(domain, peer)| other(domain, peer)),
    );
    if hidden > 0 {
        page.paragraph(text(format!(
            "{hidden} more are not shown: comity peer list"
        )));
    }
}

fn other(domain: &str, peer: &Peer) -> [Inline; 6] {
    let mut states: Vec<&str> = peer.outgoing.iter().map(|out| out.state.name()).collect();
    states.dedup();
    let errors = peer.outgoing.iter();
    let error = errors
        .filter_map(|out| out.last_failure.as_ref().map(|why| why.text.as_str()))
        .next_back();
    let oldest = match peer.queued {
        0 => String::new(),
        _ => age(0, peer.oldest * 1000),
    };
    [
        text(domain),
        text(states.join(", ")),
        text(peer.incoming.streams.to_string()),
        text(peer.queued.to_string()),
        text(oldest),
        marked("bad", error.unwrap_or_default()),
    ]
}
