//! What every GroupContext of a room must hold, at its creation and after every change.

use comity_mls_wire::policy::{Handshakes, Policy, required_capabilities};
use comity_mls_wire::refusal::Refusal;
use mls_rs::extension::built_in::{ExternalSendersExt, RequiredCapabilitiesExt};
use mls_rs::group::GroupContext;
use mls_rs_core::extension::MlsExtension as _;

use super::hub::HubKey;

/// Reads the room's policy out of a context that has all that a room needs.
///
/// `before` is the context it follows, if it is not the room's first.
pub fn check(
    context: &GroupContext,
    before: Option<&GroupContext>,
    hub: &HubKey,
) -> Result<Policy, Refusal> {
    let extensions = context.extensions();
    let policy = Policy::of(extensions).map_err(|error| not_allowed(error.to_string()))?;
    if policy.handshakes != Handshakes::Public {
        return Err(not_allowed(
            "this server orders rooms whose handshakes are PublicMessages",
        ));
    }
    let suite = *context.cipher_suite();
    if !policy.suites.contains(&suite) {
        return Err(not_allowed(format!(
            "the policy does not list the group's own cipher suite {suite}"
        )));
    }
    if let Some(forbidden) = extensions
        .iter()
        .map(|extension| extension.extension_type.raw_value())
        .find(|number| policy.forbidden_extensions.contains(number))
    {
        return Err(not_allowed(format!(
            "the policy forbids extension type {forbidden:#06x}"
        )));
    }
    let number = ExternalSendersExt::extension_type();
    let unchanged =
        before.is_some_and(|before| before.extensions().get(number) == extensions.get(number));
    // A room names its hub's former key until an owner commits the new one.
    if !unchanged {
        check_external_senders(context, hub)?;
    }
    check_required_capabilities(context)?;
    Ok(policy)
}

fn check_external_senders(context: &GroupContext, hub: &HubKey) -> Result<(), Refusal> {
    let senders = context
        .extensions()
        .get_as::<ExternalSendersExt>()
        .map_err(|error| not_allowed(format!("external_senders cannot be read: {error}")))?
        .ok_or_else(|| not_allowed("external_senders is missing: it must name the room's hub"))?;
    let [sender] = senders.allowed_senders.as_slice() else {
        return Err(not_allowed("external_senders names others than the hub"));
    };
    // By key, since the certificate is renewed; that it is the domain's, the group's follower has
    // checked with the domain's CAs.
    if sender.signature_key.as_ref() != &hub.public_key[..] {
        return Err(not_allowed(
            "external_senders names another key than this hub's: ask the room for its hub again",
        ));
    }
    Ok(())
}

fn check_required_capabilities(context: &GroupContext) -> Result<(), Refusal> {
    let required = context
        .extensions()
        .get_as::<RequiredCapabilitiesExt>()
        .map_err(|error| not_allowed(format!("required_capabilities cannot be read: {error}")))?
        .ok_or_else(|| not_allowed("required_capabilities is missing"))?;
    let whole = required_capabilities::EXTENSIONS
        .iter()
        .all(|number| required.extensions.contains(&(*number).into()))
        && required_capabilities::PROPOSALS
            .iter()
            .all(|number| required.proposals.contains(&(*number).into()))
        && required_capabilities::CREDENTIALS
            .iter()
            .all(|number| required.credentials.contains(&(*number).into()));
    if whole {
        return Ok(());
    }
    Err(not_allowed(
        "required_capabilities lacks the policy component, SelfRemove or X.509 credentials",
    ))
}

fn not_allowed(rule: impl Into<String>) -> Refusal {
    Refusal::NotAllowed { rule: rule.into() }
}
