//! Whom an invitation can add now: every claimed KeyPackage is checked here as each member will
//! check it.

use comity_mls_credential::leaf::CredentialError;
use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use mls_rs::time::MlsTime;
use uuid::Uuid;

use crate::commit::members;
use crate::engine::{Engine, seconds};
use crate::error::Error;
use crate::mls::Group;
use crate::publish::reference;
use crate::room::{AddPlan, ClaimedPackage, Plan, StoredJoiner};
use crate::rows;
use crate::store::Space;

/// Octets of KeyPackages in one commit: with its Welcome and GroupInfo it stays below a stanza's
/// size. Who does not fit comes with the next commit.
const MAX_ADDED_BYTES: usize = 80 * 1024;

/// A package that passed every check, and for whom it is.
pub(crate) struct Joining {
    pub(crate) message: MlsMessage,
    pub(crate) joiner: StoredJoiner,
}

enum Unusable {
    Awaits(String),
    Because(String),
}

impl Engine {
    /// Those of the plan's packages that can be added now. None: anchors are awaited.
    pub(crate) fn choose_joining(
        &mut self,
        room: &BareJid,
        group: &mut Group,
        number: u64,
        mut add: AddPlan,
        now: u64,
    ) -> Result<Option<Vec<Joining>>, Error> {
        let present = members(group);
        let mut chosen = Vec::new();
        let mut size = 0;
        let mut changed = false;
        for invited in &mut add.invited {
            let Ok(account) = BareJid::parse(&invited.account) else {
                continue;
            };
            let mut usable = Vec::with_capacity(invited.packages.len());
            for package in std::mem::take(&mut invited.packages) {
                let device = Uuid::from_bytes(package.device);
                if present.iter().any(|(a, d)| *a == account && *d == device) {
                    changed = true;
                    continue;
                }
                if size + package.package.len() > MAX_ADDED_BYTES {
                    usable.push(package);
                    continue;
                }
                match self.check_package(group, &account, &package, now) {
                    Ok(joining) => {
                        size += package.package.len();
                        chosen.push(joining);
                        usable.push(package);
                    }
                    Err(Unusable::Awaits(domain)) => {
                        self.await_issuer(&domain, now);
                        return Ok(None);
                    }
                    Err(Unusable::Because(why)) => {
                        changed = true;
                        self.not_invited(room, &account, Some(device), &why);
                    }
                }
            }
            invited.packages = usable;
        }
        if changed {
            let key = rows::numbered(room.as_str(), number);
            self.rows.write(Space::Plan, &key, &Plan::Add(add))?;
        }
        Ok(Some(chosen))
    }

    /// Is it a KeyPackage of that account's device, good now, for this group? The directory is not
    /// believed (RFC 9750 §5.1).
    fn check_package(
        &self,
        group: &mut Group,
        account: &BareJid,
        claimed: &ClaimedPackage,
        now: u64,
    ) -> Result<Joining, Unusable> {
        let because = |why: &str| Unusable::Because(why.to_owned());
        let message = MlsMessage::from_bytes(&claimed.package)
            .map_err(|_| because("its key package cannot be read"))?;
        let package = message
            .as_key_package()
            .ok_or_else(|| because("its key package is something else"))?;
        let leaf = self
            .mls
            .provider()
            .member(package.signing_identity(), Some(seconds(now)));
        let leaf = match leaf {
            Ok(leaf) => leaf,
            Err(CredentialError::UnknownIssuer { domain, .. }) if domain == account.domain() => {
                return Err(Unusable::Awaits(domain));
            }
            Err(error) => return Err(Unusable::Because(error.to_string())),
        };
        let device = Uuid::from_bytes(claimed.device);
        if leaf.account != *account || leaf.device != Some(device) {
            return Err(because(
                "its key package names another account or device: its server may be lying",
            ));
        }
        if package.cipher_suite() != group.cipher_suite() {
            return Err(because("its key package is for another cipher suite"));
        }
        let suite = self
            .mls
            .suite(group.cipher_suite())
            .map_err(|e| Unusable::Because(e.to_string()))?;
        let reference =
            reference(&message, &suite).map_err(|e| Unusable::Because(e.to_string()))?;
        // Signature, lifetime and capabilities, as members will check them.
        group
            .process_incoming_message_with_time(message.clone(), MlsTime::from(seconds(now)))
            .map_err(|error| Unusable::Because(error.to_string()))?;
        Ok(Joining {
            message,
            joiner: StoredJoiner {
                account: account.as_str().to_owned(),
                device: claimed.device,
                key_package: reference,
            },
        })
    }
}
