//! Certificate requests (PKCS#10, RFC 2986): a public key and the proof that its private half is at
//! hand. Names are the AS's to give; a request that states any must state the right ones.

use comity_xmpp::jid::BareJid;
use uuid::Uuid;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::der;
use crate::keys::PublicKey;

/// The largest request that is read: ours take 250 octets.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024;

const VERSION_0: [u8; 3] = [0x02, 0x01, 0x00];
const NOBODY: [u8; 2] = [der::SEQUENCE, 0];
const NO_ATTRIBUTES: [u8; 2] = [0xa0, 0];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the certificate request cannot be read: {0}")]
    Unreadable(String),
    #[error("the certificate request is for a key that is neither P-256 nor Ed25519")]
    Key,
    #[error("the certificate request is not signed by the key it is for")]
    Possession,
    #[error("the certificate request names something other than {0}")]
    Names(String),
    #[error("the certificate request asks for a CA: a device certifies nobody")]
    Authority,
    #[error("the certificate request asks for {0}, which no certificate here has")]
    Asks(String),
}

/// Makes a request for `key`. The private half is only asked for a signature over the octets given,
/// in the form MLS uses (ECDSA: DER), so that it may lie in a token.
pub fn create<E>(
    key: &PublicKey,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let info = der::tlv(
        der::SEQUENCE,
        &[&VERSION_0, &NOBODY, &key.to_spki(), &NO_ATTRIBUTES],
    );
    let signature = sign(&info)?;
    Ok(key.algorithm().signed(&info, &signature))
}

/// Reads a request of that account's device and gives the key, whose possession is proved.
pub fn read(request: &[u8], account: &BareJid, device: Uuid) -> Result<PublicKey, RequestError> {
    let (key, parsed) = possessed(request)?;
    check_names(&parsed, account, device)?;
    Ok(key)
}

/// Reads a request for the certificate of a CA, whose names are for the root to give.
pub fn read_authority(request: &[u8]) -> Result<PublicKey, RequestError> {
    let (key, parsed) = possessed(request)?;
    let mut attributes = parsed.certification_request_info.iter_attributes();
    match attributes.next() {
        None => Ok(key),
        Some(asked) => Err(RequestError::Asks(asked.oid.to_id_string())),
    }
}

fn possessed(request: &[u8]) -> Result<(PublicKey, X509CertificationRequest<'_>), RequestError> {
    let unreadable = |why: &str| RequestError::Unreadable(why.to_owned());
    if request.len() > MAX_REQUEST_BYTES {
        return Err(unreadable("it is larger than 8 KiB"));
    }
    let (rest, parsed) = X509CertificationRequest::from_der(request)
        .map_err(|error| unreadable(&error.to_string()))?;
    if !rest.is_empty() {
        return Err(unreadable("octets follow it"));
    }
    let info = &parsed.certification_request_info;
    let key = PublicKey::from_spki(info.subject_pki.raw).map_err(|_| RequestError::Key)?;
    let signature = &parsed.signature_value.data;
    // Written again, it must be what came: so nothing outside the signature is anything else.
    if key.algorithm().signed(info.raw, signature) != request {
        return Err(unreadable("it is not in DER, or of another algorithm"));
    }
    let possessed = key.verifies(info.raw, signature);
    if !possessed {
        return Err(RequestError::Possession);
    }
    Ok((key, parsed))
}

fn check_names(
    parsed: &X509CertificationRequest<'_>,
    account: &BareJid,
    device: Uuid,
) -> Result<(), RequestError> {
    let expected = || RequestError::Names(format!("{account} device {device}"));
    // All attributes, not the first alone: nothing is asked for that nobody looks at.
    for attribute in parsed.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else {
            return Err(RequestError::Asks(attribute.oid.to_id_string()));
        };
        for extension in &asked.extensions {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    let mut stated = crate::certificate::Names::default();
                    stated.read(&names.general_names).map_err(|_| expected())?;
                    let right = stated.xmpp.iter().all(|name| name == account.as_str())
                        && stated.uuids.iter().all(|id| *id == device)
                        && stated.dns.is_empty();
                    if !right {
                        return Err(expected());
                    }
                }
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                    return Err(RequestError::Authority);
                }
                ParsedExtension::BasicConstraints(_) => {}
                // What every leaf gets.
                ParsedExtension::KeyUsage(usage) if usage.flags == 1 => {}
                _ => return Err(RequestError::Asks(extension.oid.to_id_string())),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
