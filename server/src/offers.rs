//! What the operator has the server offer beside its own services: contact addresses, and services
//! of other programs with what lets our accounts into them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use comity_conf::{Conf, ExternalService};
use comity_xmpp::jid::{Jid, JidError};

/// Octets of a secret's file.
const SECRET_BYTES: usize = 4096;

#[derive(Default)]
pub struct Offers {
    /// URIs by what they are for (XEP-0157).
    pub contacts: Vec<(&'static str, Vec<String>)>,
    /// XEP-0215.
    pub services: Vec<Service>,
    /// Of services that are not ours (XEP-0030).
    pub addresses: Vec<Jid>,
    /// URLs of what is said of outages (XEP-0455).
    pub outages: Vec<String>,
}

/// A service of another program.
pub struct Service {
    pub kind: String,
    pub host: String,
    pub port: Option<u16>,
    pub transport: Option<&'static str>,
    pub name: Option<String>,
    pub access: Access,
}

/// What lets an account in.
pub enum Access {
    /// Nothing is asked.
    Open,
    /// A password that ends, made of a secret that the service shares with us.
    Shared { secret: Vec<u8>, lifetime: Duration },
    /// The same for everybody.
    Fixed { username: String, password: String },
}

#[derive(Debug, thiserror::Error)]
pub enum OffersError {
    #[error("the secret in {} cannot be read: {source}", path.display())]
    Secret { path: PathBuf, source: io::Error },
    #[error("external.addresses: {address:?} is not an address: {source}")]
    Address { address: String, source: JidError },
}

impl Offers {
    /// # Errors
    /// A secret that cannot be read, an address that is none.
    pub fn of(conf: &Conf) -> Result<Self, OffersError> {
        let external = &conf.external;
        let services = external.services.iter().map(Service::of);
        let addresses = external.addresses.iter().map(|address| {
            Jid::parse(address).map_err(|source| OffersError::Address {
                address: address.clone(),
                source,
            })
        });
        Ok(Self {
            contacts: conf.contacts.named(),
            services: services.collect::<Result<_, _>>()?,
            addresses: addresses.collect::<Result<_, _>>()?,
            outages: external.outages.clone(),
        })
    }
}

impl Service {
    fn of(conf: &ExternalService) -> Result<Self, OffersError> {
        let access = match (&conf.secret_file, &conf.username, &conf.password_file) {
            (Some(file), _, _) => Access::Shared {
                secret: secret(file)?.into_bytes(),
                lifetime: conf.lifetime,
            },
            (None, Some(username), Some(file)) => Access::Fixed {
                username: username.clone(),
                password: secret(file)?,
            },
            _ => Access::Open,
        };
        Ok(Self {
            kind: conf.kind.clone(),
            host: conf.host.clone(),
            port: conf.port,
            transport: conf.transport.map(comity_conf::Transport::as_str),
            name: conf.name.clone(),
            access,
        })
    }
}

/// A secret, without the end of its line.
pub(crate) fn secret(path: &Path) -> Result<String, OffersError> {
    let wrong = |source| OffersError::Secret {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(wrong)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.len() > SECRET_BYTES || secret.contains('\n') {
        let text = format!("expected one line of 1 to {SECRET_BYTES} octets");
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_some() {
        let offers = |address: &str| {
            let mut conf = Conf::default();
            conf.external.addresses = vec![address.to_owned()];
            Offers::of(&conf)
        };
        let offered = offers("Rooms.B.example").unwrap();
        assert_eq!(offered.addresses[0].as_str(), "rooms.b.example");
        let error = offers("@rooms").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("\"@rooms\""), "{error}");
    }

    #[test]
    fn secrets_are_one_line_of_a_file() {
        let path = std::env::temp_dir().join(format!("comity-{}", comity_net::random::id()));
        for (text, expected) in [
            ("s3cret\n", Some("s3cret")),
            ("s3cret", Some("s3cret")),
            ("two words\r\n", Some("two words")),
            ("", None),
            ("\n", None),
            ("one\ntwo\n", None),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(secret(&path).ok().as_deref(), expected, "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
        let missing = secret(&path).unwrap_err().to_string();
        assert!(missing.contains(path.to_str().unwrap()), "{missing}");
    }
}
