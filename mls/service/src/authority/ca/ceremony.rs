//! What an operator does to a CA: a root made on a machine of its own, an issuing CA certified by
//! it, another issuing CA, another root. All of it is files, so that it works beside a running
//! server, which looks at them again when it is told.
//!
//! Private keys never travel. The server makes its issuing key and a request ([`request`]); the
//! root's machine answers with a bundle of certificates ([`sign`]); the server takes it
//! ([`import`]). A root that follows another brings the other's word for it, so that whoever has
//! pinned the old root follows without being asked.

use comity_mls_credential::anchors::Handover;
use comity_mls_credential::certificate::{Certificate, issuer_id};
use comity_mls_credential::csr;
use comity_mls_credential::issue::{IssueError, Issuer};
use comity_mls_credential::keys::PrivateKey;
use mls_rs_codec::{MlsDecode as _, MlsEncode as _};
use openssl::base64::{decode_block, encode_block};
use openssl::sha::sha256;
use openssl::x509::X509;

use super::files::{Files, issuing_name, root_name};
use super::{Ca, CaError, Root};
use crate::authority::Options;

const REQUEST: &str = "CERTIFICATE REQUEST";
const CERTIFICATE: &str = "CERTIFICATE";
const HANDOVER: &str = "COMITY ROOT HANDOVER";
/// The largest request or bundle that is read.
const MAX_PEM_BYTES: usize = 256 * 1024;

/// A CA for the operator's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// SHA-256 of the root's certificate, which other operators compare.
    pub root: [u8; 32],
    pub root_key: KeyShown,
    /// Roots before it.
    pub earlier_roots: usize,
    /// Seconds since 1970.
    pub root_until: u64,
    /// The one that issues last.
    pub issuing: Vec<IssuingShown>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuingShown {
    /// SHA-256 of its key.
    pub id: [u8; 32],
    /// Seconds since 1970.
    pub until: u64,
    pub key: KeyShown,
}

/// Where a private key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShown {
    /// In the directory.
    Here,
    Token,
    Offline,
}

impl KeyShown {
    fn of(key: Option<&PrivateKey>) -> Self {
        match key {
            None => Self::Offline,
            Some(key) if key.is_in_token() => Self::Token,
            Some(_) => Self::Here,
        }
    }
}

/// Makes a root in a directory that has none. `options` says for which domain, and of what kind.
pub fn init(options: &Options, now: u64) -> Result<[u8; 32], CaError> {
    let files = Files::open(options)?;
    if files.newest_root()?.is_some() {
        return Err(CaError::Ceremony(format!(
            "{} holds a root already: `comity ca rotate-root` makes its successor",
            options.directory.display()
        )));
    }
    let root = files.root(now)?;
    Ok(sha256(&root.certificate))
}

/// The certificates and handovers of a directory, nothing made.
pub fn show(options: &Options, now: u64) -> Result<Shown, CaError> {
    let ca = Ca::open(options, now)?;
    let root = ca.root();
    let mut issuing = Vec::new();
    for (issuer, validity) in &ca.issuing {
        let id = issuer_id(&Certificate::read(&issuer.certificate)?.public_key)?;
        issuing.push(IssuingShown {
            id: id.0,
            until: validity.not_after,
            key: KeyShown::of(Some(&issuer.key)),
        });
    }
    Ok(Shown {
        root: sha256(&root.certificate),
        root_key: KeyShown::of(root.key.as_ref()),
        earlier_roots: root.handovers.len(),
        root_until: Certificate::read(&root.certificate)?.not_after,
        issuing,
    })
}

/// Makes a key for the next issuing CA, unless one waits for its certificate already, and asks for
/// that certificate (PKCS#10, PEM).
pub fn request(options: &Options) -> Result<String, CaError> {
    let files = Files::open(options)?;
    let (key, _) = files.read(&issuing_name(files.next_issuing()?))?;
    let public = key.public().map_err(IssueError::from)?;
    let made = csr::create(&public, |content| key.sign(content)).map_err(IssueError::from)?;
    Ok(pem(REQUEST, &made))
}

