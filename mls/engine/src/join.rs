//! Coming to a room by a Welcome (RFC 9420 §12.4.3.1).

use comity_mls_credential::provider::Provider;
use comity_mls_wire::policy::{Handshakes, Policy};
use comity_mls_wire::room::{Member, Tree, Welcome};
use comity_mls_wire::sync;
use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use mls_rs::error::MlsError;
use mls_rs::extension::built_in::ExternalSendersExt;
use mls_rs::group::{ExportedTree, GroupContext};
use mls_rs_codec::MlsDecode as _;
use uuid::Uuid;

use crate::anchoring::MAX_WELCOMES;
use crate::commit::members;
use crate::engine::Engine;
use crate::epoch::nobody;
use crate::error::Error;
use crate::event::{Device, Event, Warning, What};
use crate::follow::device;
use crate::memory::MAX_ROOMS;
use crate::mls::{Group, OwnPackage, unknown_issuer};
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::{Record, Stage};
use crate::rows;
use crate::store::Space;

/// KeyPackageRefs of one Welcome that are looked up.
const MAX_REFERENCES: usize = 1_000;
/// Senders of one room that are counted.
const MAX_COUNTERS: usize = 100_000;

pub(crate) enum Unjoinable {
    Awaits(String),
    /// It can never be used: the server may drop it.
    Because(String),
    /// It may be used by a later version of this program.
    Upgrade(String),
    Engine(Error),
}

impl From<Error> for Unjoinable {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<MlsError> for Unjoinable {
    fn from(error: MlsError) -> Self {
        match unknown_issuer(&error) {
            Some(domain) => Self::Awaits(domain),
            None => Self::Because(error.to_string()),
        }
    }
}

fn because(why: &str) -> Unjoinable {
    Unjoinable::Because(why.to_owned())
}

struct Joined {
    group: Group,
    own: OwnPackage,
    by: Option<Device>,
}

impl Engine {
    pub(crate) fn on_welcome(&mut self, welcome: Welcome, now: u64) -> Result<(), Error> {
        if self.device()?.is_none() {
            return Ok(());
        }
        let known = self.record(&welcome.room)?;
        if let Some(record) = &known
            && record.stage == Stage::Active
            && !self.leads_back(&welcome)
        {
            // Either it was used before, or it follows a removal the log has not come to yet: then
            // the server sends it again.
            if welcome.seq <= record.seq {
                self.acknowledge_welcome(welcome.id, now);
            }
            return Ok(());
        }
        if known.is_none() && self.all_rooms()?.len() >= MAX_ROOMS {
            self.warn(
                Some(&welcome.room),
                Warning::BadWelcome {
                    why: format!(
                        "this device is in {MAX_ROOMS} rooms, which is the most it can be"
                    ),
                },
            );
            return Ok(());
        }
        match self.try_join(&welcome) {
            Ok(joined) => self.joined(known, &welcome, joined, now),
            Err(Unjoinable::Engine(error)) => Err(error),
            Err(Unjoinable::Awaits(domain)) => {
                self.warn(
                    Some(&welcome.room),
                    Warning::UnknownIssuer {
                        domain: domain.clone(),
                    },
                );
                self.await_issuer(&domain, now);
                let held = self.welcomes.iter().any(|held| held.id == welcome.id);
                if !held && self.welcomes.len() < MAX_WELCOMES {
                    self.welcomes.push(welcome);
                }
                Ok(())
            }
            Err(Unjoinable::Upgrade(why)) => {
                self.warn(Some(&welcome.room), Warning::BadWelcome { why });
                Ok(())
            }
            Err(Unjoinable::Because(why)) => {
                self.warn(Some(&welcome.room), Warning::BadWelcome { why });
                self.acknowledge_welcome(welcome.id, now);
                self.on_lost_package(&welcome, now)
            }
        }
    }

    fn try_join(&self, welcome: &Welcome) -> Result<Joined, Unjoinable> {
        let message =
            MlsMessage::from_bytes(&welcome.welcome).map_err(|_| because("it cannot be read"))?;
        let tree = read_tree(&welcome.tree, "its tree cannot be read")?;
        let own = self
            .own_package(&message)?
            .ok_or_else(|| because("it is for a key package this device does not have"))?;
        let certified = own
            .certified
            .clone()
            .ok_or_else(|| because("it is for a key package that was never finished"))?;
        let client = self.mls.client(&certified, 0)?;
        // Without a time: a member whose KeyPackage has expired since must not keep us out.
        let (group, info) = client.join_group(Some(tree), &message, None)?;
        if group.current_epoch() != welcome.epoch {
            return Err(because("it leads to another epoch than it says"));
        }
        check_context(group.context(), &welcome.room, self.mls.provider())?;
        let by = group
            .member_at_index(info.sender)
            .and_then(|member| device(&member.signing_identity));
        Ok(Joined { group, own, by })
    }

    pub(crate) fn own_package(&self, message: &MlsMessage) -> Result<Option<OwnPackage>, Error> {
        let references = message.welcome_key_package_references();
        for reference in references.into_iter().take(MAX_REFERENCES) {
            let own = self.rows.read(Space::KeyPackage, reference)?;
            if own.is_some() {
                return Ok(own);
            }
        }
        Ok(None)
    }

