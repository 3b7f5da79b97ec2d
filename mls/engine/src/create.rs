//! New rooms: the hub is asked who it is, the group is made with it as external sender, and the hub
//! takes it in as epoch 0 (RFC 9750 §5.2).

use comity_mls_credential::keys::Algorithm;
use comity_mls_credential::leaf::{CredentialError, Leaf};
use comity_mls_wire::policy::Policy;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Accepted, EntryKind, Hub};
use comity_xmpp::jid::BareJid;
use mls_rs::time::MlsTime;
use mls_rs_core::crypto::CipherSuite;
use mls_rs_core::identity::SigningIdentity;

use crate::engine::{Engine, seconds};
use crate::error::Error;
use crate::event::{Device, Event, Refused, Warning, What};
use crate::memory::MAX_ROOMS;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::{AddPlan, Body, CreateBody, InFlight, Invited, Plan, Record, Stage};
use crate::rules;
use crate::store::Space;

/// Octets of a room's name.
pub const MAX_ROOM_NAME: usize = 256;

impl Engine {
    /// Makes a room on one's own domain and gives its address at once; it can be used when
    /// [`Event::RoomCreated`] comes, and what is asked of it before waits until then.
    pub fn create_room(&mut self, name: Option<&str>, now: u64) -> Result<BareJid, Error> {
        check_name(name)?;
        self.input(now, |engine| {
            engine.own_device()?;
            let octets = crate::random::bytes()?;
            let host = engine.host(engine.account.domain())?;
            let address = room::random(&host, &octets);
            let mut record = Record::new(Stage::Preparing);
            record.name = name.map(str::to_owned);
            engine.add_room(&address, &record)?;
            Ok(address)
        })
    }

    /// The direct room with another account, made if there is none yet; the other account is
    /// invited into a new one.
    pub fn open_direct(&mut self, with: &BareJid, now: u64) -> Result<BareJid, Error> {
        if with.local().is_none() || *with == self.account {
            return Err(Error::NoAccount(with.clone()));
        }
        self.input(now, |engine| {
            engine.own_device()?;
            let host = engine.host(room::direct_domain(&engine.account, with))?;
            let address = room::direct(&host, &engine.account, with);
            if let Some(record) = engine.record(&address)?
                && !matches!(record.stage, Stage::Left | Stage::Stopped)
            {
                return Ok(address);
            }
            let mut record = Record::new(Stage::Preparing);
            record.direct_with = Some(with.as_str().to_owned());
            engine.add_room(&address, &record)?;
            Ok(address)
        })
    }

    fn host(&self, domain: &str) -> Result<BareJid, Error> {
        BareJid::parse(domain).map_err(|_| Error::NoAccount(self.account.clone()))
    }

    fn add_room(&mut self, address: &BareJid, record: &Record) -> Result<(), Error> {
        if self.all_rooms()?.len() >= MAX_ROOMS {
            return Err(Error::TooMuch {
                what: "rooms of one device",
                limit: MAX_ROOMS,
            });
        }
        self.write_record(address, record)?;
        self.touched.insert(address.clone());
        Ok(())
    }

    pub(crate) fn ask_hub(&mut self, address: &BareJid, now: u64) {
        self.ask(
            Purpose::Hub(address.clone()),
            Destination::Room(address.clone()),
            Request::Room(room::Request::Hub),
            now,
        );
    }

    pub(crate) fn on_hub(&mut self, address: &BareJid, hub: &Hub, now: u64) -> Result<(), Error> {
        let Some(mut record) = self.record(address)? else {
            return Ok(());
        };
        if record.stage != Stage::Preparing {
            return Ok(());
        }
        if hub.exists {
            return self.await_or_give_up(address, record, &Refusal::RoomExists);
        }
        let Some((identity, suite)) = self.believe_hub(address, hub, now)? else {
            return Ok(());
        };
        let Some(key) = self.take_spare(suite, now)? else {
            // Certificates are being made; the hub is asked again when they have come.
            return Ok(());
        };
        let other = match &record.direct_with {
            Some(other) => BareJid::parse(other).ok(),
            None => None,
        };
        let policy = match &other {
            Some(other) => Policy::of_direct(&self.account, other),
            None => Policy::of_creator(&self.account),
        };
        let lifetime = u64::from(policy.key_package_lifetime_s);
        let group_id: [u8; 32] = crate::random::bytes()?;
        let mut group = self
            .mls
            .client(&key, lifetime)?
            .group_builder()?
            .with_group_id(group_id.to_vec())
            .with_group_context_extensions(rules::context(&policy, identity)?)
            .with_now_time(MlsTime::from(seconds(now)))
            .build()?;
        let body = CreateBody {
            group_info: group
                .group_info_message_allowing_ext_commit(false)?
                .to_bytes()?,
            tree: group.export_tree().to_bytes()?,
            direct_with: record.direct_with.clone(),
        };
        self.mls.save_epoch(&mut group)?;
        self.remember_rejoin(address, &group)?;
        record.stage = Stage::Creating;
        record.group_id = group_id.to_vec();
        record.leaf = Some(key);
        record.updated = now;
        self.write_record(address, &record)?;
        self.put_in_flight(address, Body::Create(body))?;
        self.touched.insert(address.clone());
        Ok(())
    }

