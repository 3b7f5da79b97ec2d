//! What a person wants changed in a room: kept until the log has it or the hub refused it for good.

use comity_mls_wire::keys::{self, Claim, ClaimResult, Claimed};
use comity_mls_wire::policy::{self, SUITES};
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, Refused};
use crate::flow::MAX_PLANS;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::{AddPlan, ClaimedPackage, Invited, Plan, Record, RemovePlan, Stage};
use crate::rows;
use crate::store::Space;

/// Accounts in one invitation.
pub const MAX_INVITED: usize = 250;
/// Devices of one account that are taken from an answer.
const MAX_CLAIMED: usize = 1_000;

impl Engine {
    /// Invites all devices of these accounts. Who has no usable KeyPackages is named in
    /// [`Event::NotInvited`], the others come with [`crate::What::Added`].
    pub fn invite(&mut self, room: &BareJid, accounts: &[BareJid], now: u64) -> Result<(), Error> {
        if accounts.len() > MAX_INVITED {
            return Err(Error::TooMuch {
                what: "accounts in one invitation",
                limit: MAX_INVITED,
            });
        }
        if let Some(none) = accounts.iter().find(|account| account.local().is_none()) {
            return Err(Error::NoAccount((*none).clone()));
        }
        let invited = accounts
            .iter()
            .map(|account| Invited {
                account: account.as_str().to_owned(),
                only: None,
                claimed: false,
                packages: Vec::new(),
            })
            .collect();
        self.want(room, Plan::Add(AddPlan { invited }), now)
    }

    /// Removes an account's device, or all its devices.
    pub fn remove(
        &mut self,
        room: &BareJid,
        account: &BareJid,
        device: Option<Uuid>,
        now: u64,
    ) -> Result<(), Error> {
        let members = self.members(room)?;
        let is_meant = |member: &comity_mls_wire::room::Member| {
            member.account == *account && device.is_none_or(|device| device == member.device)
        };
        if !members.iter().any(is_meant) {
            return Err(Error::NoMember(account.clone()));
        }
        let plan = RemovePlan {
            account: account.as_str().to_owned(),
            device: device.map(Uuid::into_bytes),
        };
        self.want(room, Plan::Remove(plan), now)
    }

    /// Renews this device's keys in the room.
    pub fn update(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        self.want(room, Plan::Update, now)
    }

    /// Takes all devices of this account out of the room. Messages that still wait are not sent.
    pub fn leave(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        self.want(room, Plan::Leave, now)
    }

    pub(crate) fn want(&mut self, room: &BareJid, plan: Plan, now: u64) -> Result<(), Error> {
        self.input(now, |engine| {
            let mut record = engine.known_room(room)?;
            check_open(room, &record)?;
            engine.add_plan(room, &mut record, &plan)?;
            record.leaving |= plan == Plan::Leave;
            engine.write_record(room, &record)?;
            engine.touched.insert(room.clone());
            Ok(())
        })
    }

