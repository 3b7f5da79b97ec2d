//! What a KeyPackage says of its leaf (RFC 9420 §7.2, §10), which mls-rs verifies and does not
//! show.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use mls_rs_core::extension::ExtensionList;
use mls_rs_core::group::Capabilities;
use mls_rs_core::identity::SigningIdentity;

/// KeyPackage, RFC 9420 §10.
#[derive(MlsSize, MlsEncode, MlsDecode)]
struct KeyPackage {
    version: u16,
    suite: u16,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    init_key: Vec<u8>,
    leaf: Leaf,
    extensions: ExtensionList,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    signature: Vec<u8>,
}

/// LeafNode, RFC 9420 §7.2, with key_package as its source.
#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Leaf {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    encryption_key: Vec<u8>,
    identity: SigningIdentity,
    capabilities: Capabilities,
    source: u8,
    not_before: u64,
    not_after: u64,
    extensions: ExtensionList,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    signature: Vec<u8>,
}

/// LeafNodeSource of a leaf in a KeyPackage.
const SOURCE_KEY_PACKAGE: u8 = 1;

/// What directory and Delivery Service look at.
pub(crate) struct Said {
    pub(crate) encryption_key: Vec<u8>,
    pub(crate) capabilities: Capabilities,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

/// Reads a KeyPackage (without the MLSMessage around it).
pub(crate) fn read(bytes: &[u8]) -> Result<Said, String> {
    let package = KeyPackage::mls_decode_exhaustive(bytes).map_err(|fault| fault.to_string())?;
    if package.leaf.source != SOURCE_KEY_PACKAGE {
        return Err("its leaf is not one of a KeyPackage".to_owned());
    }
    Ok(Said {
        encryption_key: package.leaf.encryption_key,
        capabilities: package.leaf.capabilities,
        not_before: package.leaf.not_before,
        not_after: package.leaf.not_after,
    })
}