/// Where the root is: answers a request with the issuing CA's certificate, the root's, and what
/// earlier roots said of later ones.
pub fn sign(options: &Options, request: &str, now: u64) -> Result<String, CaError> {
    let blocks = blocks(request)?;
    let [(label, request)] = blocks.as_slice() else {
        return Err(CaError::Ceremony(
            "the file holds not exactly one request".to_owned(),
        ));
    };
    if label != REQUEST {
        return Err(CaError::Ceremony(format!(
            "the file holds a {label}, not a {REQUEST}: `comity ca request` makes one"
        )));
    }
    let key = csr::read_authority(request).map_err(|error| CaError::Ceremony(error.to_string()))?;
    let files = Files::open(options)?;
    if files.newest_root()?.is_none() {
        return Err(CaError::Ceremony(format!(
            "{} holds no root: `comity ca init` makes one",
            options.directory.display()
        )));
    }
    let root = files.root(now)?;
    let certificate = files.certify_issuing(&key, &root, now)?;
    let mut bundle = pem(CERTIFICATE, &certificate) + &pem(CERTIFICATE, &root.certificate);
    for handover in &root.handovers {
        let octets = handover
            .mls_encode_to_vec()
            .map_err(|error| CaError::Ceremony(error.to_string()))?;
        bundle += &pem(HANDOVER, &octets);
    }
    Ok(bundle)
}

/// Takes what the root's machine answered. Nothing is written unless all of it fits together.
pub fn import(options: &Options, bundle: &str) -> Result<[u8; 32], CaError> {
    let refused = |why: &str| Err(CaError::Ceremony(why.to_owned()));
    let (mut certificates, mut handovers) = (Vec::new(), Vec::new());
    for (label, octets) in blocks(bundle)? {
        match label.as_str() {
            CERTIFICATE => certificates.push(octets),
            HANDOVER => handovers.push(
                Handover::mls_decode_exhaustive(&octets)
                    .map_err(|error| CaError::Ceremony(format!("a handover: {error}")))?,
            ),
            other => return refused(&format!("the file holds a {other}, which is not imported")),
        }
    }
    let [issuing, root] = certificates.as_slice() else {
        return refused(
            "the file holds not the two certificates that `comity ca sign` writes: of the issuing \
             CA, and of the root",
        );
    };
    let files = Files::open(options)?;
    let number = files.next_issuing()?;
    let name = issuing_name(number);
    if !files.has_key(&name)? {
        return refused("no request waits for its answer: run `comity ca request` first");
    }
    check(&files, &name, issuing, root)?;
    place_root(&files, root, &handovers)?;
    files.write_certificate(&name, issuing)?;
    Ok(sha256(root))
}

/// Is it our key, certified by that root?
fn check(files: &Files<'_>, name: &str, issuing: &[u8], root: &[u8]) -> Result<(), CaError> {
    let (key, _) = files.read(name)?;
    let (read, root_read) = (Certificate::read(issuing)?, Certificate::read(root)?);
    if read.public_key != key.public().map_err(IssueError::from)? {
        return Err(CaError::Ceremony(
            "the certificate is for another key than that of the request: sign the newest request"
                .to_owned(),
        ));
    }
    if !read.authority || !read.signed_by(&root_read.public_key) {
        return Err(CaError::Ceremony(
            "the certificate is not an issuing CA's of the root beside it".to_owned(),
        ));
    }
    let domain = &files.options.domain;
    let named = X509::from_der(root).is_ok_and(|root| {
        let expected = format!("{} root", domain.chars().take(30).collect::<String>());
        let mut names = root.subject_name().entries();
        names.any(|entry| entry.data().to_string().is_ok_and(|text| text == expected))
    });
    if named {
        return Ok(());
    }
    Err(CaError::Ceremony(format!(
        "the root is not that of {domain}"
    )))
}

