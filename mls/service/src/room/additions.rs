//! May this package ever become a leaf of this group? What mls-rs finds out when an Add is
//! committed, for an Add that is only proposed.

use mls_rs::KeyPackage;
use mls_rs::extension::built_in::RequiredCapabilitiesExt;
use mls_rs_core::extension::ExtensionType;
use mls_rs_core::group::Capabilities;

use super::public_tree::{Fault, PublicTree, said};

pub(super) fn check(tree: &PublicTree, package: &KeyPackage) -> Result<(), Fault> {
    let context = tree.context();
    if package.cipher_suite() != context.cipher_suite()
        || package.version() != context.protocol_version
    {
        return Err(invalid("the package is of another cipher suite or version"));
    }
    let said = said(package)?;
    check_capabilities(tree, &said.capabilities)?;
    let signature_key = package.signing_identity().signature_key.as_ref();
    // `tree` is the room as it was: the proposal itself is not in it yet.
    if tree.holds_key(&said.encryption_key, signature_key)? {
        return Err(invalid("a key of the package is in the group already"));
    }
    Ok(())
}

/// RFC 9420 §7.2, §11.1: a leaf supports what the group requires, and the extensions in its context.
fn check_capabilities(tree: &PublicTree, capabilities: &Capabilities) -> Result<(), Fault> {
    let context = tree.context();
    let supports = |extension: &ExtensionType| {
        extension.is_default() || capabilities.extensions.contains(extension)
    };
    if let Some(missing) = context
        .extensions()
        .iter()
        .map(|extension| extension.extension_type)
        .find(|extension| !supports(extension))
    {
        let number = missing.raw_value();
        return Err(Fault::Invalid(format!(
            "the package does not support extension type {number:#06x} of the group"
        )));
    }
    let required = context
        .extensions()
        .get_as::<RequiredCapabilitiesExt>()
        .map_err(|error| Fault::Invalid(error.to_string()))?
        .unwrap_or_default();
    let whole = required
        .extensions
        .iter()
        .all(|extension| capabilities.extensions.contains(extension))
        && required
            .proposals
            .iter()
            .all(|proposal| capabilities.proposals.contains(proposal))
        && required
            .credentials
            .iter()
            .all(|credential| capabilities.credentials.contains(credential));
    if whole && capabilities.cipher_suites.contains(&context.cipher_suite()) {
        return Ok(());
    }
    Err(invalid(
        "the package lacks capabilities that the group requires",
    ))
}

fn invalid(why: &str) -> Fault {
    Fault::Invalid(why.to_owned())
}
