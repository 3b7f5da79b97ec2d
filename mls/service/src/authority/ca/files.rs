//! The directory of the CA, and what is made in it.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comity_mls_credential::anchors::Handover;
use comity_mls_credential::certificate::Certificate;
use comity_mls_credential::issue::{self, IssueError, Issuer, Validity};
use comity_mls_credential::keys::{Algorithm, PrivateKey, PublicKey};
use comity_mls_credential::leaf::CLOCK_TOLERANCE_S;
use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode as _, MlsEncode as _};
use mls_rs_core::identity::{CertificateChain, Credential, SigningIdentity};
use openssl::x509::X509;

use super::{CaError, Hub, Root, ends_soon, validity};
use crate::authority::token::Token;
use crate::authority::{IssuingKey, Options, RootKey};

/// Issuing CAs there may ever be: at two years each, more than the root's life.
const MAX_ISSUING: u32 = 64;
/// Roots there may ever be.
const MAX_ROOTS: u32 = 16;

pub(super) fn root_name(number: u32) -> String {
    match number {
        1 => "root".to_owned(),
        number => format!("root-{number}"),
    }
}

fn handover_name(number: u32) -> String {
    format!("handover-{number}")
}

pub(super) fn issuing_name(number: u32) -> String {
    format!("issuing-{number}")
}

/// The directory, and what is made in it.
pub(super) struct Files<'a> {
    pub(super) options: &'a Options,
    domain: BareJid,
}

impl<'a> Files<'a> {
    pub(super) fn open(options: &'a Options) -> Result<Self, CaError> {
        let domain = BareJid::parse(&options.domain)
            .ok()
            .filter(|jid| jid.local().is_none())
            .ok_or_else(|| CaError::Domain(options.domain.clone()))?;
        let directory = &options.directory;
        fs::create_dir_all(directory).map_err(|error| file(directory, error))?;
        Ok(Self { options, domain })
    }

    /// The newest root, made where there is none and it belongs here.
    pub(super) fn root(&self, now: u64) -> Result<Root, CaError> {
        let Some((number, certificate)) = self.newest_root()? else {
            if self.options.root == RootKey::Offline {
                return Err(CaError::NothingImported {
                    domain: self.options.domain.clone(),
                });
            }
            let (key, _) = self.read(&root_name(1))?;
            let made = self.make_root(1, key, now)?;
            return Ok(Root {
                certificate: made.certificate,
                key: Some(made.key),
                handovers: Vec::new(),
            });
        };
        let name = root_name(number);
        let offline = self.options.root == RootKey::Offline;
        let key = match offline && !self.path(&name, "key").exists() {
            true => None,
            false => Some(self.read(&name)?.0),
        };
        let handovers = (2..=number)
            .map(|number| self.handover(number))
            .collect::<Result<_, _>>()?;
        Ok(Root {
            certificate,
            key,
            handovers,
        })
    }

    pub(super) fn newest_root(&self) -> Result<Option<(u32, Vec<u8>)>, CaError> {
        let mut newest = None;
        for number in 1..=MAX_ROOTS {
            match self.read_certificate(&root_name(number))? {
                Some(certificate) => newest = Some((number, certificate)),
                None => break,
            }
        }
        Ok(newest)
    }

    fn make_root(&self, number: u32, key: PrivateKey, now: u64) -> Result<Issuer, CaError> {
        let root = self.build_root(key, now)?;
        self.write_certificate(&root_name(number), &root.certificate)?;
        tracing::info!(domain = %self.options.domain, number, "made the root of the domain's CA");
        Ok(root)
    }

    /// A root that is not written yet.
    pub(super) fn build_root(&self, key: PrivateKey, now: u64) -> Result<Issuer, CaError> {
        let validity = Validity {
            not_before: now.saturating_sub(CLOCK_TOLERANCE_S),
            not_after: now.saturating_add(self.options.root_lifetime_s),
        };
        Ok(issue::root(&self.options.domain, key, validity)?)
    }

    /// The word of the root before that of this number.
    fn handover(&self, number: u32) -> Result<Handover, CaError> {
        let path = self.path(&handover_name(number), "bin");
        let octets = fs::read(&path).map_err(|error| file(&path, error))?;
        Handover::mls_decode_exhaustive(&octets).map_err(|error| CaError::Certificate {
            path,
            why: error.to_string(),
        })
    }