    fn joined(
        &mut self,
        known: Option<Record>,
        welcome: &Welcome,
        joined: Joined,
        now: u64,
    ) -> Result<(), Error> {
        let room = &welcome.room;
        let Joined { mut group, own, by } = joined;
        let mut record = Record::new(Stage::Active);
        if let Some(known) = known {
            self.forget_group(room);
            if !known.group_id.is_empty() && known.group_id != group.group_id() {
                self.mls.forget(&known.group_id);
            }
            self.forget_in_flight(room);
            record.next_plan = known.next_plan;
            record.next_message = known.next_message;
            record.read = known.read;
            record.name = known.name;
            record.direct_with = known.direct_with;
            // The counter goes on: others remember it.
            record.counter = known.counter;
        }
        record.group_id = group.group_id().to_vec();
        record.epoch = group.current_epoch();
        record.seq = welcome.seq;
        record.head = welcome.head;
        record.rotate = own.last_resort;
        record.leaf = own.certified;
        record.updated = now;
        self.mls.save_epoch(&mut group)?;
        self.check_all_logged(&group, now)?;
        self.blocked.remove(room);
        self.forget_counters(room)?;
        self.forget_noted(room)?;
        self.forget_resync(room)?;
        self.remember_rejoin(room, &group)?;
        self.fresh.insert(room.clone());
        self.strays.remove(room);
        self.remember_head(room, &record);
        self.write_record(room, &record)?;
        let by = by.unwrap_or_else(|| nobody(&welcome.sender));
        let present: Vec<Device> = members(&group)
            .into_iter()
            .map(|(account, device)| Device::from(&Member { account, device }))
            .collect();
        for who in &present {
            self.see(room, who, now)?;
        }
        self.follow_marks(room, None, &group, now)?;
        self.keep_group(room, group);
        self.tell(Event::RoomJoined {
            room: room.clone(),
            by: BareJid::parse(&by.account).unwrap_or_else(|_| welcome.sender.clone()),
        });
        self.note(room, welcome.seq, now, vec![What::Joined(present)])?;
        self.acknowledge_welcome(welcome.id, now);
        self.acknowledge(room, now)?;
        self.touched.insert(room.clone());
        // What came while the Welcome was looked at.
        self.drain_early(room, now)
    }

    /// What members said while this device was out is not lost, it was never ours to read.
    /// A device counts its messages anew.
    pub(crate) fn forget_counter(&self, room: &BareJid, who: &Device) {
        self.rows
            .delete(Space::Counter, &crate::messages::counter_key(room, who));
    }

    /// So does one that is let in, again maybe: its data may be a copy from before its last messages.
    pub(crate) fn forget_counters_of_comers(&self, room: &BareJid, whats: &[What]) {
        for what in whats {
            if let What::Added(change) = what {
                self.forget_counter(room, &change.who);
            }
        }
    }

    pub(crate) fn forget_counters(&self, room: &BareJid) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        for (key, _) in self
            .rows
            .scan(Space::Counter, &prefix, None, MAX_COUNTERS)?
        {
            self.rows.delete(Space::Counter, &key);
        }
        Ok(())
    }

    fn acknowledge_welcome(&mut self, id: Uuid, now: u64) {
        self.ask(
            Purpose::AcknowledgeWelcome(id),
            Destination::Own,
            Request::Sync(sync::Request::AcknowledgeWelcome { id }),
            now,
        );
    }
}

/// A tree that came from a hub. No more comes out of it than it says, nor than an object may have.
pub(crate) fn read_tree(
    tree: &Tree,
    unreadable: &str,
) -> Result<ExportedTree<'static>, Unjoinable> {
    let octets = tree
        .open()
        .map_err(|why| Unjoinable::Because(why.to_string()))?;
    ExportedTree::mls_decode_exhaustive(&octets).map_err(|_| because(unreadable))
}

/// A group this engine can live in, and this room's.
pub(crate) fn check_context(
    context: &GroupContext,
    room: &BareJid,
    provider: &Provider,
) -> Result<(), Unjoinable> {
    use comity_mls_wire::policy::PolicyError;
    let policy = match Policy::of(&context.extensions) {
        Ok(policy) => policy,
        Err(error @ PolicyError::UnknownVersion { .. }) => {
            return Err(Unjoinable::Upgrade(error.to_string()));
        }
        Err(error) => return Err(Unjoinable::Because(error.to_string())),
    };
    if policy.handshakes != Handshakes::Public {
        let why = "its handshakes are private, which this version cannot follow";
        return Err(Unjoinable::Upgrade(why.to_owned()));
    }
    let senders = context.extensions.get_as::<ExternalSendersExt>();
    let hub = match &senders {
        Ok(Some(senders)) => match senders.allowed_senders() {
            [hub] => hub,
            _ => return Err(because("the room has not exactly one external sender")),
        },
        _ => return Err(because("the room names no hub")),
    };
    match provider.hub(hub) {
        Ok(leaf) if leaf.account.as_str() == room.domain() => Ok(()),
        Ok(_) => Err(because("the room's external sender is not its own domain")),
        Err(comity_mls_credential::leaf::CredentialError::UnknownIssuer { domain, .. }) => {
            Err(Unjoinable::Awaits(domain))
        }
        Err(error) => Err(Unjoinable::Because(error.to_string())),
    }
}
