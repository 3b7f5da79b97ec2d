//! Answers: each goes to what asked, a refusal is obeyed or told.

use comity_mls_wire::authority;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room;
use comity_mls_wire::sync;

use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Refused, Warning};
use crate::outgoing::{Answer, Answered};
use crate::rejoin::Served;
use crate::requests::{Pending, Purpose, transient};
use crate::session::{Session, UPKEEP_EVERY_MS};

impl Engine {
    pub(crate) fn on_answer(
        &mut self,
        pending: Pending,
        answer: Answered,
        now: u64,
    ) -> Result<(), Error> {
        let refusal = match answer {
            Ok(answer) => return self.on_granted(pending, answer, now),
            Err(refusal) => refusal,
        };
        if let Purpose::Ephemeral(room, _) = &pending.purpose {
            self.on_ephemeral_refused(room, &refusal, now);
            return Ok(());
        }
        if let Some(pause) = transient(&refusal) {
            self.requests.pause(pending, pause, now);
            return Ok(());
        }
        let proves = matches!(
            pending.purpose,
            Purpose::Challenge | Purpose::Register | Purpose::Prove
        );
        if refusal == Refusal::NoDevice && !proves {
            // The server forgot which device this is: prove it again, then ask again.
            self.requests.pause(pending, 0, now);
            self.session = Session::Unproved {
                exporter: self.session.exporter(),
            };
            self.ask_challenge(now);
            return Ok(());
        }
        self.on_refused(pending, &refusal, now)
    }

    fn on_granted(&mut self, pending: Pending, answer: Answer, now: u64) -> Result<(), Error> {
        use comity_mls_wire::keys;
        match (pending.purpose, answer) {
            (Purpose::Challenge, Answer::Authority(authority::Answer::Challenge { nonce })) => {
                self.on_challenge(&nonce, now)
            }
            (Purpose::Register, Answer::Authority(authority::Answer::Registered { device })) => {
                self.on_registered(device, now)
            }
            (Purpose::Prove, Answer::Authority(authority::Answer::Proved)) => self.on_proved(now),
            (Purpose::Enrol, Answer::Authority(authority::Answer::Certificates(certificates))) => {
                self.on_certificates(&certificates, now)
            }
            (
                Purpose::Anchors(domain),
                Answer::Authority(authority::Answer::Anchors { statement }),
            ) => self.on_anchors(&domain, &statement, now),
            (Purpose::Revoke, Answer::Authority(authority::Answer::Revoked)) => {
                self.on_revoked(&pending.request)
            }
            (Purpose::Crl(domain, issuer), Answer::Authority(part)) => {
                self.on_crl_part(&domain, issuer, part, now)
            }
            (Purpose::Publish, Answer::Keys(keys::Answer::Published(counts))) => {
                self.on_published(counts, now)
            }
            (Purpose::Count, Answer::Keys(keys::Answer::Counts(counts))) => {
                self.on_counts(counts, now)
            }
            (Purpose::Claim { room, account }, Answer::Keys(keys::Answer::Claimed(claimed))) => {
                self.on_claimed(&room, &account, claimed)
            }
            (Purpose::Sync, Answer::Sync(sync::Answer::Syncing { rooms })) => {
                self.on_syncing(&rooms, now)
            }
            (Purpose::Acknowledge(room), Answer::Sync(sync::Answer::Acknowledged)) => {
                self.on_acknowledged(&room, &pending.request, now)
            }
            (Purpose::AcknowledgeWelcome(_), Answer::Sync(sync::Answer::Acknowledged)) => Ok(()),
            (Purpose::Hub(room), Answer::Room(room::Answer::Hub(hub))) => {
                self.on_hub(&room, &hub, now)
            }
            (
                Purpose::GroupInfo(room),
                Answer::Room(room::Answer::GroupInfo {
                    group_info,
                    tree,
                    epoch,
                    seq,
                    proposals,
                }),
            ) => {
                let served = Served {
                    group_info,
                    tree,
                    epoch,
                    seq,
                    proposals,
                };
                self.on_group_info(&room, &served, now)
            }
            (Purpose::Report(room), Answer::Room(room::Answer::Reported)) => {
                self.on_reported(&room)
            }
            (Purpose::Ephemeral(..), Answer::Room(room::Answer::Relayed)) => Ok(()),
            (Purpose::InFlight(room, key), Answer::Room(room::Answer::Accepted(accepted))) => {
                self.on_accepted(&room, key, &accepted, now)
            }
            (purpose, answer) => self.on_log_granted(purpose, answer, now),
        }
    }

