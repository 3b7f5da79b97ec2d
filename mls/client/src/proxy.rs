//! A SOCKS5 proxy (RFC 1928) for every connection, so that neither the server nor the network learns
//! where somebody is (RFC 9750 §8.1.1). Names go to the proxy as names: nothing is asked of the DNS,
//! which would tell whom one talks to.

use std::str::FromStr;
use std::time::Duration;

use comity_net::connect::{self, Dial};
use comity_net::dns::Dns;
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

/// RFC 1928 §3 and RFC 1929 §2: lengths are one octet.
const MAX_WORD: usize = 255;

/// Where the proxy is, and as whom to use it (RFC 1929).
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    pub login: Option<(String, String)>,
}

/// Passwords do not belong into logs.
impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "socks5://{}:{}", self.host, self.port)
    }
}

/// `socks5://[USER:PASSWORD@]HOST:PORT`; `socks5h` is the same, for names are never looked up here.
impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a proxy is socks5://[USER:PASSWORD@]HOST:PORT, not {text:?}");
        let rest = text
            .strip_prefix("socks5://")
            .or_else(|| text.strip_prefix("socks5h://"))
            .ok_or_else(wrong)?
            .trim_end_matches('/');
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let login = match login {
            Some(login) => {
                let (user, password) = login.split_once(':').ok_or_else(wrong)?;
                let fits = |word: &str| !word.is_empty() && word.len() <= MAX_WORD;
                if !fits(user) || !fits(password) {
                    return Err(wrong());
                }
                Some((user.to_owned(), password.to_owned()))
            }
            None => None,
        };
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            login,
        })
    }
}

impl Proxy {
    /// A connection to `host` as the proxy sees it. There is no way around a proxy that fails.
    pub async fn connect(&self, host: &str, port: u16, dial: Dial) -> Result<TcpStream, String> {
        let fault = |why: &dyn std::fmt::Display| format!("through the proxy {self:?}: {why}");
        let near = connect::tcp(&Dns::system(), &self.host, self.port, dial)
            .await
            .map_err(|why| fault(&why))?;
        let asked = async {
            match &self.login {
                Some((user, password)) => {
                    let target = (host, port);
                    Socks5Stream::connect_with_password_and_socket(near, target, user, password)
                        .await
                }
                None => Socks5Stream::connect_with_socket(near, (host, port)).await,
            }
        };
        match tokio::time::timeout(patience(dial), asked).await {
            Ok(Ok(stream)) => Ok(stream.into_inner()),
            Ok(Err(why)) => Err(fault(&why)),
            Err(_) => Err(fault(&"it does not answer")),
        }
    }
}

/// The proxy has to reach the other side itself, perhaps by a long way.
fn patience(dial: Dial) -> Duration {
    dial.patience.saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_as_people_write_them() {
        let proxy: Proxy = "socks5://127.0.0.1:9050".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("127.0.0.1", 9050));
        assert_eq!(proxy.login, None);
        let proxy: Proxy = "socks5h://u:p@ss@[::1]:1080/".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 1080));
        assert_eq!(proxy.login, Some(("u".to_owned(), "p@ss".to_owned())));
        assert_eq!(format!("{proxy:?}"), "socks5://::1:1080");
        for wrong in [
            "127.0.0.1:9050",
            "http://a:1",
            "socks5://a",
            "socks5://:1",
            "socks5://a:b:c",
            "socks5://u@a:1",
            "socks5://:p@a:1",
            "socks5://a:99999",
        ] {
            assert!(wrong.parse::<Proxy>().is_err(), "{wrong}");
        }
    }
}
