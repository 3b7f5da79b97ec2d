//! Debian's pebble, an authority that speaks ACME (RFC 8555), in a play's network.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::certificates::{Authority, Shape};
use crate::network::Network;

/// The authority's own name.
const HOST: &str = "acme.example";
const PORT: u16 = 14000;

/// A program of the system that ends with this.
pub struct Running(Child);

impl Running {
    /// # Errors
    /// When it is not installed.
    pub fn start(
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> io::Result<Self> {
        let log = File::create(log)?;
        Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map(Self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Pebble {
    _running: Running,
}

impl Pebble {
    /// Asks `dns` for everything, and comes to the ports that real authorities come to.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(network: &Network, authority: &Authority, dns: SocketAddr) -> Self {
        let place = network.place();
        network.dns.host(HOST, place.v4.into()).await;
        let files = authority
            .issue("pebble", &Shape::dns(HOST))
            .expect("a certificate");
        let address = SocketAddr::from((place.v4, PORT));
        let conf = serde_json::json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": SocketAddr::from((place.v4, PORT + 1)).to_string(),
            "certificate": files.chain,
            "privateKey": files.key,
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let path = network.folder().join("pebble.json");
        std::fs::write(&path, conf.to_string()).expect("a file can be written");
        let path = path.to_string_lossy();
        let dns = dns.to_string();
        let running = Running::start(
            "pebble",
            &["-config", &path, "-dnsserver", &dns],
            &[("PEBBLE_VA_NOSLEEP", "1")],
            &network.folder().join("pebble.log"),
        );
        let running = running.expect("pebble is installed");
        for _ in 0..100 {
            if std::net::TcpStream::connect(address).is_ok() {
                return Self { _running: running };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("pebble does not open its port");
    }

    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{HOST}:{PORT}/dir")
    }
}
