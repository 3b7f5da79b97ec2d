//! A key and the request to certify it (RFC 2986).

use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::X509ReqBuilder;
use openssl::x509::extension::SubjectAlternativeName;

/// A fresh P-256 key in PEM, and a request in DER for a certificate that names `name` as a DNS-ID,
/// which is all that public authorities certify.
pub(super) fn make(name: &str) -> Result<(String, Vec<u8>), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut builder = X509ReqBuilder::new()?;
    builder.set_pubkey(&key)?;
    let mut extensions = Stack::new()?;
    let names = SubjectAlternativeName::new()
        .dns(name)
        .build(&builder.x509v3_context(None))?;
    extensions.push(names)?;
    builder.add_extensions(&extensions)?;
    builder.sign(&key, MessageDigest::sha256())?;
    let pem = String::from_utf8_lossy(&key.private_key_to_pem_pkcs8()?).into_owned();
    Ok((pem, builder.build().to_der()?))
}
