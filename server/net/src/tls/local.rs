//! Certificates of our own making, for a server that was given none: a local authority, and one
//! certificate for each domain, kept in the data directory. Peers and clients believe them only
//! when told to (`tls.extra_roots`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use openssl::asn1::{Asn1Object, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use super::{CertificateFiles, TlsError, ascii, write};

/// The common name of our local authorities.
pub const AUTHORITY: &str = "Comity local authority";

const DAY: Duration = Duration::from_secs(86_400);
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// A certificate with less than this left is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// id-on-xmppAddr (RFC 6120 §13.7.1.4) and id-on-dnsSRV (RFC 4985).
const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";
const DNS_SRV: &str = "1.3.6.1.5.5.7.8.7";
const UTF8_STRING: u8 = 0x0c;
const IA5_STRING: u8 = 0x16;

/// What was found or made.
pub struct Local {
    /// The authority's certificate: what peers and clients are told to believe.
    pub authority: PathBuf,
    pub certificates: Vec<CertificateFiles>,
}

/// Makes in `directory` what is missing or nearly over: `ca.pem` and `ca.key`, and `DOMAIN.pem`
/// and `DOMAIN.key` for each domain, all P-256. Keys are readable by their owner alone.
pub fn ensure(directory: &Path, domains: &[String], now: SystemTime) -> Result<Local, TlsError> {
    fs::create_dir_all(directory).map_err(|error| TlsError::Write {
        path: directory.to_owned(),
        error,
    })?;
    let authority = Authority::ensure(directory, now)?;
    let mut certificates = Vec::with_capacity(domains.len());
    for domain in domains {
        let name = ascii(domain)?;
        let files = files(directory, domain)?;
        if !fit(&files, &authority.certificate, now) {
            let (certificate, key) = authority.issue(domain, &name, now)?;
            // The key first: a certificate whose key is not there yet would be taken as fit.
            write(&files.key, &key.private_key_to_pem_pkcs8()?, 0o600)?;
            write(&files.chain, &certificate.to_pem()?, 0o644)?;
            tracing::warn!(
                %domain, file = %files.chain.display(),
                "made a certificate of our own: only those who believe our ca.pem will trust it"
            );
        }
        certificates.push(files);
    }
    Ok(Local {
        authority: directory.join("ca.pem"),
        certificates,
    })
}

/// Where the certificate of a domain lies, whether it is there already or not.
///
/// # Errors
/// When no certificate could be for the domain.
pub fn files(directory: &Path, domain: &str) -> Result<CertificateFiles, TlsError> {
    let name = ascii(domain)?;
    Ok(CertificateFiles {
        domain: domain.to_owned(),
        chain: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    })
}

struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    fn ensure(directory: &Path, now: SystemTime) -> Result<Self, TlsError> {
        let (chain, key) = (directory.join("ca.pem"), directory.join("ca.key"));
        if let Some(found) = Self::load(&chain, &key)
            && lasts(&found.certificate, now)
        {
            return Ok(found);
        }
        let made = Self::make(now)?;
        write(&key, &made.key.private_key_to_pem_pkcs8()?, 0o600)?;
        write(&chain, &made.certificate.to_pem()?, 0o644)?;
        Ok(made)
    }

    fn load(chain: &Path, key: &Path) -> Option<Self> {
        let certificate = X509::from_pem(&fs::read(chain).ok()?).ok()?;
        let key = PKey::private_key_from_pem(&fs::read(key).ok()?).ok()?;
        let matches = certificate.public_key().ok()?.public_eq(&key);
        matches.then_some(Self { certificate, key })
    }

    fn make(now: SystemTime) -> Result<Self, TlsError> {
        let key = new_key()?;
        let mut builder = begin(AUTHORITY, &key, now, AUTHORITY_LIFETIME)?;
        let mut usage = KeyUsage::new();
        usage.critical().key_cert_sign().crl_sign();
        builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
        builder.append_extension(usage.build()?)?;
        let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(identifier)?;
        let subject = builder_subject(AUTHORITY)?;
        builder.set_issuer_name(&subject)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self {
            certificate: builder.build(),
            key,
        })
    }

    fn issue(
        &self,
        domain: &str,
        name: &str,
        now: SystemTime,
    ) -> Result<(X509, PKey<Private>), TlsError> {
        let key = new_key()?;
        let mut builder = begin(name, &key, now, LIFETIME)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        let mut usage = KeyUsage::new();
        usage.critical().digital_signature();
        let mut extended = ExtendedKeyUsage::new();
        // Both usages: ejabberd wants to see clientAuth on a server that connects to it.
        extended.server_auth().client_auth();
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(usage.build()?)?;
        builder.append_extension(extended.build()?)?;
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let identifier = SubjectKeyIdentifier::new().build(&context)?;
        let authority = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
        let names = alternative_names(domain, name)?.build(&context)?;
        builder.append_extension(identifier)?;
        builder.append_extension(authority)?;
        builder.append_extension(names)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok((builder.build(), key))
    }
}

