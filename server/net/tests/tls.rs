//! Handshakes over real sockets: what is shown, what is believed, what is kept.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use comity_net::dns::order::Start;
use comity_net::tls::verdict::{Unproven, judge, trusted};
use comity_net::tls::{Acceptor, Certificates, Connector, Roots, Service, TlsError, local};
use comity_net::transport::Transport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(10);

/// A domain with a certificate of its own making.
struct Domain {
    name: &'static str,
    directory: PathBuf,
    certificates: Arc<Certificates>,
    authority: PathBuf,
}

impl Domain {
    fn new(name: &'static str) -> Self {
        let unique = format!("comity-tls-{}", comity_net::random::id());
        let directory = std::env::temp_dir().join(unique);
        let made = local::ensure(&directory, &[name.to_owned()], SystemTime::now()).unwrap();
        Self {
            name,
            directory,
            certificates: Certificates::load(made.certificates).unwrap(),
            authority: made.authority,
        }
    }

    fn roots(&self) -> Roots {
        Roots::load(false, std::slice::from_ref(&self.authority)).unwrap()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = TcpStream::connect(address);
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    (accepted.unwrap().0, connected.unwrap())
}

/// Both ends after the handshake.
async fn shake(
    acceptor: &Acceptor,
    connector: &Connector,
    domain: &str,
    starts: (Start, Start),
) -> (Result<Transport, TlsError>, Result<Transport, TlsError>) {
    let (theirs, ours) = sockets().await;
    tokio::join!(
        acceptor.accept(theirs, starts.0, PATIENCE),
        connector.connect(ours, domain, starts.1, PATIENCE)
    )
}

const STARTS: [Start; 2] = [Start::StartTls, Start::Direct];

#[tokio::test]
async fn two_domains_prove_themselves_to_each_other() {
    let (a, b) = (Domain::new("a.example"), Domain::new("b.example"));
    let acceptor = Acceptor::new(Service::Server, Arc::clone(&b.certificates)).unwrap();
    let connector = Connector::for_server(Arc::clone(&a.certificates), a.name).unwrap();
    for start in STARTS {
        let (theirs, ours) = shake(&acceptor, &connector, b.name, (start, start)).await;
        let (mut theirs, mut ours) = (theirs.unwrap(), ours.unwrap());
        let now = SystemTime::now();
        let shown = ours.peer_chain();
        judge(&shown, "b.example", Service::Server, &b.roots(), now).unwrap();
        let shown = theirs.peer_chain();
        judge(&shown, "a.example", Service::Server, &a.roots(), now).unwrap();
        // The verdicts that must not be.
        let other = judge(&shown, "b.example", Service::Server, &a.roots(), now);
        assert!(
            matches!(other, Err(Unproven::OtherName { .. })),
            "{other:?}"
        );
        let stranger = judge(&shown, "a.example", Service::Server, &b.roots(), now);
        assert!(
            matches!(stranger, Err(Unproven::Untrusted(_))),
            "{stranger:?}"
        );
        let late = now + Duration::from_secs(400 * 86_400);
        assert!(matches!(
            trusted(&shown, &a.roots(), late),
            Err(Unproven::Expired(_))
        ));
        assert_eq!(trusted(&[], &a.roots(), now), Err(Unproven::Absent));
        // RFC 9266: both ends see the same binding.
        assert!(ours.exporter().is_some());
        assert_eq!(ours.exporter(), theirs.exporter());
        ours.write_all(b"hello").await.unwrap();
        ours.flush().await.unwrap();
        let mut heard = [0; 5];
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
    }
}

#[tokio::test]
async fn a_client_insists_on_authority_and_name() {
    let (a, b) = (Domain::new("a.example"), Domain::new("b.example"));
    let acceptor = Acceptor::new(Service::Client, Arc::clone(&a.certificates)).unwrap();
    let starts = (Start::Direct, Start::Direct);
    let believer = Connector::for_client(a.roots()).unwrap();
    let (theirs, ours) = shake(&acceptor, &believer, "a.example", starts).await;
    assert!(theirs.unwrap().peer_chain().is_empty());
    ours.unwrap();

    let (_, wrong_name) = shake(&acceptor, &believer, "c.example", starts).await;
    let told = wrong_name.err().unwrap().to_string();
    assert!(told.contains("not for c.example"), "{told}");

    let stranger = Connector::for_client(b.roots()).unwrap();
    let (theirs, ours) = shake(&acceptor, &stranger, "a.example", starts).await;
    let told = ours.err().unwrap().to_string();
    assert!(told.contains("no authority we believe"), "{told}");
    assert!(theirs.is_err());
}

#[tokio::test]
async fn direct_tls_is_for_its_own_service() {
    let a = Domain::new("a.example");
    let acceptor = Acceptor::new(Service::Client, Arc::clone(&a.certificates)).unwrap();
    let server = Connector::for_server(Arc::clone(&a.certificates), a.name).unwrap();
    // XEP-0368: ALPN says xmpp-server, and this port serves clients.
    let (_, refused) = shake(&acceptor, &server, a.name, (Start::Direct, Start::Direct)).await;
    assert!(refused.is_err());
    // A client that says nothing is served.
    let client = Connector::for_client(a.roots()).unwrap();
    let (_, served) = shake(&acceptor, &client, a.name, (Start::Direct, Start::StartTls)).await;
    served.unwrap();
}

#[tokio::test]
async fn new_certificates_are_shown_without_a_restart_and_bad_ones_are_not() {
    let a = Domain::new("a.example");
    let acceptor = Acceptor::new(Service::Client, Arc::clone(&a.certificates)).unwrap();
    let client = Connector::for_client(a.roots()).unwrap();
    let starts = (Start::Direct, Start::Direct);
    let (_, first) = shake(&acceptor, &client, a.name, starts).await;

    let chain = a.directory.join("a.example.pem");
    std::fs::remove_file(&chain).unwrap();
    assert!(matches!(
        a.certificates.reload(),
        Err(TlsError::Read { .. })
    ));
    std::fs::write(&chain, "nothing").unwrap();
    assert!(matches!(a.certificates.reload(), Err(TlsError::Pem { .. })));
    std::fs::copy(a.directory.join("ca.pem"), &chain).unwrap();
    assert!(matches!(
        a.certificates.reload(),
        Err(TlsError::Mismatch { .. })
    ));
    let (_, still) = shake(&acceptor, &client, a.name, starts).await;
    let first = first.unwrap().peer_chain();
    assert_eq!(still.unwrap().peer_chain(), first);

    std::fs::remove_file(&chain).unwrap();
    local::ensure(&a.directory, &[a.name.to_owned()], SystemTime::now()).unwrap();
    a.certificates.reload().unwrap();
    let (_, second) = shake(&acceptor, &client, a.name, starts).await;
    assert_ne!(second.unwrap().peer_chain(), first);
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_not_waited_for() {
    let a = Domain::new("a.example");
    let acceptor = Acceptor::new(Service::Client, Arc::clone(&a.certificates)).unwrap();
    let (theirs, _ours) = sockets().await;
    let outcome = acceptor
        .accept(theirs, Start::Direct, Duration::from_millis(50))
        .await;
    assert!(matches!(outcome.err(), Some(TlsError::Slow)));
}

#[tokio::test]
async fn bytes_in_clear_are_no_handshake() {
    let a = Domain::new("a.example");
    let acceptor = Acceptor::new(Service::Client, Arc::clone(&a.certificates)).unwrap();
    let (theirs, mut ours) = sockets().await;
    ours.write_all(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        .await
        .unwrap();
    let outcome = acceptor.accept(theirs, Start::StartTls, PATIENCE).await;
    assert!(matches!(outcome.err(), Some(TlsError::Handshake(_))));
}

/// RFC 5929 §4.1: what a client can compute from the certificate that it is shown.
#[tokio::test]
async fn both_ends_know_the_certificate_that_was_shown() {
    let a = Domain::new("a.example");
    let acceptor = Acceptor::new(Service::Client, Arc::clone(&a.certificates)).unwrap();
    let connector = Connector::for_client(a.roots()).unwrap();
    for start in STARTS {
        let (theirs, ours) = shake(&acceptor, &connector, a.name, (start, start)).await;
        let (theirs, ours) = (theirs.unwrap(), ours.unwrap());
        let shown = ours.peer_chain();
        let expected = comity_net::tls::EndPoint::of(&shown[0]).unwrap();
        assert_eq!(theirs.end_point(), Some(expected));
        assert_eq!(expected.as_bytes().len(), 32);
        assert_eq!(ours.end_point(), None);
    }
}
