//! The names in a certificate's subjectAltName (RFC 6120 §13.7.1).

use x509_parser::der_parser::asn1_rs::{Any, FromDer, Oid, Tag};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::asn1_rs::oid;
use x509_parser::prelude::X509Certificate;

/// More names than any certificate needs; a larger one is refused, so that comparing names stays
/// cheap.
pub const MAX_NAMES: usize = 256;

/// What a certificate says its subject is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub dns: Vec<String>,
    /// id-on-dnsSRV (RFC 4985), such as `_xmpp-server.example.net`.
    pub srv: Vec<String>,
    /// id-on-xmppAddr.
    pub xmpp: Vec<String>,
    pub uri: Vec<String>,
}

/// Why the names could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub struct Unreadable(pub String);

/// Reads the names from a certificate in DER. Common names are not looked at (RFC 6125 §6.4.4
/// leaves them to those who have nothing else).
pub fn names(der: &[u8]) -> Result<Names, Unreadable> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| Unreadable(error.to_string()))?;
    if !rest.is_empty() {
        return Err(Unreadable("bytes after its end".to_owned()));
    }
    let extension = certificate
        .subject_alternative_name()
        .map_err(|error| Unreadable(format!("subjectAltName: {error}")))?;
    let mut names = Names::default();
    let Some(extension) = extension else {
        return Ok(names);
    };
    if extension.value.general_names.len() > MAX_NAMES {
        return Err(Unreadable(format!("more than {MAX_NAMES} names")));
    }
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
            GeneralName::URI(uri) => names.uri.push((*uri).to_owned()),
            GeneralName::OtherName(oid, value) => other_name(oid, value, &mut names)?,
            GeneralName::Invalid(tag, _) => {
                return Err(Unreadable(format!(
                    "a subjectAltName of kind {} is malformed",
                    tag.0
                )));
            }
            _ => {}
        }
    }
    Ok(names)
}

/// What else of a certificate matters beside its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The subjectPublicKeyInfo in DER, which a renewal may keep.
    pub info: Vec<u8>,
    /// It names itself as its issuer.
    pub self_issued: bool,
}

/// Reads whose key a certificate in DER is about.
pub fn key(der: &[u8]) -> Result<Key, Unreadable> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| Unreadable(error.to_string()))?;
    Ok(Key {
        info: certificate.public_key().raw.to_vec(),
        self_issued: certificate.issuer() == certificate.subject(),
    })
}

/// RFC 5280 §4.2.1.6: `value [0] EXPLICIT ANY`. Names of unknown kinds say nothing to us.
fn other_name(oid: &Oid<'_>, value: &[u8], names: &mut Names) -> Result<(), Unreadable> {
    let (list, tag, kind) = if *oid == oid!(1.3.6.1.5.5.7.8.5) {
        (&mut names.xmpp, Tag::Utf8String, "id-on-xmppAddr")
    } else if *oid == oid!(1.3.6.1.5.5.7.8.7) {
        (&mut names.srv, Tag::Ia5String, "id-on-dnsSRV")
    } else {
        return Ok(());
    };
    list.push(text(value, tag).ok_or_else(|| Unreadable(format!("{kind} is malformed")))?);
    Ok(())
}

fn text(value: &[u8], tag: Tag) -> Option<String> {
    let (rest, explicit) = Any::from_der(value).ok()?;
    if !rest.is_empty() || explicit.header.tag() != Tag(0) {
        return None;
    }
    let (rest, string) = Any::from_der(explicit.data).ok()?;
    if !rest.is_empty() || string.header.tag() != tag {
        return None;
    }
    let text = std::str::from_utf8(string.data).ok()?;
    let allowed = tag == Tag::Utf8String || text.is_ascii();
    // A NUL inside a name has deceived those who compare C strings.
    (allowed && !text.contains('\0')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