    /// Written before the root it leads to, so that there is no root without it.
    pub(super) fn write_handover(&self, number: u32, handover: &Handover) -> Result<(), CaError> {
        let octets = handover
            .mls_encode_to_vec()
            .map_err(|error| CaError::Ceremony(error.to_string()))?;
        write(&self.path(&handover_name(number), "bin"), &octets, 0o644)
    }

    pub(super) fn issuing(
        &self,
        root: &Root,
        now: u64,
    ) -> Result<Vec<(Issuer, Validity)>, CaError> {
        let mut issuing: Vec<(Issuer, Validity)> = Vec::new();
        for number in 1..=MAX_ISSUING {
            let name = issuing_name(number);
            let exists = self.path(&name, "pem").exists();
            let enough = issuing
                .last()
                .is_some_and(|(_, validity)| !ends_soon(validity, self.options, now));
            if !exists && enough {
                break;
            }
            if !exists && root.key.is_none() {
                self.warn_of_end(issuing.last());
                break;
            }
            let (key, certificate) = self.read(&name)?;
            let certificate = match certificate {
                Some(certificate) => certificate,
                None => self.make_issuing(&name, &key, root, now)?,
            };
            let validity = validity(&certificate)?;
            issuing.push((Issuer { key, certificate }, validity));
        }
        Ok(issuing)
    }

    /// The root is not here to make another.
    fn warn_of_end(&self, last: Option<&(Issuer, Validity)>) {
        if let Some((_, validity)) = last {
            tracing::warn!(
                domain = %self.options.domain, until = validity.not_after,
                "the issuing CA ends soon and the root is kept offline: run `comity ca request`, \
                 sign the request there, and `comity ca import` the answer"
            );
        }
    }

    pub(super) fn make_issuing(
        &self,
        name: &str,
        key: &PrivateKey,
        root: &Root,
        now: u64,
    ) -> Result<Vec<u8>, CaError> {
        let public = key.public().map_err(IssueError::from)?;
        let certificate = self.certify_issuing(&public, root, now)?;
        self.write_certificate(name, &certificate)?;
        tracing::info!(domain = %self.options.domain, name, "made an issuing CA");
        Ok(certificate)
    }

    /// The root's certificate for an issuing CA.
    pub(super) fn certify_issuing(
        &self,
        key: &PublicKey,
        root: &Root,
        now: u64,
    ) -> Result<Vec<u8>, CaError> {
        let issuer = Issuer {
            key: root.key.clone().ok_or(CaError::RootElsewhere {
                instead: "run `comity ca request` here and `comity ca sign` where it is",
            })?,
            certificate: root.certificate.clone(),
        };
        let root_validity = validity(&root.certificate)?;
        let ends = now
            .saturating_add(self.options.issuing_lifetime_s)
            .min(root_validity.not_after);
        if ends < now.saturating_add(self.options.certificate_lifetime_s) {
            return Err(CaError::RootEnds {
                domain: self.options.domain.clone(),
            });
        }
        let validity = Validity {
            not_before: now.saturating_sub(CLOCK_TOLERANCE_S),
            not_after: ends,
        };
        Ok(issue::issuing(
            &self.options.domain,
            key,
            &issuer,
            validity,
        )?)
    }

    /// The number of the next issuing CA, which has no certificate yet.
    pub(super) fn next_issuing(&self) -> Result<u32, CaError> {
        (1..=MAX_ISSUING)
            .find(|number| !self.path(&issuing_name(*number), "pem").exists())
            .ok_or_else(|| CaError::Ceremony("there are 64 issuing CAs already".to_owned()))
    }

    /// The hub's key for one algorithm, with a certificate of the present issuing CA.
    pub(super) fn hub(
        &self,
        algorithm: Algorithm,
        issuer: &Issuer,
        until: Validity,
    ) -> Result<Arc<Hub>, CaError> {
        let name = match algorithm {
            Algorithm::P256 => "hub-p256",
            Algorithm::Ed25519 => "hub-ed25519",
        };
        let (key, certificate) = self.read_or_make(name, algorithm)?;
        let public = key.public().map_err(IssueError::from)?;
        let issuer_key = issuer.key.public().map_err(IssueError::from)?;
        let current = certificate.filter(|der| {
            Certificate::read(der)
                .is_ok_and(|read| read.public_key == public && read.signed_by(&issuer_key))
        });
        let certificate = match current {
            Some(certificate) => certificate,
            None => {
                let made = issue::leaf(&self.domain, None, &public, issuer, until)?;
                self.write_certificate(name, &made)?;
                made
            }
        };
        let chain = CertificateChain::from(vec![certificate.clone()]);
        let identity = SigningIdentity::new(Credential::X509(chain), public.to_mls());
        Ok(Arc::new(Hub {
            key,
            certificate,
            identity,
        }))
    }

