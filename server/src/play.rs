//! A whole server without streams, for tests: people log in, write XML, and read XML.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use comity_c2s::link::{Bound, Inbox, Outbound, Server as _};
use comity_conf::Conf;
use comity_s2s::link::Server as _;
use comity_s2s::link::{Place, Received, Status};
use comity_s2s::peer::{Failure, State};
use comity_storage::{CreateAccount, Storage};
use comity_xmpp::element::{Element, Node};
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

use crate::afterwards::Afterwards;
use crate::fast::Tokens;
use crate::home::{Clock, Federation, Home, Limits, Remote, Shared};
use crate::live::Live;
use crate::managed::Acknowledgements;
use crate::module::archive::{Keeping, Preferences};
use crate::module::registration::new::{Registrations, Rules};
use crate::offers::Offers;
use crate::outreach::Outreach;
use crate::requests::Requests;
use crate::route::Hosts;
use crate::services::Services;
use crate::sessions::Sessions;
use crate::uploads::{Rules as UploadRules, Uploads};
use crate::web::Places;

/// When plays begin, in seconds since 1970.
pub(crate) const START_S: u64 = 1_800_000_000;
/// How long something that must happen may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long something that must not happen is waited for.
const QUIET: Duration = Duration::from_millis(50);

/// A server for `a.example` and `c.example`.
pub(crate) struct Play {
    pub(crate) home: Home,
    pub(crate) away: Arc<Away>,
    pub(crate) clock: Arc<Hands>,
    data_dir: PathBuf,
}

/// The other domains: what is sent to them.
#[derive(Default)]
pub(crate) struct Away {
    sent: Mutex<Vec<(String, Stanza)>>,
    /// Domains that the DNS does not know.
    pub(crate) unknown: Mutex<Vec<String>>,
}

impl Away {
    pub(crate) fn count(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    /// Of what was sent last.
    pub(crate) fn last_id(&self) -> Option<Box<str>> {
        self.sent
            .lock()
            .unwrap()
            .last()
            .and_then(|(_, stanza)| stanza.id.clone())
    }
}

impl Remote for Away {
    fn send(&self, domain: &str, stanza: Stanza) -> Result<(), Box<(Stanza, StanzaError)>> {
        self.sent.lock().unwrap().push((domain.to_owned(), stanza));
        Ok(())
    }

    fn wake(&self, _: &str) {}

    fn remind(&self, _: &str) {}

