//! The CA of one domain as a backup holds it: gathered, and put back where it belongs.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use comity_mls_credential::anchors::Signed;
use comity_mls_credential::anchors::statement::Der;
use comity_mls_credential::certificate::{Certificate, issuer_id};
use comity_mls_credential::crl::Crl;
use comity_mls_credential::transparency::head::SignedHead;
use comity_storage::{
    PublishAnchors, PublishedAnchors, RevocationList, Storage, StoreRevocationList,
};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use openssl::x509::X509;

use super::super::files;
use super::BackupError;
use crate::authority::Options;

/// The largest file of a CA's directory.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Of one domain.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Domain {
    pub domain: String,
    files: Vec<Stored>,
    /// The newest anchors statement, signed.
    statement: Option<Der>,
    /// Revocation lists of its issuing CAs.
    lists: Vec<Der>,
    log_head: Option<Der>,
}

#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Stored {
    name: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    content: Vec<u8>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a restoration may cost, by the operator's word.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consent {
    /// Set another CA's directory aside.
    pub replace: bool,
    /// Go on although something is lost that others have seen.
    pub accept_loss: bool,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub files: usize,
    /// The anchors statement or a list in the backup was newer than the database's.
    pub database_was_older: bool,
    /// Where the directory's content before was put.
    pub aside: Option<PathBuf>,
}

impl Domain {
    pub(super) async fn gather(storage: &Storage, options: &Options) -> Result<Self, BackupError> {
        let domain = options.domain.clone();
        let files = read_all(&options.directory)?;
        if files.is_empty() {
            return Err(BackupError::Nothing {
                domain,
                directory: options.directory.clone(),
            });
        }
        let mut gathered = Self {
            statement: storage
                .published_anchors(&domain)
                .await?
                .map(|published| Der(published.signed)),
            log_head: storage
                .transparency_head(&domain)
                .await?
                .map(|(_, head)| Der(head)),
            lists: Vec::new(),
            domain,
            files,
        };
        for certificate in gathered.certificates() {
            let Ok(id) = issuer_id(&certificate.public_key) else {
                continue;
            };
            let list = storage.revocation_list(&id.0).await?;
            gathered.lists.extend(list.map(|list| Der(list.list)));
        }
        Ok(gathered)
    }

    /// Certificates without their key: it is offline, or in a token, or lost.
    pub fn without_key(&self) -> impl Iterator<Item = &str> {
        let names = self.files.iter().map(|file| file.name.as_str());
        names
            .filter_map(|name| name.strip_suffix(".pem"))
            .filter(|name| {
                let key = format!("{name}.key");
                !self.files.iter().any(|file| file.name == key)
            })
    }

    fn certificates(&self) -> Vec<Certificate> {
        let pems = self.files.iter().filter(|file| file.name.ends_with(".pem"));
        pems.filter_map(|file| {
            let der = X509::from_pem(&file.content).ok()?.to_der().ok()?;
            Certificate::read(&der).ok()
        })
        .collect()
    }

    /// Puts the CA into the directory, and into the database what that does not know any more. The
    /// server has to be down.
    pub async fn restore(
        &self,
        storage: &Storage,
        options: &Options,
        consent: Consent,
        now: u64,
    ) -> Result<Restored, BackupError> {
        for file in &self.files {
            if !proper(&file.name) {
                return Err(BackupError::Malformed(format!("a file {:?}", file.name)));
            }
        }
        let published = storage.published_anchors(&self.domain).await?;
        if !consent.accept_loss {
            self.check_ca(published.as_ref())?;
            self.check_log(storage).await?;
        }
        let aside = self.place(&options.directory, consent.replace, now)?;
        let mut older = self.restore_statement(storage, published).await?;
        for list in &self.lists {
            older |= self.restore_list(storage, list).await?;
        }
        Ok(Restored {
            files: self.files.len(),
            database_was_older: older,
            aside,
        })
    }

    /// Does the backup have every CA that was published?
    fn check_ca(&self, published: Option<&PublishedAnchors>) -> Result<(), BackupError> {
        let Some(published) = published else {
            return Ok(());
        };
        let (_, statement) = Signed::read(&published.signed)
            .map_err(|error| BackupError::Malformed(error.to_string()))?;
        let here = self.certificates();
        let named = std::iter::once(&statement.root).chain(&statement.issuing);
        for der in named {
            let known = Certificate::read(&der.0)
                .is_ok_and(|read| here.iter().any(|own| own.public_key == read.public_key));
            if !known {
                return Err(BackupError::Older {
                    domain: self.domain.clone(),
                });
            }
        }
        Ok(())
    }

