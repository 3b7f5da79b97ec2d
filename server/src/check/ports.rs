//! Do our ports answer where the DNS leads, with our certificate? A real connection to each.

use std::time::Duration;

use comity_net::connect::{self, Dial};
use comity_net::dns::order::Start;
use comity_net::tls::{Certificates, Connector};
use comity_net::transport::Transport;
use comity_xmpp::ns;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::records::{Service, services};
use super::{Findings, Ground};
use crate::run::tls::files;

const CHECK: &str = "ports";
/// For connecting, and for each answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// It is ourselves that we look for.
const DIAL: Dial = Dial {
    patience: PATIENCE,
    private: true,
};
/// Octets of stream header and features.
const FEATURES_LIMIT: usize = 16 * 1024;

pub(super) async fn check(ground: &Ground, domain: &str, found: &mut Findings) {
    for service in services(&ground.conf) {
        if service.ports.is_empty() {
            continue;
        }
        for (host, port) in places(ground, &service, domain).await {
            let place = format!("{host}:{port}");
            match answers(ground, &service, domain, &host, port).await {
                Ok(()) => found.ok(
                    CHECK,
                    domain,
                    format!("{} answers at {place} with our certificate", service.name),
                ),
                Err(why) => found.fault(
                    CHECK,
                    domain,
                    format!("{} at {place}: {why}", service.name),
                    format!(
                        "let TCP to port {port} in, and where this machine is behind a router, \
                         forward it\n(a router that does not lead its own address back inside \
                         fails this alone: then try from elsewhere)"
                    ),
                ),
            }
        }
    }
}

/// Where the DNS leads; what does not lead anywhere is another check's.
async fn places(ground: &Ground, service: &Service, domain: &str) -> Vec<(String, u16)> {
    let name = format!("_{}._tcp.{domain}", service.name);
    let records = ground.lookup.srv(&name).await.unwrap_or_default();
    let mut places: Vec<(String, u16)> = records
        .into_iter()
        .filter(|srv| srv.target != ".")
        .map(|srv| (srv.target, srv.port))
        .collect();
    if places.is_empty()
        && let Some(fallback) = service.fallback
        && !ground
            .lookup
            .addresses(domain)
            .await
            .unwrap_or_default()
            .is_empty()
    {
        places.push((domain.to_owned(), fallback));
    }
    places
}

/// Speaks with whoever is there until it has shown its certificate.
async fn answers(
    ground: &Ground,
    service: &Service,
    domain: &str,
    host: &str,
    port: u16,
) -> Result<(), String> {
    let tcp = connect::tcp(&*ground.lookup, host, port, DIAL).await;
    let mut tcp = tcp.map_err(|error| error.to_string())?;
    if service.fallback.is_some() {
        let offer = tokio::time::timeout(PATIENCE, start_tls(&mut tcp, domain, service.peers));
        let offer = offer.await;
        match offer.map_err(|_| "it says nothing for 10 s".to_owned())? {
            // With s2s.federation = "listed" or "off" it does not speak with the stranger that we
            // make ourselves, and so it is there.
            Err(why) if service.peers && why.contains("<policy-violation") => return Ok(()),
            offered => offered?,
        }
    }
    let files = files(&ground.conf, domain);
    let ours = files.load().map_err(|error| error.to_string())?;
    let certificates = Certificates::load(vec![files]).map_err(|error| error.to_string())?;
    let connector = Connector::for_server(certificates, domain).map_err(|e| e.to_string())?;
    // Without ALPN, which a check of both kinds of ports has no use for.
    let shown = connector
        .connect(tcp, domain, Start::StartTls, PATIENCE)
        .await;
    let shown: Transport = shown.map_err(|error| error.to_string())?;
    match shown.peer_chain().first() == ours.first() {
        true => Ok(()),
        false => Err(
            "it shows another certificate than ours: is it another server, or has ours not \
             been told to read its new one?"
                .to_owned(),
        ),
    }
}

/// RFC 6120 §5.4.2.
async fn start_tls(stream: &mut TcpStream, domain: &str, peers: bool) -> Result<(), String> {
    let content = if peers { ns::SERVER } else { ns::CLIENT };
    // No server takes a stream from itself. RFC 2606 §2: nobody is called so.
    let from = if peers { "from='check.invalid' " } else { "" };
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{}' \
         {from}to='{domain}' version='1.0'>",
        ns::STREAM
    );
    say(stream, &header).await?;
    hear(stream, "<starttls").await?;
    say(stream, &format!("<starttls xmlns='{}'/>", ns::TLS)).await?;
    hear(stream, "<proceed").await
}

async fn say(stream: &mut TcpStream, text: &str) -> Result<(), String> {
    let written = stream.write_all(text.as_bytes()).await;
    written.map_err(|error| error.to_string())
}

/// Reads until a tag has come; the stream error if that comes instead.
async fn hear(stream: &mut TcpStream, tag: &str) -> Result<(), String> {
    let mut heard = Vec::new();
    while heard.len() < FEATURES_LIMIT {
        let read = stream.read_buf(&mut heard).await;
        let ended = read.map_err(|error| error.to_string())? == 0;
        let text = String::from_utf8_lossy(&heard);
        let complete = text.trim_end().ends_with('>');
        if complete && text.contains(tag) {
            return Ok(());
        }
        if ended || (complete && text.contains("</stream:")) {
            return Err(format!("no {tag}/> came, but: {text}"));
        }
    }
    Err(format!("no {tag}/> came within {FEATURES_LIMIT} octets"))
}
