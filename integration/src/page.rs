//! A page of a home's own web server, as anybody may ask for it.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod};

use crate::home::Home;

const LIMIT: Duration = Duration::from_secs(20);

/// Status line, headers and content; the server's certificate is believed if its own CA vouches
/// for it.
pub fn get(home: &Home, path: &str) -> io::Result<String> {
    get_behind(home, path, &[])
}

/// The same behind octets that come ahead of TLS, as a proxy sends them.
pub fn get_behind(home: &Home, path: &str, ahead: &[u8]) -> io::Result<String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_ca_file(home.ca())?;
    let mut socket = TcpStream::connect_timeout(&home.web(), LIMIT)?;
    socket.write_all(ahead)?;
    socket.set_read_timeout(Some(LIMIT))?;
    let host = home.domain();
    let connected = connector.build().connect(host, socket);
    let mut stream = connected.map_err(|error| io::Error::other(error.to_string()))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
