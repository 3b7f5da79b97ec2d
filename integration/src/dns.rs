//! A name server for a play: it is asked by the homeservers, by the peers and by the system's
//! resolver alike, and knows what the play tells it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
pub use hickory_server::proto::rr::RecordType;
use hickory_server::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_server::proto::rr::rdata::{CNAME, SOA, SRV, TLSA};
use hickory_server::proto::rr::{LowerName, Name, RData, Record, RrKey};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// How long answers may be remembered: long enough to be remembered at all, short enough for a
/// play to see a change.
const TTL: u32 = 2;
/// Queries one TCP connection may have open.
const OPEN_QUERIES: usize = 32;

type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

/// Answers for every name there is: what was not told is said not to exist.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Zone>,
    /// Ends with it.
    _server: Server<Catalog>,
}

impl Dns {
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: IpAddr) -> io::Result<Self> {
        let mut zone = Zone::empty(Name::root(), ZoneType::Primary, AxfrPolicy::Deny);
        let us = Name::from_ascii("dns.example.").map_err(io::Error::other)?;
        let seconds = i32::try_from(TTL).unwrap_or(i32::MAX);
        let authority = SOA::new(us.clone(), us, 1, seconds, seconds, seconds, TTL);
        zone.upsert_mut(
            Record::from_rdata(Name::root(), TTL, RData::SOA(authority)),
            1,
        );
        let zone = Arc::new(zone);
        let mut catalog = Catalog::new();
        let handler: Arc<dyn ZoneHandler> = Arc::clone(&zone) as _;
        catalog.upsert(LowerName::from(Name::root()), vec![handler]);
        let mut server = Server::new(catalog);
        let address = SocketAddr::new(address, 53);
        server.register_socket(UdpSocket::bind(address).await?);
        let listener = TcpListener::bind(address).await?;
        server.register_listener(listener, Duration::from_secs(5), OPEN_QUERIES);
        Ok(Self {
            address,
            zone,
            _server: server,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A or AAAA, beside those the name has already.
    pub async fn host(&self, name: &str, address: IpAddr) {
        self.add(name, address.into()).await;
    }

    /// `name` is such as `_xmpp-server._tcp.montague.example`; `target` may be `.`.
    pub async fn srv(&self, name: &str, (priority, weight): (u16, u16), target: &str, port: u16) {
        let data = SRV::new(priority, weight, port, parsed(target));
        self.add(name, RData::SRV(data)).await;
    }

    pub async fn alias(&self, name: &str, of: &str) {
        self.add(name, RData::CNAME(CNAME(parsed(of)))).await;
    }

    /// A TLSA record (RFC 6698) that no certificate fits.
    pub async fn impossible_tlsa(&self, name: &str) {
        let (usage, selector, matching) = (CertUsage::DaneEe, Selector::Spki, Matching::Sha256);
        let data = TLSA::new(usage, selector, matching, vec![0; 32]);
        self.add(name, RData::TLSA(data)).await;
    }

    /// Forgets all records of a kind that a name has.
    pub async fn forget(&self, name: &str, kind: RecordType) {
        let key = RrKey::new(LowerName::from(parsed(name)), kind);
        self.zone.records_mut().await.remove(&key);
    }

    async fn add(&self, name: &str, data: RData) {
        let record = Record::from_rdata(parsed(name), TTL, data);
        let name = record.name.clone();
        assert!(self.zone.upsert(record, 1).await, "{name}: not a record");
    }
}

fn parsed(name: &str) -> Name {
    let mut parsed = Name::from_utf8(name).expect("plays write names that are some");
    parsed.set_fqdn(true);
    parsed
}