    /// Adds a plan; the caller writes the record.
    pub(crate) fn add_plan(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        plan: &Plan,
    ) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        if self.rows.scan(Space::Plan, &prefix, None, MAX_PLANS)?.len() >= MAX_PLANS {
            return Err(Error::TooMuch {
                what: "changes of one room that wait",
                limit: MAX_PLANS,
            });
        }
        let key = rows::numbered(room.as_str(), record.next_plan);
        record.next_plan += 1;
        self.rows.write(Space::Plan, &key, plan)
    }

    pub(crate) fn drop_plan(&mut self, room: &BareJid, number: u64) -> Result<Refused, Error> {
        let key = rows::numbered(room.as_str(), number);
        let plan: Option<Plan> = self.rows.read(Space::Plan, &key)?;
        self.rows.delete(Space::Plan, &key);
        if let Some(Plan::Psk(psk)) = &plan {
            self.forget_psk(room, &psk.nonce);
        }
        Ok(match plan {
            Some(Plan::Psk(_)) => Refused::Psk,
            Some(Plan::Add(_)) => Refused::Invitation,
            Some(Plan::Remove(_)) => Refused::Removal,
            Some(Plan::Leave) => Refused::Departure,
            Some(Plan::Role(_)) => Refused::Role,
            Some(Plan::Update) | None => Refused::Update,
        })
    }

    pub(crate) fn drop_leave_plans(&mut self, room: &BareJid) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        for (key, plan) in self.rows.list::<Plan>(Space::Plan, &prefix, MAX_PLANS)? {
            if plan == Plan::Leave {
                self.rows.delete(Space::Plan, &key);
            }
        }
        Ok(())
    }

    pub(crate) fn has_plan(&self, room: &BareJid, wanted: &Plan) -> Result<bool, Error> {
        let prefix = rows::of_room(room.as_str());
        let plans = self.rows.list::<Plan>(Space::Plan, &prefix, MAX_PLANS)?;
        Ok(plans.iter().any(|(_, plan)| plan == wanted))
    }

    /// Asks the directories that have not answered yet; true when all have.
    pub(crate) fn all_claimed(
        &mut self,
        room: &BareJid,
        plan: &AddPlan,
        now: u64,
    ) -> Result<bool, Error> {
        let mut all = true;
        for invited in plan.invited.iter().filter(|invited| !invited.claimed) {
            all = false;
            let account = BareJid::parse(&invited.account).map_err(|_| Error::Corrupt {
                space: Space::Plan.name(),
            })?;
            let suite = self.suite_of(room)?;
            let claim = Claim {
                room: room.clone(),
                suites: vec![suite],
                extensions: vec![policy::EXTENSION_TYPE],
                devices: invited.only.map(Uuid::from_bytes).into_iter().collect(),
            };
            self.ask(
                Purpose::Claim {
                    room: room.clone(),
                    account: account.clone(),
                },
                Destination::Account(account),
                Request::Keys(keys::Request::Claim(claim)),
                now,
            );
        }
        Ok(all)
    }

    fn suite_of(&self, room: &BareJid) -> Result<u16, Error> {
        let leaf = self.record(room)?.and_then(|record| record.leaf);
        Ok(leaf.map_or(SUITES[0], |leaf| leaf.suite))
    }

    pub(crate) fn on_claimed(
        &mut self,
        room: &BareJid,
        account: &BareJid,
        claimed: Vec<Claimed>,
    ) -> Result<(), Error> {
        let own = self.own_device()?;
        self.show_claimed(room, account, &claimed)?;
        let mut packages = Vec::new();
        for Claimed { device, result } in claimed.into_iter().take(MAX_CLAIMED) {
            let why = match result {
                // Device ids are only unique within a domain.
                _ if device == own && *account == self.account => continue,
                ClaimResult::Package { package, .. } => {
                    packages.push(ClaimedPackage {
                        device: device.into_bytes(),
                        package: package.to_vec(),
                    });
                    continue;
                }
                ClaimResult::Exhausted => "it has no key packages left",
                ClaimResult::Incompatible => "it does not support what the room requires",
            };
            self.not_invited(room, account, Some(device), why);
        }
        if packages.is_empty() {
            self.not_invited(room, account, None, "none of its devices can be invited");
        }
        self.on_claim_settled(room, account, packages)
    }

    /// An answer for all devices is shown to the person before anybody is added.
    fn show_claimed(
        &mut self,
        room: &BareJid,
        account: &BareJid,
        claimed: &[Claimed],
    ) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        let plans = self.rows.list::<Plan>(Space::Plan, &prefix, MAX_PLANS)?;
        let awaits = |invited: &Invited| !invited.claimed && invited.account == account.as_str();
        let asked = plans.iter().find_map(|(_, plan)| match plan {
            Plan::Add(add) => add.invited.iter().find(|invited| awaits(invited)),
            _ => None,
        });
        if asked.is_none_or(|invited| invited.only.is_some()) {
            return Ok(());
        }
        let named: Vec<_> = claimed.iter().take(MAX_CLAIMED).map(|c| c.device).collect();
        self.show_invited(room, account, &named)
    }

    pub(crate) fn on_claim_refused(
        &mut self,
        room: &BareJid,
        account: &BareJid,
        refusal: &Refusal,
    ) -> Result<(), Error> {
        self.not_invited(room, account, None, &refusal.to_string());
        self.on_claim_settled(room, account, Vec::new())
    }

    /// The answer goes to the first plan that waits for it.
    fn on_claim_settled(
        &mut self,
        room: &BareJid,
        account: &BareJid,
        packages: Vec<ClaimedPackage>,
    ) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        for (key, plan) in self.rows.list::<Plan>(Space::Plan, &prefix, MAX_PLANS)? {
            let Plan::Add(mut add) = plan else { continue };
            let awaiting =
                |invited: &&mut Invited| !invited.claimed && invited.account == account.as_str();
            let Some(invited) = add.invited.iter_mut().find(awaiting) else {
                continue;
            };
            invited.claimed = true;
            invited.packages = packages;
            self.rows.write(Space::Plan, &key, &Plan::Add(add))?;
            self.touched.insert(room.clone());
            break;
        }
        Ok(())
    }

    pub(crate) fn not_invited(
        &mut self,
        room: &BareJid,
        account: &BareJid,
        device: Option<Uuid>,
        why: &str,
    ) {
        self.tell(Event::NotInvited {
            room: room.clone(),
            account: account.clone(),
            device,
            why: why.to_owned(),
        });
    }
}

pub(crate) fn check_open(room: &BareJid, record: &Record) -> Result<(), Error> {
    match record.stage {
        Stage::Left => Err(Error::RoomClosed(room.clone(), "this device has left it")),
        Stage::Stopped => Err(Error::RoomClosed(
            room.clone(),
            "it stopped at an entry that cannot be applied",
        )),
        _ => Ok(()),
    }
}