/// The root that we have, or one that its handovers lead to from there.
fn place_root(files: &Files<'_>, root: &[u8], handovers: &[Handover]) -> Result<(), CaError> {
    let Some((number, known)) = files.newest_root()? else {
        for (place, handover) in (2..).zip(handovers) {
            files.write_handover(place, handover)?;
            files.write_certificate(&root_name(place - 1), &handover.old.0)?;
        }
        let place = u32::try_from(handovers.len()).unwrap_or(u32::MAX);
        return files.write_certificate(&root_name(place.saturating_add(1)), root);
    };
    if known == root {
        return Ok(());
    }
    let from = handovers
        .iter()
        .position(|handover| handover.old.0 == known)
        .ok_or_else(|| {
            CaError::Ceremony(
                "the root is another than the one here, without that one's handover: other domains \
                 would not follow it"
                    .to_owned(),
            )
        })?;
    let line = &handovers[from..];
    for (place, handover) in (number + 1..).zip(line) {
        files.write_handover(place, handover)?;
        let next = line.get(usize::try_from(place - number).unwrap_or(usize::MAX));
        let certificate = next.map_or(root, |next| &next.old.0);
        if sha256(certificate) != handover.new {
            return Err(CaError::Ceremony(
                "the handovers do not lead to the root".to_owned(),
            ));
        }
        files.write_certificate(&root_name(place), certificate)?;
    }
    Ok(())
}

/// Makes another issuing CA now, where the root is here. The one before stays believed until the
/// last certificate it issued has expired.
pub fn rotate_issuing(options: &Options, now: u64) -> Result<[u8; 32], CaError> {
    let files = Files::open(options)?;
    let root = files.root(now)?;
    make_issuing(&files, &root, now)
}

fn make_issuing(files: &Files<'_>, root: &Root, now: u64) -> Result<[u8; 32], CaError> {
    if root.key.is_none() {
        return Err(CaError::RootElsewhere {
            instead: "run `comity ca request` here and `comity ca sign` where it is",
        });
    }
    let name = issuing_name(files.next_issuing()?);
    let (key, _) = files.read(&name)?;
    files.make_issuing(&name, &key, root, now)?;
    let public = key.public().map_err(IssueError::from)?;
    Ok(issuer_id(&public)?.0)
}

/// Makes the successor of a root where its key is, with the old root's word for it; and where the
/// issuing CA is beside it, another of those too.
pub fn rotate_root(options: &Options, now: u64) -> Result<[u8; 32], CaError> {
    let files = Files::open(options)?;
    let Some((number, certificate)) = files.newest_root()? else {
        return Err(CaError::Ceremony("there is no root to follow".to_owned()));
    };
    let old = files.root(now)?;
    let key = old.key.ok_or(CaError::RootElsewhere {
        instead: "run `comity ca rotate-root --directory …` where it is, then `comity ca request` \
                  here, `sign` there, and `import`",
    })?;
    let old = Issuer { key, certificate };
    let name = root_name(number + 1);
    let (key, _) = files.read(&name)?;
    let new = files.build_root(key, now)?;
    let handover = Handover::sign(&options.domain, &old, &new.certificate)
        .map_err(|error| CaError::Ceremony(error.to_string()))?;
    files.write_handover(number + 1, &handover)?;
    files.write_certificate(&name, &new.certificate)?;
    if files.path(&issuing_name(1), "pem").exists() {
        let root = files.root(now)?;
        make_issuing(&files, &root, now)?;
    }
    Ok(sha256(&new.certificate))
}

fn pem(label: &str, octets: &[u8]) -> String {
    let text = encode_block(octets);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

/// The blocks of a PEM file (RFC 7468), in order; what stands between them is passed over.
fn blocks(text: &str) -> Result<Vec<(String, Vec<u8>)>, CaError> {
    let refused = |why: &str| CaError::Ceremony(format!("the file is no PEM: {why}"));
    if text.len() > MAX_PEM_BYTES {
        return Err(refused("it is larger than 256 KiB"));
    }
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines().map(str::trim) {
        let label = |word: &str| {
            let inner = line.strip_prefix("-----")?.strip_suffix("-----")?;
            inner.strip_prefix(word).map(str::to_owned)
        };
        if let Some(label) = label("BEGIN ") {
            open = Some((label, String::new()));
        } else if let Some(end) = label("END ") {
            let (label, body) = open
                .take()
                .ok_or_else(|| refused("it ends what it did not begin"))?;
            if label != end {
                return Err(refused("a block ends as another"));
            }
            let octets = decode_block(&body).map_err(|_| refused("a block is no base64"))?;
            blocks.push((label, octets));
        } else if let Some((_, body)) = &mut open {
            body.push_str(line);
        }
    }
    match open {
        None if !blocks.is_empty() => Ok(blocks),
        _ => Err(refused("nothing in it is whole")),
    }
}
