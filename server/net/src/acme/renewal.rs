//! When a certificate is to be renewed.

use std::time::{Duration, SystemTime};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::nid::Nid;
use openssl::x509::X509;

use crate::tls::local::AUTHORITY;

/// After two thirds of its life, and a little later by chance, `jitter` being 0 to 1,000: not
/// everybody's at the same minute. None: at once, since it cannot be read or is a stopgap of our
/// own making.
#[must_use]
pub fn due(pem: &[u8], jitter: u32) -> Option<SystemTime> {
    let certificate = X509::from_pem(pem).ok()?;
    let issuer = certificate.issuer_name();
    let stopgap = issuer
        .entries_by_nid(Nid::COMMONNAME)
        .any(|name| name.data().to_string().is_ok_and(|text| text == AUTHORITY));
    if stopgap {
        return None;
    }
    let begins = time(certificate.not_before())?;
    let life = time(certificate.not_after())?.duration_since(begins).ok()?;
    Some(begins + life * 2 / 3 + life / 30 * jitter.min(1000) / 1000)
}

fn time(time: &Asn1TimeRef) -> Option<SystemTime> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    let seconds = u64::try_from(seconds).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::csr;
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::x509::{X509Builder, X509NameBuilder};

    const DAY: u64 = 86_400;

    fn certificate(issuer: &str) -> Vec<u8> {
        let (key, _) = csr::make("a.example").unwrap();
        let key = PKey::private_key_from_pem(key.as_bytes()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, issuer).unwrap();
        let mut builder = X509Builder::new().unwrap();
        builder.set_issuer_name(&name.build()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder
            .set_not_before(&Asn1Time::from_unix(0).unwrap())
            .unwrap();
        let end = i64::try_from(90 * DAY).unwrap();
        builder
            .set_not_after(&Asn1Time::from_unix(end).unwrap())
            .unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        builder.build().to_pem().unwrap()
    }

    #[test]
    fn two_thirds_of_its_life_and_a_little() {
        let pem = certificate("An authority");
        let at = |days| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * DAY));
        assert_eq!(due(&pem, 0), at(60));
        assert_eq!(due(&pem, 1000), at(63));
    }

    #[test]
    fn a_stopgap_and_rubbish_at_once() {
        assert_eq!(due(&certificate(AUTHORITY), 0), None);
        assert_eq!(due(b"rubbish", 0), None);
    }
}