    fn outgoing(&self) -> Vec<Status> {
        let unknown = self.unknown.lock().unwrap().clone();
        let status = |domain| Status {
            ours: "a.example".to_owned(),
            domain,
            state: State::Waiting,
            waiting: 0,
            last_failure: Some(Failure {
                not_found: true,
                text: "there is no such domain".to_owned(),
            }),
            way: None,
        };
        unknown.into_iter().map(status).collect()
    }
}

/// A clock that the test moves.
pub(crate) struct Hands(Mutex<SystemTime>);

impl Hands {
    pub(crate) fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hands {
    fn wall(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

/// Small ones.
const UPLOADS: UploadRules = UploadRules {
    file_bytes: 1_000,
    account_bytes: 2_000,
    total_bytes: 3_000,
    retention: Duration::from_secs(24 * 3600),
};

impl Play {
    /// With accounts for these people.
    pub(crate) async fn of(people: &[&str]) -> Self {
        Self::with(people, Limits::default()).await
    }

    pub(crate) async fn with(people: &[&str], limits: Limits) -> Self {
        Self::set_up(people, limits, Vec::new(), Offers::default()).await
    }

    /// Where the operator has these offered.
    pub(crate) async fn offering(people: &[&str], offers: Offers) -> Self {
        Self::set_up(people, Limits::default(), Vec::new(), offers).await
    }

    /// With accounts for these people, and further authorities of TLS to believe.
    pub(crate) async fn believing(people: &[&str], roots: Vec<PathBuf>) -> Self {
        Self::set_up(people, Limits::default(), roots, Offers::default()).await
    }

    /// Where people make accounts by themselves.
    pub(crate) async fn registering(people: &[&str], rules: Rules) -> Self {
        Self::made(
            people,
            Limits::default(),
            Vec::new(),
            Offers::default(),
            rules,
        )
        .await
    }

    async fn set_up(people: &[&str], limits: Limits, roots: Vec<PathBuf>, offers: Offers) -> Self {
        Self::made(people, limits, roots, offers, Rules::default()).await
    }

    async fn made(
        people: &[&str],
        limits: Limits,
        roots: Vec<PathBuf>,
        offers: Offers,
        registration: Rules,
    ) -> Self {
        let data_dir = std::env::temp_dir().join(format!("comity-{}", comity_net::random::id()));
        std::fs::create_dir(&data_dir).unwrap();
        let mut conf = Conf::default();
        conf.server.data_dir = data_dir.clone();
        conf.tls.system_roots = false;
        conf.tls.extra_roots = roots;
        let domains = ["a.example".to_owned(), "c.example".to_owned()];
        let storage = Storage::open(":memory:".as_ref()).await.unwrap();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(START_S);
        let hands = Arc::new(Hands(Mutex::new(start)));
        let clock: Arc<dyn Clock> = hands.clone();
        let away = Arc::new(Away::default());
        let services = Services::open(&conf, &domains, &storage, &clock)
            .await
            .unwrap();
        for person in people {
            let jid = BareJid::parse(person).unwrap();
            let account = CreateAccount {
                account: jid.as_str().to_owned(),
                domain: jid.domain().to_owned(),
                created: 0,
                keys: Vec::new(),
            };
            storage.write(account).await.unwrap();
        }
        let home = Home::new(Shared {
            hosts: Hosts::new(domains.clone()),
            storage,
            sessions: Sessions::default(),
            services,
            requests: Requests::default(),
            remote: away.clone(),
            clock,
            limits: Live::new(limits),
            archive: Preferences::new(Keeping::default()),
            acknowledgements: Acknowledgements::default(),
            federation: Federation::default(),
            tokens: Tokens::of(&[7; 32], Duration::from_secs(21 * 24 * 3600)),
            metrics_from: Live::default(),
            web: Places::new("", Some(5443), &domains),
            uploads: Uploads::new(data_dir.join("uploads"), UPLOADS),
            host_secrets: std::collections::HashMap::new(),
            expiries: crate::expiries::Expiries::default(),
            counters: crate::counters::Counters::default(),
            afterwards: Afterwards::default(),
            outreach: Outreach::default(),
            offers: Live::new(offers),
            registrations: Registrations::new(registration),
            guard: crate::guard::Guard::new(crate::guard::Allowed {
                per_address: 10,
                per_account: 20,
            }),
            passwords: crate::passwords::Passwords::new(4096),
            pace: crate::pace::Pace::new(crate::pace::Rate::default()),
            started_ms: START_S * 1000,
            blocklists: crate::blocklists::Blocklists::default(),
        });
        Self {
            home,
            away,
            clock: hands,
            data_dir,
        }
    }

    /// Binds a session, which says nothing yet.
    pub(crate) async fn bind(&self, jid: &str) -> Person {
        self.bind_with(jid, 256).await
    }

    pub(crate) async fn bind_with(&self, jid: &str, queue: usize) -> Person {
        let jid = Jid::parse(jid).unwrap();
        let (outbound, inbox) = Outbound::new(queue);
        let bound = Bound {
            account: jid.to_bare(),
            resource: jid.resource().map(str::to_owned),
            tls_exporter: None,
            carbons: false,
            outbound,
        };
        let jid = self.home.bind(bound).await.unwrap();
        Person {
            home: self.home.clone(),
            jid,
            inbox,
        }
    }

    /// Binds a session that asks for its roster and becomes available, and leaves unread what it
    /// is told at first.
    pub(crate) async fn login(&self, jid: &str) -> Person {
        let mut person = self.bind(jid).await;
        person
            .send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
            .await;
        person.send("<presence/>").await;
        person.forget().await;
        person
    }

    /// A stanza from another domain.
    pub(crate) async fn arrives(&self, xml: &str) {
        assert_eq!(self.arrive(None, &[xml]).await, 1);
    }

    /// Stanzas from another domain, as one stream brings them: from this number on in the domain's
    /// queue, or without numbers. How many were taken in.
    pub(crate) async fn arrive(&self, first: Option<i64>, xml: &[&str]) -> usize {
        let peer = stanza(xml[0]).from.unwrap().domain().to_owned();
        let stanzas = xml.iter().zip(0..).map(|(xml, n)| Received {
            stanza: stanza(xml),
            place: first.map(|first| Place {
                ours: "a.example".into(),
                queue: "queue".into(),
                number: first + n,
            }),
        });
        let stanzas = stanzas.collect();
        comity_s2s::link::Server::stanzas(&self.home, &peer, stanzas).await
    }

    /// What was sent to another domain and not kept, since the last call.
    #[track_caller]
    pub(crate) fn sent_away(&self, expected: &[&str]) {
        let sent = std::mem::take(&mut *self.away.sent.lock().unwrap());
        let sent: Vec<_> = sent.iter().map(|(_, stanza)| shown(stanza)).collect();
        let expected: Vec<_> = expected.iter().map(|xml| shown(&stanza(xml))).collect();
        assert_eq!(sent, expected);
    }

    /// Leaves out of account what was sent to another domain so far.
    pub(crate) fn forget_away(&self) {
        self.away.sent.lock().unwrap().clear();
    }

    /// What waits for another domain.
    pub(crate) async fn queued(&self, domain: &str, expected: &[&str]) {
        let rows = self.home.queued(domain, 0, 100).await;
        let queued: Vec<_> = rows
            .iter()
            .map(|row| shown(&stanza_of(&row.stanza)))
            .collect();
        let expected: Vec<_> = expected.iter().map(|xml| shown(&stanza(xml))).collect();
        assert_eq!(queued, expected);
        let delivered = rows.iter().map(|row| row.id).collect();
        self.home.delivered(domain, delivered).await;
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}

/// A client's session, seen from the client.
pub(crate) struct Person {
    home: Home,
    pub(crate) jid: Jid,
    inbox: Inbox,
}

impl Person {
    /// As the client's stream does: stamped, and in order.
    pub(crate) async fn send(&self, xml: &str) {
        let mut stanza = stanza(xml);
        stanza.from = Some(self.jid.clone());
        comity_c2s::link::Server::stanza(&self.home, &self.jid, stanza, None).await;
    }

    /// The next stanza is this one.
    #[track_caller]
    pub(crate) fn gets(&mut self, xml: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        let expected = shown(&stanza(xml));
        async move {
            let Some(found) = self.next(PATIENCE).await else {
                panic!("{} got nothing instead of {expected} at {place}", self.jid);
            };
            assert_eq!(shown(&found), expected, "{} at {place}", self.jid);
        }
    }

    /// There is nothing to read.
    pub(crate) async fn gets_nothing(&mut self) {
        if let Some(found) = self.next(QUIET).await {
            panic!("{} got {}", self.jid, shown(&found));
        }
    }

    /// The stream is told to end.
    pub(crate) async fn is_thrown_out(&mut self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.inbox.try_next() {
                Some(Err(_)) => return,
                Some(Ok(_)) => {}
                None if tokio::time::Instant::now() >= deadline => panic!("{} stays", self.jid),
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// Leaves unread what has come.
    pub(crate) async fn forget(&mut self) {
        while self.next(QUIET).await.is_some() {}
    }

    pub(crate) async fn next(&mut self, patience: Duration) -> Option<Arc<Stanza>> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match self.inbox.try_next() {
                Some(Ok(stanza)) => return Some(stanza),
                Some(Err(error)) => panic!("{} was thrown out: {error}", self.jid),
                None if tokio::time::Instant::now() >= deadline => return None,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// The stream ends; these were sent to the client, which has not acknowledged them.
    pub(crate) async fn leaves(self, unacked: &[&str]) {
        drop(self.inbox);
        let unacked = unacked.iter().map(|xml| stanza(xml)).collect();
        self.home.unbind(&self.jid, None, unacked).await;
    }
}

pub(crate) fn stanza(xml: &str) -> Stanza {
    stanza_of(&Bytes::copy_from_slice(xml.as_bytes()))
}

fn stanza_of(bytes: &Bytes) -> Stanza {
    Stanza::parse(bytes, &Header::of(ns::CLIENT)).unwrap()
}

/// A stanza as text in which equal stanzas are equal: attributes sorted, namespaces spelt out.
/// The human text of errors is left out, and what is drawn at random is not compared.
fn shown(stanza: &Stanza) -> String {
    let bytes = stanza.to_bytes(None);
    let element = xml::parse(&bytes, &Header::of(ns::CLIENT)).unwrap();
    let mut text = String::new();
    show(&element, &mut text);
    text
}

fn show(element: &Element, text: &mut String) {
    let ns = match element.ns.as_str() {
        ns::CLIENT => "",
        other => other,
    };
    text.push_str(&format!("<{{{ns}}}{}", element.name));
    let mut attributes = element.attributes.clone();
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    for attribute in attributes {
        let random = attribute.name == "id" && attribute.value.starts_with("roster-");
        if !random {
            text.push_str(&format!(" {}='{}'", attribute.name, attribute.value));
        }
    }
    text.push('>');
    for child in &element.children {
        match child {
            Node::Element(child) if child.is(ns::STANZAS, "text") => {}
            Node::Element(child) if child.is(ns::SID, "stanza-id") => {}
            Node::Element(child) => show(child, text),
            Node::Text(content) => text.push_str(content),
        }
    }
    text.push_str("</>");
}