    async fn check_log(&self, storage: &Storage) -> Result<(), BackupError> {
        let here = storage.transparency_head(&self.domain).await?;
        let here = here.map_or(0, |(size, _)| size);
        let then = self.log_head.as_ref().map_or(0, |head| {
            SignedHead::read(&head.0).map_or(0, |(_, head)| head.size)
        });
        match here < then {
            true => Err(BackupError::LogBehind {
                domain: self.domain.clone(),
                here,
                then,
            }),
            false => Ok(()),
        }
    }

    fn place(
        &self,
        directory: &Path,
        replace: bool,
        now: u64,
    ) -> Result<Option<PathBuf>, BackupError> {
        let there = match directory.exists() {
            true => read_all(directory)?,
            false => Vec::new(),
        };
        let differs: Vec<&str> = there
            .iter()
            .filter(|file| !self.files.contains(file))
            .map(|file| file.name.as_str())
            .collect();
        let mut aside = None;
        if !differs.is_empty() {
            if !replace {
                return Err(BackupError::Occupied {
                    directory: directory.to_owned(),
                    differs: differs.join(", "),
                });
            }
            let mut name = directory.as_os_str().to_owned();
            name.push(format!(".before-{now}"));
            let to = PathBuf::from(name);
            fs::rename(directory, &to).map_err(|error| failed(directory, error))?;
            aside = Some(to);
        }
        fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
        for file in &self.files {
            let mode = if file.name.ends_with(".key") {
                0o600
            } else {
                0o644
            };
            let path = directory.join(&file.name);
            files::write_whole(&path, &file.content, mode).map_err(|error| failed(&path, error))?;
        }
        Ok(aside)
    }

    async fn restore_statement(
        &self,
        storage: &Storage,
        published: Option<PublishedAnchors>,
    ) -> Result<bool, BackupError> {
        let Some(signed) = &self.statement else {
            return Ok(false);
        };
        let (_, statement) =
            Signed::read(&signed.0).map_err(|error| BackupError::Malformed(error.to_string()))?;
        let over = published.map(|published| published.sequence);
        if over.is_some_and(|known| known >= statement.sequence) {
            return Ok(false);
        }
        let change = PublishAnchors {
            published: PublishedAnchors {
                domain: self.domain.clone(),
                sequence: statement.sequence,
                signed: signed.0.clone(),
                issued: statement.issued,
            },
            over,
        };
        self.done(storage.write(change).await?)
    }

    async fn restore_list(&self, storage: &Storage, list: &Der) -> Result<bool, BackupError> {
        let crl = Crl::read(&list.0).map_err(|error| BackupError::Malformed(error.to_string()))?;
        let known = storage.revocation_list(&crl.issuer().0).await?;
        let over = known.map(|known| known.number);
        if over.is_some_and(|known| known >= crl.number()) {
            return Ok(false);
        }
        let change = StoreRevocationList {
            list: RevocationList {
                issuer: crl.issuer().0,
                domain: self.domain.clone(),
                number: crl.number(),
                list: list.0.clone(),
            },
            over,
        };
        self.done(storage.write(change).await?)
    }

    fn done(&self, written: bool) -> Result<bool, BackupError> {
        match written {
            true => Ok(true),
            false => Err(BackupError::Contended {
                domain: self.domain.clone(),
            }),
        }
    }
}

/// Names as they are in a CA's directory, which lead nowhere else.
fn proper(name: &str) -> bool {
    let Some((stem, extension)) = name.split_once('.') else {
        return false;
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !stem.is_empty() && stem.chars().all(plain) && matches!(extension, "key" | "pem" | "bin")
}

/// All that belongs to a CA, by name.
fn read_all(directory: &Path) -> Result<Vec<Stored>, BackupError> {
    let mut all = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
        other => other.map_err(|error| failed(directory, error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| proper(name)) else {
            continue;
        };
        let length = fs::metadata(&path).map_err(|error| failed(&path, error))?;
        if length.len() > MAX_FILE_BYTES {
            return Err(BackupError::Malformed(format!(
                "{name} of {} octets",
                length.len()
            )));
        }
        let content = fs::read(&path).map_err(|error| failed(&path, error))?;
        all.push(Stored {
            name: name.to_owned(),
            content,
        });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn failed(path: &Path, error: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        error,
    }
}
