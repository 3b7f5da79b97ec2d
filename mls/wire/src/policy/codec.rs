//! The component's octets: `uint16 version`, then the fields of that version in the presentation
//! language of RFC 9420 §2.1, and nothing after them.

use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode as _, MlsEncode as _};
use mls_rs_core::error::IntoAnyError;
use mls_rs_core::extension::{ExtensionList, ExtensionType, MlsExtension};

use super::{EXTENSION_TYPE, Policy, Role, VERSION};

/// Octets of the whole component.
pub const MAX_BYTES: usize = 64 * 1024;

/// Why a component is not taken as a room's policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("the GroupContext carries no policy component (extension type {EXTENSION_TYPE:#06x})")]
    Missing,
    /// A newer client made the room, or changed it: upgrade, then go on from here.
    #[error("the policy has version {found}, and {VERSION} is the newest one known here: upgrade")]
    UnknownVersion { found: u16 },
    #[error("the policy component cannot be decoded: {why}")]
    Malformed { why: String },
    #[error("the policy component contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl IntoAnyError for PolicyError {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

impl MlsExtension for Policy {
    type SerializationError = PolicyError;
    type DeserializationError = PolicyError;

    fn extension_type() -> ExtensionType {
        ExtensionType::new(EXTENSION_TYPE)
    }

    fn to_bytes(&self) -> Result<Vec<u8>, PolicyError> {
        self.consistent()?;
        let mut out = VERSION.to_be_bytes().to_vec();
        self.mls_encode(&mut out).map_err(malformed)?;
        if out.len() > MAX_BYTES {
            return Err(PolicyError::Inconsistent("it is larger than 64 KiB"));
        }
        Ok(out)
    }

    fn from_bytes(data: &[u8]) -> Result<Self, PolicyError> {
        let short = || PolicyError::Malformed {
            why: "it ends before its version".to_owned(),
        };
        let (version, mut rest) = data.split_first_chunk::<2>().ok_or_else(short)?;
        let found = u16::from_be_bytes(*version);
        // The version is judged before anything else: what follows is another version's business.
        if found != VERSION {
            return Err(PolicyError::UnknownVersion { found });
        }
        if data.len() > MAX_BYTES {
            return Err(PolicyError::Inconsistent("it is larger than 64 KiB"));
        }
        let policy = Self::mls_decode(&mut rest).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(PolicyError::Malformed {
                why: format!("{} octets follow its last field", rest.len()),
            });
        }
        // The codec takes any octet but 0 for true. Members must agree on octets: the GroupContext
        // is hashed as it came, and an engine that writes it again must write the same.
        if policy.to_bytes()? != data {
            return Err(PolicyError::Malformed {
                why: "it is not in the one encoding it has".to_owned(),
            });
        }
        Ok(policy)
    }
}

impl Policy {
    /// The policy of a GroupContext.
    pub fn of(context: &ExtensionList) -> Result<Self, PolicyError> {
        let extension = context
            .get(<Self as MlsExtension>::extension_type())
            .ok_or(PolicyError::Missing)?;
        Self::from_bytes(&extension.extension_data)
    }

    /// There is one encoding of each policy, and each has somebody who may change it.
    fn consistent(&self) -> Result<(), PolicyError> {
        let fault = PolicyError::Inconsistent;
        if !self.roles.is_sorted_by(|a, b| a.account < b.account) {
            return Err(fault("roles are not sorted by account, each once"));
        }
        if !self.accounts.is_sorted_by(|a, b| a < b) {
            return Err(fault("admitted accounts are not sorted, each once"));
        }
        let mut named = self.roles.iter().map(|entry| &entry.account);
        if !named.by_ref().chain(&self.accounts).all(|text| {
            BareJid::parse(text).is_ok_and(|jid| jid.as_str() == text && jid.local().is_some())
        }) {
            return Err(fault(
                "a name in it is not the prepared address of an account",
            ));
        }
        if self.roles.iter().any(|entry| entry.role == Role::Member) {
            return Err(fault("members are not named among the roles"));
        }
        if !self.roles.iter().any(|entry| entry.role == Role::Owner) {
            return Err(fault("nobody is its owner"));
        }
        if self.suites.is_empty() {
            return Err(fault("no cipher suite is allowed"));
        }
        if self.rights.propose_add > self.rights.add {
            return Err(fault("who may commit an Add must be allowed to propose it"));
        }
        Ok(())
    }
}

fn malformed(fault: mls_rs_codec::Error) -> PolicyError {
    PolicyError::Malformed {
        why: fault.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    fn policy() -> Policy {
        Policy::of_direct(&jid("alice@a.example"), &jid("bob@b.example"))
    }

    #[test]
    fn round_trip_inside_a_group_context() {
        let mut context = ExtensionList::new();
        assert_eq!(Policy::of(&context), Err(PolicyError::Missing));
        context.set_from(policy()).unwrap();
        assert_eq!(Policy::of(&context), Ok(policy()));
    }

    #[test]
    fn a_newer_version_is_named_whatever_follows_it() {
        for tail in [&[][..], &[0xff; 9]] {
            let mut data = vec![0, 2];
            data.extend_from_slice(tail);
            assert_eq!(
                Policy::from_bytes(&data),
                Err(PolicyError::UnknownVersion { found: 2 })
            );
        }
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused() {
        let data = policy().to_bytes().unwrap();
        for end in 0..data.len() {
            let refused = Policy::from_bytes(&data[..end]);
            assert!(
                matches!(refused, Err(PolicyError::Malformed { .. })),
                "{end}: {refused:?}"
            );
        }
        let longer = [&data[..], &[0]].concat();
        assert!(matches!(
            Policy::from_bytes(&longer),
            Err(PolicyError::Malformed { .. })
        ));
    }

    #[test]
    fn there_is_one_encoding() {
        let data = policy().to_bytes().unwrap();
        let mut other = policy();
        other.hub_removes = false;
        let without = other.to_bytes().unwrap();
        let place = (0..data.len())
            .find(|at| data[*at] != without[*at])
            .unwrap();
        for octet in 2..=u8::MAX {
            let mut spoiled = data.clone();
            spoiled[place] = octet;
            let refused = Policy::from_bytes(&spoiled);
            assert!(
                matches!(refused, Err(PolicyError::Malformed { .. })),
                "{octet}: {refused:?}"
            );
        }
    }

    #[test]
    fn contradictions_are_refused_in_both_directions() {
        let cases: [fn(&mut Policy); 7] = [
            |p| p.roles.reverse(),
            |p| p.roles.clear(),
            |p| p.roles[0].account = "Alice@a.example".to_owned(),
            |p| p.roles[0].account = "a.example".to_owned(),
            |p| p.accounts.reverse(),
            |p| p.suites.clear(),
            |p| p.rights.propose_add = Role::Owner,
        ];
        for (number, break_it) in cases.into_iter().enumerate() {
            let mut broken = policy();
            break_it(&mut broken);
            assert!(
                matches!(broken.to_bytes(), Err(PolicyError::Inconsistent(_))),
                "case {number}"
            );
            let mut data = VERSION.to_be_bytes().to_vec();
            broken.mls_encode(&mut data).unwrap();
            assert!(
                matches!(Policy::from_bytes(&data), Err(PolicyError::Inconsistent(_))),
                "case {number}"
            );
        }
    }
}