fn alternative_names(domain: &str, name: &str) -> Result<SubjectAlternativeName, TlsError> {
    let mut names = SubjectAlternativeName::new();
    names.dns(name);
    names.other_name2(
        Asn1Object::from_str(XMPP_ADDR)?,
        &string(UTF8_STRING, domain)?,
    );
    for service in ["_xmpp-client", "_xmpp-server"] {
        let srv = string(IA5_STRING, &format!("{service}.{name}"))?;
        names.other_name2(Asn1Object::from_str(DNS_SRV)?, &srv);
    }
    Ok(names)
}

/// A DER string of fewer than 256 bytes: what a domain name always is.
fn string(tag: u8, text: &str) -> Result<Vec<u8>, TlsError> {
    let length = u8::try_from(text.len()).map_err(|_| TlsError::Name(text.to_owned()))?;
    let mut der = if length < 0x80 {
        vec![tag, length]
    } else {
        vec![tag, 0x81, length]
    };
    der.extend_from_slice(text.as_bytes());
    Ok(der)
}

fn new_key() -> Result<PKey<Private>, TlsError> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

fn builder_subject(common_name: &str) -> Result<openssl::x509::X509Name, TlsError> {
    let mut subject = X509NameBuilder::new()?;
    // X.520 bounds a common name at 64 characters; nothing reads it but a person.
    let shown: String = common_name.chars().take(64).collect();
    subject.append_entry_by_nid(Nid::COMMONNAME, &shown)?;
    Ok(subject.build())
}

fn begin(
    common_name: &str,
    key: &PKey<Private>,
    now: SystemTime,
    lifetime: Duration,
) -> Result<X509Builder, TlsError> {
    let mut serial = BigNum::new()?;
    serial.rand(159, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&*builder_subject(common_name)?)?;
    builder.set_pubkey(key)?;
    // A day back: clocks differ, and a peer's may be behind.
    builder.set_not_before(&*asn1(now - DAY)?)?;
    builder.set_not_after(&*asn1(now + lifetime)?)?;
    Ok(builder)
}

fn asn1(time: SystemTime) -> Result<Asn1Time, TlsError> {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Asn1Time::from_unix(
        i64::try_from(seconds.as_secs()).unwrap_or(i64::MAX),
    )?)
}

/// Is the pair there, of this authority, matching, and good for a while?
fn fit(files: &CertificateFiles, authority: &X509, now: SystemTime) -> bool {
    let Some(found) = Authority::load(&files.chain, &files.key) else {
        return false;
    };
    let signed = authority
        .public_key()
        .and_then(|key| found.certificate.verify(&key))
        .unwrap_or(false);
    signed && lasts(&found.certificate, now)
}

fn lasts(certificate: &X509, now: SystemTime) -> bool {
    asn1(now + RENEW_BEFORE).is_ok_and(|then| certificate.not_after() > &*then)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("comity-{name}-{}", crate::random::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn what_is_there_stays_until_it_is_nearly_over() {
        let directory = directory("local");
        let domains = ["a.example".to_owned(), "b\u{fc}cher.example".to_owned()];
        let now = SystemTime::now();
        let first = ensure(&directory, &domains, now).unwrap();
        let read = |local: &Local| fs::read(&local.certificates[1].chain).unwrap();
        let original = read(&first);
        assert!(
            first.certificates[1]
                .chain
                .ends_with("xn--bcher-kva.example.pem")
        );

        let again = ensure(&directory, &domains, now + 300 * DAY).unwrap();
        assert_eq!(read(&again), original);
        let authority = fs::read(&again.authority).unwrap();

        let late = ensure(&directory, &domains, now + 340 * DAY).unwrap();
        assert_ne!(read(&late), original);
        assert_eq!(fs::read(&late.authority).unwrap(), authority);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = directory("modes");
        let local = ensure(&directory, &["a.example".to_owned()], SystemTime::now()).unwrap();
        for key in [directory.join("ca.key"), local.certificates[0].key.clone()] {
            assert_eq!(
                fs::metadata(key).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
