//! Whom an invitation can add now: every claimed KeyPackage is checked here as each member will
//! check it.

use comity_mls_credential::leaf::CredentialError;
use comity_mls_wire::limits::JOINERS;
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

/// Octets of KeyPackages in one commit. Who does not fit comes with the next commit.
const MAX_ADDED_BYTES: usize = 512 * 1024;

/// A package that passed every check, and for whom it is.
pub(crate) struct Joining {
    pub(crate) message: MlsMessage,
    pub(crate) joiner: StoredJoiner,
}

const IS_IN: &str = "it is in the room, and lets in its further devices itself";
const TOO_MANY: &str = "its account has more devices than one commit adds";

enum Unusable {
    Awaits(String),
    Because(String),
}

/// What fits into one commit.
#[derive(Default)]
struct Choice {
    /// Who is in the room.
    present: Vec<(BareJid, Uuid)>,
    chosen: Vec<Joining>,
    octets: usize,
    /// The plan is to be written anew.
    changed: bool,
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
        let mut choice = Choice {
            present: members(group),
            ..Choice::default()
        };
        for invited in &mut add.invited {
            let Ok(account) = BareJid::parse(&invited.account) else {
                continue;
            };
            let packages = std::mem::take(&mut invited.packages);
            match self.choose(room, group, &account, packages, &mut choice, now) {
                Some(usable) => invited.packages = usable,
                None => return Ok(None),
            }
        }
        if choice.changed {
            let key = rows::numbered(room.as_str(), number);
            self.rows.write(Space::Plan, &key, &Plan::Add(add))?;
        }
        Ok(Some(choice.chosen))
    }

    /// Of one account's packages: those chosen go to `choice` and stay in the plan, until its
    /// commit is in the log.
    fn choose(
        &mut self,
        room: &BareJid,
        group: &mut Group,
        account: &BareJid,
        packages: Vec<ClaimedPackage>,
        choice: &mut Choice,
        now: u64,
    ) -> Option<Vec<ClaimedPackage>> {
        let octets: usize = packages.iter().map(|p| p.package.len()).sum();
        let count = choice.chosen.len() + packages.len();
        // Once the first of its devices is in, an account lets in the others itself: so they come
        // in one commit, or all of them wait for the next.
        if choice.octets > 0 && (choice.octets + octets > MAX_ADDED_BYTES || count > JOINERS) {
            return Some(packages);
        }
        let present: Vec<Uuid> = choice
            .present
            .iter()
            .filter(|(member, _)| member == account)
            .map(|(_, device)| *device)
            .collect();
        let own = *account == self.account;
        if !own && !present.is_empty() && !packages.is_empty() {
            choice.changed = true;
            self.not_invited(room, account, None, IS_IN);
            return Some(Vec::new());
        }
        let mut usable = Vec::with_capacity(packages.len());
        for package in packages {
            let device = Uuid::from_bytes(package.device);
            let is_in = present.contains(&device);
            let fits = choice.octets + package.package.len() <= MAX_ADDED_BYTES
                && choice.chosen.len() < JOINERS;
            if own && !is_in && !fits {
                usable.push(package);
                continue;
            }
            let found = match (is_in, fits) {
                (true, _) => Err(None),
                (_, false) => Err(Some(Unusable::Because(TOO_MANY.to_owned()))),
                _ => self
                    .check_package(group, account, &package, now)
                    .map_err(Some),
            };
            match found {
                Ok(joining) => {
                    choice.octets += package.package.len();
                    choice.chosen.push(joining);
                    usable.push(package);
                }
                Err(Some(Unusable::Awaits(domain))) => {
                    self.await_issuer(&domain, now);
                    return None;
                }
                Err(why) => {
                    choice.changed = true;
                    if let Some(Unusable::Because(why)) = why {
                        self.not_invited(room, account, Some(device), &why);
                    }
                }
            }
        }
        Some(usable)
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
