//! tls-server-end-point (RFC 5929 §4): a hash of the certificate that a server shows.

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::x509::X509;

/// Octets of the longest hash.
const LONGEST: usize = 64;

/// The binding's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndPoint {
    hash: [u8; LONGEST],
    length: usize,
}

impl EndPoint {
    /// Of a certificate in DER. `None` where the binding is not defined: for signatures without a
    /// hash function of their own, as Ed25519's.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let certificate = X509::from_der(certificate).ok()?;
        let signature = certificate.signature_algorithm().object().nid();
        let digest = match signature.signature_algorithms()?.digest {
            // RFC 5929 §4.1: these are too weak, and give way.
            Nid::MD5 | Nid::SHA1 | Nid::SHA256 => MessageDigest::sha256(),
            Nid::SHA384 => MessageDigest::sha384(),
            Nid::SHA512 => MessageDigest::sha512(),
            _ => return None,
        };
        let digest = certificate.digest(digest).ok()?;
        let mut hash = [0; LONGEST];
        hash.get_mut(..digest.len())?.copy_from_slice(&digest);
        Some(Self {
            hash,
            length: digest.len(),
        })
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.hash.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::pkey::{PKey, Private};
    use ring::digest;

    use super::*;

    fn certificate(key: &PKey<Private>, hash: MessageDigest) -> Vec<u8> {
        let mut made = X509::builder().unwrap();
        made.set_pubkey(key).unwrap();
        made.set_not_before(&Asn1Time::days_from_now(0).unwrap())
            .unwrap();
        made.set_not_after(&Asn1Time::days_from_now(1).unwrap())
            .unwrap();
        made.sign(key, hash).unwrap();
        made.build().to_der().unwrap()
    }

    /// RFC 5929 §4.1.
    #[test]
    fn the_hash_is_that_of_the_signature() {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        for (signed, expected) in [
            (MessageDigest::sha1(), &digest::SHA256),
            (MessageDigest::sha256(), &digest::SHA256),
            (MessageDigest::sha384(), &digest::SHA384),
            (MessageDigest::sha512(), &digest::SHA512),
        ] {
            let der = certificate(&key, signed);
            let found = EndPoint::of(&der).unwrap();
            assert_eq!(found.as_bytes(), digest::digest(expected, &der).as_ref());
        }
        let key = PKey::generate_ed25519().unwrap();
        assert_eq!(
            EndPoint::of(&certificate(&key, MessageDigest::null())),
            None
        );
        assert_eq!(EndPoint::of(b"no certificate"), None);
    }
}