    /// The hub's certificate must be its domain's, and sign in a suite both sides use.
    fn believe_hub(
        &mut self,
        address: &BareJid,
        hub: &Hub,
        now: u64,
    ) -> Result<Option<(SigningIdentity, u16)>, Error> {
        let key = match Leaf::read(&hub.certificate).and_then(|leaf| leaf.key()) {
            Ok(key) => key,
            Err(error) => return self.no_hub(address, &error),
        };
        let identity = SigningIdentity::new(crate::mls::credential(&hub.certificate), key.to_mls());
        match self.mls.provider().hub(&identity) {
            Ok(leaf) if leaf.account.as_str() == address.domain() => {}
            Ok(_) => {
                let error = CredentialError::Malformed("the hub's certificate is another domain's");
                return self.no_hub(address, &error);
            }
            Err(CredentialError::UnknownIssuer { domain, .. }) => {
                // Only this domain can vouch for its hub, whatever the certificate says.
                if domain != address.domain() {
                    let error =
                        CredentialError::Malformed("the hub's certificate is another domain's");
                    return self.no_hub(address, &error);
                }
                self.await_issuer(&domain, now);
                return Ok(None);
            }
            Err(error) => return self.no_hub(address, &error),
        }
        let fits = |suite: &&u16| {
            Algorithm::of_suite(CipherSuite::new(**suite)) == Some(key.algorithm())
                && hub.suites.contains(suite)
        };
        let suite = self.options.suites.iter().find(fits).copied();
        match suite {
            Some(suite) => Ok(Some((identity, suite))),
            None => {
                let error = CredentialError::Malformed("the hub follows none of our cipher suites");
                self.no_hub(address, &error)
            }
        }
    }

    fn no_hub<T>(&mut self, address: &BareJid, why: &CredentialError) -> Result<Option<T>, Error> {
        self.give_up_creation(address, &why.to_string())?;
        Ok(None)
    }

    fn give_up_creation(&mut self, address: &BareJid, why: &str) -> Result<(), Error> {
        self.refused(Some(address), Refused::Creation, why);
        self.erase_room(address)
    }

    pub(crate) fn on_creation_refused(
        &mut self,
        address: &BareJid,
        refusal: &Refusal,
    ) -> Result<(), Error> {
        match self.record(address)? {
            Some(record) => self.await_or_give_up(address, record, refusal),
            None => Ok(()),
        }
    }

    /// A direct room that exists is the other side's doing: its Welcome comes. Any other address
    /// is random and ought to be free.
    pub(crate) fn await_or_give_up(
        &mut self,
        address: &BareJid,
        mut record: Record,
        refusal: &Refusal,
    ) -> Result<(), Error> {
        if record.direct_with.is_none() || *refusal != Refusal::RoomExists {
            return self.give_up_creation(address, &refusal.to_string());
        }
        self.forget_in_flight(address);
        self.forget_group(address);
        self.mls.forget(&record.group_id);
        record.stage = Stage::Awaiting;
        record.group_id = Vec::new();
        self.unused_keys
            .extend(record.leaf.take().map(|leaf| leaf.key()));
        self.write_record(address, &record)?;
        self.tell(Event::AwaitingWelcome {
            room: address.clone(),
        });
        Ok(())
    }

    pub(crate) fn on_created(
        &mut self,
        address: &BareJid,
        mut record: Record,
        in_flight: &InFlight,
        accepted: &Accepted,
    ) -> Result<(), Error> {
        let payload = room::payload_hash(in_flight.payload());
        let domain = self.host(address.domain())?;
        let expected = [&self.account, &domain].map(|sender| {
            room::head(
                &room::GENESIS,
                address,
                1,
                EntryKind::Notice,
                accepted.time,
                sender,
                &payload,
            )
        });
        if accepted.seq != 1 || !expected.contains(&accepted.head) {
            self.warn(Some(address), Warning::ChainBroken { seq: accepted.seq });
        }
        record.stage = Stage::Active;
        record.seq = accepted.seq;
        record.head = accepted.head;
        record.epoch = 0;
        let me = Device {
            account: self.account.as_str().to_owned(),
            device: self.own_device()?.into_bytes(),
        };
        self.forget_in_flight(address);
        self.fresh.insert(address.clone());
        self.tell(Event::RoomCreated {
            room: address.clone(),
        });
        self.remember_head(address, &record);
        self.note(
            address,
            accepted.seq,
            accepted.time,
            vec![What::Joined(vec![me])],
        )?;
        if let Some(other) = record.direct_with.clone() {
            let plan = AddPlan {
                invited: vec![Invited {
                    account: other,
                    only: None,
                    claimed: false,
                    packages: Vec::new(),
                }],
            };
            self.add_plan(address, &mut record, &Plan::Add(plan))?;
        }
        self.write_record(address, &record)?;
        self.touched.insert(address.clone());
        Ok(())
    }

    /// Every row of a room that never was.
    fn erase_room(&mut self, address: &BareJid) -> Result<(), Error> {
        if let Some(record) = self.record(address)? {
            self.mls.forget(&record.group_id);
            self.unused_keys.extend(record.leaf.map(|leaf| leaf.key()));
        }
        self.forget_group(address);
        self.forget_in_flight(address);
        self.drop_wishes(address)?;
        self.rows.delete(Space::Room, address.as_str().as_bytes());
        Ok(())
    }
}

fn check_name(name: Option<&str>) -> Result<(), Error> {
    match name {
        Some(name) if name.len() > MAX_ROOM_NAME => Err(Error::TooMuch {
            what: "octets of a room's name",
            limit: MAX_ROOM_NAME,
        }),
        Some(name) if !is_room_name(name) => Err(Error::RoomName),
        _ => Ok(()),
    }
}

/// A name stands in lists and titles: in one line, and without what steers a terminal.
pub(crate) fn is_room_name(name: &str) -> bool {
    name.len() <= MAX_ROOM_NAME && !name.chars().any(char::is_control)
}
