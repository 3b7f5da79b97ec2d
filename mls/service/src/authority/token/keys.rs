//! Keys within a token (PKCS#11 v3.0 §2.3): found by label, made, and signed with.

use comity_mls_credential::keys::{Algorithm, KeyError, PublicKey, Signing};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::sha::sha256;

use super::module::Line;
use super::{Token, TokenError};

/// prime256v1 and id-Ed25519 as CKA_EC_PARAMS.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
/// Keys remembered in one session.
const REMEMBERED: usize = 64;

/// A private key that stays where it is.
pub(super) struct KeyInToken {
    pub(super) token: Token,
    pub(super) label: String,
    pub(super) algorithm: Algorithm,
}

impl Signing for KeyInToken {
    fn sign(&self, content: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signed = self.token.with(|_, line| {
            let key = private(&self.token, line, &self.label)?;
            let (mechanism, content) = match self.algorithm {
                // Every token signs a digest; not all hash by themselves.
                Algorithm::P256 => (Mechanism::Ecdsa, sha256(content).to_vec()),
                Algorithm::Ed25519 => {
                    let params = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                    (Mechanism::Eddsa(params), content.to_vec())
                }
            };
            let signed = line.session.sign(&mechanism, key, &content);
            signed.map_err(|error| self.token.failed(error))
        });
        let raw = signed.map_err(|error| KeyError::Token(error.to_string()))?;
        match self.algorithm {
            Algorithm::P256 => Ok(as_der(&raw)?),
            Algorithm::Ed25519 => Ok(raw),
        }
    }
}

/// PKCS#11 writes r and s one after the other (§2.3.1), X.509 as a SEQUENCE of INTEGERs.
fn as_der(raw: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let (r, s) = raw.split_at(raw.len() / 2);
    EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?.to_der()
}

fn private(token: &Token, line: &mut Line, label: &str) -> Result<ObjectHandle, TokenError> {
    if let Some((_, known)) = line.keys.iter().find(|(known, _)| known == label) {
        return Ok(*known);
    }
    let found = find(token, &line.session, ObjectClass::PRIVATE_KEY, label)?;
    let found = found.ok_or_else(|| TokenError::NoKey {
        label: token.label().to_owned(),
        key: label.to_owned(),
    })?;
    if line.keys.len() < REMEMBERED {
        line.keys.push((label.to_owned(), found));
    }
    Ok(found)
}

fn find(
    token: &Token,
    session: &Session,
    class: ObjectClass,
    label: &str,
) -> Result<Option<ObjectHandle>, TokenError> {
    let wanted = [Attribute::Class(class), Attribute::Label(label.into())];
    let found = session.find_objects(&wanted);
    match found.map_err(|error| token.failed(error))?.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(TokenError::Ambiguous {
            label: token.label().to_owned(),
            key: label.to_owned(),
            count: several.len(),
        }),
    }
}

/// The public half of a key pair; None where the token has not both halves.
pub(super) fn public(
    token: &Token,
    line: &mut Line,
    label: &str,
) -> Result<Option<PublicKey>, TokenError> {
    if find(token, &line.session, ObjectClass::PRIVATE_KEY, label)?.is_none() {
        return Ok(None);
    }
    match find(token, &line.session, ObjectClass::PUBLIC_KEY, label)? {
        Some(handle) => read(token, &line.session, handle, label).map(Some),
        None => Ok(None),
    }
}

fn read(
    token: &Token,
    session: &Session,
    handle: ObjectHandle,
    label: &str,
) -> Result<PublicKey, TokenError> {
    let attributes = session
        .get_attributes(handle, &[AttributeType::EcPoint])
        .map_err(|error| token.failed(error))?;
    let kind = || TokenError::Kind {
        key: label.to_owned(),
    };
    let [Attribute::EcPoint(point)] = attributes.as_slice() else {
        return Err(kind());
    };
    // An OCTET STRING around the point, or with some tokens the point itself.
    let point = match point.as_slice() {
        [0x04, 0x41, point @ ..] if point.len() == 65 => point,
        [0x04, 0x20, point @ ..] if point.len() == 32 => point,
        point => point,
    };
    let algorithm = match point.len() {
        65 => Algorithm::P256,
        32 => Algorithm::Ed25519,
        _ => return Err(kind()),
    };
    PublicKey::from_mls(algorithm, point).map_err(|_| kind())
}

pub(super) fn generate(
    token: &Token,
    module: &Pkcs11,
    line: &mut Line,
    label: &str,
    algorithm: Algorithm,
) -> Result<PublicKey, TokenError> {
    let failed = |error| token.failed(error);
    let (mechanism, kind, signs, curve): (_, _, _, &[u8]) = match algorithm {
        Algorithm::P256 => (
            Mechanism::EccKeyPairGen,
            MechanismType::ECC_KEY_PAIR_GEN,
            MechanismType::ECDSA,
            &P256,
        ),
        Algorithm::Ed25519 => (
            Mechanism::EccEdwardsKeyPairGen,
            MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
            MechanismType::EDDSA,
            &ED25519,
        ),
    };
    let known = module.get_mechanism_list(line.slot).map_err(failed)?;
    if !known.contains(&kind) || !known.contains(&signs) {
        return Err(TokenError::Unsupported {
            label: token.label().to_owned(),
            algorithm,
        });
    }
    // CKA_ID ties the halves together for other programs.
    let id = Attribute::Id(sha256(label.as_bytes())[..16].to_vec());
    let label_of_both = Attribute::Label(label.into());
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curve.to_vec()),
        label_of_both.clone(),
        id.clone(),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        label_of_both,
        id,
    ];
    // Only for this is the token written to.
    let session = module.open_rw_session(line.slot).map_err(failed)?;
    let pair = session.generate_key_pair(&mechanism, &public, &private);
    let (handle, _) = pair.map_err(failed)?;
    read(token, &session, handle, label)
}