    fn on_log_granted(&mut self, purpose: Purpose, answer: Answer, now: u64) -> Result<(), Error> {
        use comity_mls_wire::room;
        match (purpose, answer) {
            (Purpose::Head(room), Answer::Room(room::Answer::Head(head))) => {
                self.on_head(&room, &head, now)
            }
            (Purpose::Complaint(room, id), Answer::Room(room::Answer::Reported)) => {
                self.on_complaint(&room, id, None)
            }
            (Purpose::Devices, Answer::Authority(authority::Answer::Devices(devices))) => {
                self.on_devices(devices, now)
            }
            (
                Purpose::LogEntries,
                Answer::Authority(authority::Answer::LogEntries {
                    head,
                    evidence,
                    entries,
                }),
            ) => self.on_entries(&head, &evidence, entries, now),
            (
                Purpose::LogInclusion(account),
                Answer::Authority(authority::Answer::LogInclusion { head, keys }),
            ) => self.on_inclusion(&account, &head, keys, now),
            (
                Purpose::LogConsistency(domain, first, second),
                Answer::Authority(authority::Answer::LogConsistency { proof }),
            ) => self.on_consistency(&domain, first, second, &proof),
            _ => {
                self.warn(
                    None,
                    Warning::Unexpected {
                        what: "an answer that does not fit its request",
                    },
                );
                Ok(())
            }
        }
    }

    fn on_refused(&mut self, pending: Pending, refusal: &Refusal, now: u64) -> Result<(), Error> {
        match pending.purpose {
            Purpose::Challenge | Purpose::Register => {
                self.refused(None, Refused::Enrolment, refusal);
            }
            Purpose::Prove => self.refused(None, Refused::Session, refusal),
            Purpose::Enrol => return self.on_enrol_refused(refusal, now),
            Purpose::Publish => return self.on_publish_refused(refusal, now),
            Purpose::Count => {
                self.set_timer(Timer::Stock, now + UPKEEP_EVERY_MS);
            }
            // An old list warns by itself; the next hour asks again.
            Purpose::Crl(_, issuer) => drop(self.crl_parts.remove(&issuer)),
            Purpose::Anchors(domain) => self.on_anchors_refused(&domain, refusal, now),
            Purpose::Hub(room) => return self.on_creation_refused(&room, refusal),
            // The hub knows no such commit any more, or takes no reports.
            Purpose::Report(room) => return self.on_reported(&room),
            Purpose::Head(room) => return self.on_head_refused(&room, refusal, now),
            Purpose::Complaint(room, id) => {
                return self.on_complaint(&room, id, Some(refusal));
            }
            Purpose::GroupInfo(room) => {
                return self.on_group_info_refused(&room, refusal, now);
            }
            Purpose::Claim { room, account } => {
                return self.on_claim_refused(&room, &account, refusal);
            }
            Purpose::InFlight(room, key) => {
                return self.on_in_flight_refused(&room, key, refusal, now);
            }
            Purpose::Sync => {
                self.refused(None, Refused::Session, refusal);
                self.set_timer(Timer::Behind, now + 60_000);
            }
            Purpose::Revoke => self.refused(None, Refused::Session, refusal),
            Purpose::LogConsistency(domain, first, second) => {
                self.on_consistency_refused(&domain, first, second, refusal);
            }
            // Asked for again in the next round; what stays without evidence is told in time.
            Purpose::Devices | Purpose::LogEntries | Purpose::LogInclusion(_) => {}
            // The server keeps what it holds for us; the next acknowledgement is cumulative.
            Purpose::Acknowledge(_) | Purpose::AcknowledgeWelcome(_) => {}
            Purpose::Ephemeral(room, _) => self.on_ephemeral_refused(&room, refusal, now),
        }
        Ok(())
    }
}