    /// A key of a CA, made if there is none, and its certificate if there is one.
    pub(super) fn read(&self, name: &str) -> Result<(PrivateKey, Option<Vec<u8>>), CaError> {
        if self.path(name, "key").exists() {
            return self.read_or_make(name, self.options.algorithm);
        }
        match (self.read_certificate(name)?, &self.options.token) {
            // Its public half is known, so the token is not asked before it has to sign.
            (Some(der), Some(token)) => {
                let public = Certificate::read(&der)?.public_key;
                let key = token.key(&self.options.domain, name, public);
                Ok((key, Some(der)))
            }
            (None, _) if self.belongs_in_token(name) => {
                Ok((self.read_or_make_in_token(self.token()?, name)?, None))
            }
            _ => self.read_or_make(name, self.options.algorithm),
        }
    }

    /// Where a new key of that name is made.
    fn belongs_in_token(&self, name: &str) -> bool {
        match name.starts_with("root") {
            true => self.options.root == RootKey::Token,
            false => self.options.issuing == IssuingKey::Token,
        }
    }

    fn token(&self) -> Result<&Token, CaError> {
        self.options.token.as_ref().ok_or(CaError::NoToken)
    }

    fn read_or_make_in_token(&self, token: &Token, name: &str) -> Result<PrivateKey, CaError> {
        let domain = &self.options.domain;
        let public = match token.public(domain, name)? {
            Some(public) => public,
            None => token.generate(domain, name, self.options.algorithm)?,
        };
        tracing::info!(%domain, name, token = token.label(), "a key lies in the token");
        Ok(token.key(domain, name, public))
    }

    /// Is there a key of that name already?
    pub(super) fn has_key(&self, name: &str) -> Result<bool, CaError> {
        if self.path(name, "key").exists() {
            return Ok(true);
        }
        if !self.belongs_in_token(name) {
            return Ok(false);
        }
        Ok(self.token()?.public(&self.options.domain, name)?.is_some())
    }

    fn read_or_make(
        &self,
        name: &str,
        algorithm: Algorithm,
    ) -> Result<(PrivateKey, Option<Vec<u8>>), CaError> {
        let certificate = self.read_certificate(name)?;
        let path = self.path(name, "key");
        let key = match fs::read(&path) {
            Ok(pem) => PrivateKey::from_pem(&pem).map_err(|error| CaError::Key { path, error })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if certificate.is_some() {
                    return Err(CaError::KeyMissing { path });
                }
                let key = PrivateKey::generate(algorithm).map_err(IssueError::from)?;
                write(&path, &key.to_pem().map_err(IssueError::from)?, 0o600)?;
                key
            }
            Err(error) => return Err(file(&path, error)),
        };
        if let Some(der) = &certificate {
            let public = key.public().map_err(IssueError::from)?;
            if Certificate::read(der)?.public_key != public {
                return Err(CaError::Certificate {
                    path: self.path(name, "pem"),
                    why: "it is for another key than the one beside it".to_owned(),
                });
            }
        }
        Ok((key, certificate))
    }

    pub(super) fn read_certificate(&self, name: &str) -> Result<Option<Vec<u8>>, CaError> {
        let path = self.path(name, "pem");
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file(&path, error)),
        };
        let unusable = |why: String| CaError::Certificate {
            path: path.clone(),
            why,
        };
        let certificate = X509::from_pem(&pem).map_err(|error| unusable(error.to_string()))?;
        let der = certificate
            .to_der()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Some(der))
    }

    pub(super) fn write_certificate(&self, name: &str, der: &[u8]) -> Result<(), CaError> {
        let pem = X509::from_der(der)
            .and_then(|certificate| certificate.to_pem())
            .map_err(IssueError::from)?;
        write(&self.path(name, "pem"), &pem, 0o644)
    }

    pub(super) fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.options.directory.join(format!("{name}.{extension}"))
    }
}

/// Writes a file so that it is there whole or not at all, even after a power cut.
pub(super) fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let scratch = path.with_extension("new");
    // A scratch file of a start that failed may have other permissions.
    let _ = fs::remove_file(&scratch);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&scratch)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&scratch, path)?;
    match path.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), CaError> {
    write_whole(path, content, mode).map_err(|error| file(path, error))
}

fn file(path: &Path, error: io::Error) -> CaError {
    CaError::File {
        path: path.to_owned(),
        error,
    }
}
