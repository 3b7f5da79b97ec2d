//! A room's hub in a test: orders by epoch, follows the public tree, signs heads, keeps the log and
//! who may read which part of it.

use std::collections::HashMap;

use bytes::Bytes;
use comity_mls_credential::keys::PrivateKey;
use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::{Provider, certificate};
use comity_mls_credential::signed;
use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{
    self, Accepted, Answer, Bundle, Entry, EntryKind, Hash, IdempotencyKey, Member, MessageReport,
    Payload, Tree, Welcome,
};
use comity_mls_wire::sync::Standing;
use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use mls_rs::external_client::builder::{
    ExternalBaseConfig, WithCryptoProvider, WithIdentityProvider,
};
use mls_rs::external_client::{ExternalClient, ExternalGroup, ExternalReceivedMessage};
use mls_rs::group::ExportedTree;
use mls_rs::group::proposal::ProposalType;
use mls_rs::identity::x509::CertificateChain;
use mls_rs::identity::{Credential, SigningIdentity};
use mls_rs_codec::MlsDecode as _;
use mls_rs_core::extension::ExtensionType;
use mls_rs_crypto_openssl::OpensslCryptoProvider;
use uuid::Uuid;

type Config =
    WithCryptoProvider<OpensslCryptoProvider, WithIdentityProvider<Provider, ExternalBaseConfig>>;

pub struct Room {
    address: BareJid,
    key: PrivateKey,
    pub group: ExternalGroup<Config>,
    pub log: Vec<Entry>,
    /// From where, and to where, a device may read.
    readers: HashMap<Member, (u64, Option<u64>)>,
    /// What devices have said to have stored.
    stored: HashMap<Member, u64>,
    pub welcomes: Vec<(Member, Welcome)>,
    answers: HashMap<(Member, IdempotencyKey), Result<Answer, Refusal>>,
    pending: Vec<u64>,
    /// Commits accepted and refused as stale.
    pub commits: u64,
    pub stale: u64,
    next_welcome: u128,
    /// Of the epoch; a test may spoil it.
    pub group_info: Bytes,
    /// Who could not apply which commit.
    pub reports: Vec<(Member, u64)>,
    /// Whose commits are not taken any more, and which one it was.
    pub barred: Vec<(Member, u64)>,
    /// Said outside the log; a test hands it on, or does not.
    pub ephemeral: Vec<room::Ephemeral>,
    /// Does it ask anybody to commit what is pending?
    pub nominates: bool,
    /// Whom it has asked in this epoch, and when.
    pub nominated: Vec<(Member, u64)>,
    /// Who acknowledged something last: the latest at the end.
    active: Vec<Member>,
    /// Who is to go, and when the first proposal came.
    leaving: Vec<Member>,
    since: u64,
    /// Messages shown to the operator, and whether they are taken.
    pub told: Vec<MessageReport>,
    pub takes_reports: bool,
    /// What single devices are shown in place of the log.
    pub(super) shown: HashMap<Member, Vec<Entry>>,
}

pub fn create(
    address: &BareJid,
    (key, certificate): (PrivateKey, &[u8]),
    provider: Provider,
    creator: Member,
    create: &room::Create,
    now: u64,
) -> (Room, Answer) {
    let public = key.public().unwrap();
    let chain = CertificateChain::from(vec![certificate.to_vec()]);
    let identity = SigningIdentity::new(Credential::X509(chain), public.to_mls());
    let client = ExternalClient::builder()
        .signer(key.to_mls().unwrap(), identity)
        .crypto_provider(OpensslCryptoProvider::new())
        .identity_provider(provider)
        .extension_type(ExtensionType::new(comity_mls_wire::policy::EXTENSION_TYPE))
        .custom_proposal_types([ProposalType::SELF_REMOVE])
        .build();
    let info = MlsMessage::from_bytes(&create.group_info).unwrap();
    let tree = ExportedTree::mls_decode(&mut &*create.tree).unwrap();
    let group = client.observe_group(info, Some(tree), None).unwrap();
    let mut room = Room {
        address: address.clone(),
        key,
        group,
        log: Vec::new(),
        readers: HashMap::new(),
        stored: HashMap::new(),
        welcomes: Vec::new(),
        answers: HashMap::new(),
        pending: Vec::new(),
        commits: 0,
        stale: 0,
        next_welcome: 1,
        group_info: create.group_info.clone(),
        reports: Vec::new(),
        barred: Vec::new(),
        ephemeral: Vec::new(),
        nominates: true,
        nominated: Vec::new(),
        active: Vec::new(),
        leaving: Vec::new(),
        since: 0,
        told: Vec::new(),
        takes_reports: true,
        shown: HashMap::new(),
    };
    room.readers.insert(creator.clone(), (0, None));
    let sender = (&creator.account, Some(creator.device));
    let accepted = room.append(EntryKind::Notice, 0, sender, &create.group_info, now);
    let answer = Answer::Accepted(accepted);
    room.answers
        .insert((creator, create.key), Ok(answer.clone()));
    (room, answer)
}

impl Room {
    fn head(&self) -> Hash {
        self.log.last().map_or(room::GENESIS, |entry| entry.head)
    }

    fn epoch(&self) -> u64 {
        self.group.group_context().epoch
    }

    fn append(
        &mut self,
        kind: EntryKind,
        epoch: u64,
        (sender, device): (&BareJid, Option<Uuid>),
        payload: &Bytes,
        now: u64,
    ) -> Accepted {
        let mut entry = Entry {
            room: self.address.clone(),
            seq: self.log.len() as u64 + 1,
            kind,
            epoch,
            time: now,
            sender: sender.clone(),
            device,
            payload: Payload::Held(payload.clone()),
            head: [0; 32],
            signature: None,
            changes: Vec::new(),
        };
        entry.head = entry.computed_head(&self.head());
        if kind == EntryKind::Commit {
            entry.signature = Some(self.sign_head(&entry));
        }
        let accepted = Accepted {
            seq: entry.seq,
            epoch: self.epoch(),
            time: now,
            head: entry.head,
        };
        self.show(&entry);
        self.log.push(entry);
        accepted
    }

    pub fn sign_head(&self, entry: &Entry) -> Bytes {
        let seq = entry.seq.to_be_bytes();
        let parts = [self.address.as_str().as_bytes(), &seq, &entry.head];
        let content = signed::content(signed::HEAD, &parts);
        self.key.sign(&content).unwrap().into()
    }

    /// The same key gives the same answer.
    pub fn answer(
        &mut self,
        from: &Member,
        request: room::Request,
        now: u64,
    ) -> Result<Answer, Refusal> {
        let answer = self.true_answer(from, request, now);
        self.as_shown(from, answer)
    }

    fn true_answer(
        &mut self,
        from: &Member,
        request: room::Request,
        now: u64,
    ) -> Result<Answer, Refusal> {
        use room::Request;
        if request == Request::GroupInfo {
            return self.group_info(from);
        }
        if let Request::Ephemeral { epoch, message } = request {
            return self.relay(from, epoch, message);
        }
        if request == Request::Head {
            return self.head_of(from);
        }
        if let Request::Report { seq, hash, .. } = request {
            return self.report(from, seq, hash, now);
        }
        if let Request::ReportMessage(report) = request {
            return self.report_message(*report);
        }
        let key = match &request {
            Request::Create(create) => create.key,
            Request::Commit(bundle) => bundle.key,
            Request::Propose { key, .. } | Request::Send { key, .. } => *key,
            other => panic!("not played: {other:?}"),
        };
        let known = (from.clone(), key);
        if let Some(answer) = self.answers.get(&known) {
            return answer.clone();
        }
        if !self.members().contains(from) {
            return Err(Refusal::NoRoom);
        }
        let answer = match request {
            Request::Create(_) => Err(Refusal::RoomExists),
            Request::Commit(bundle) => self.commit(from, &bundle, now),
            Request::Propose { proposal, .. } => self.propose(from, &proposal, now),
            Request::Send { epoch, message, .. } => self.send(from, epoch, &message, now),
            _ => unreachable!(),
        };
        self.answers.insert(known, answer.clone());
        answer
    }

    fn head_of(&self, from: &Member) -> Result<Answer, Refusal> {
        if !self.members().contains(from) {
            return Err(Refusal::NoRoom);
        }
        let log = self.log_of(from);
        Ok(Answer::Head(room::Head {
            group_id: self.group.group_context().group_id.clone().into(),
            epoch: self.epoch(),
            seq: log.len() as u64,
            head: log.last().map_or(room::GENESIS, |entry| entry.head),
        }))
    }

    fn report_message(&mut self, report: MessageReport) -> Result<Answer, Refusal> {
        if !self.takes_reports {
            return Err(Refusal::LimitReached {
                limit: "none".to_owned(),
            });
        }
        self.told.push(report);
        Ok(Answer::Reported)
    }

    /// What stands beside a message.
    pub fn tag(&self, seq: u64) -> Option<[u8; 32]> {
        let entry = &self.log[usize::try_from(seq - 1).unwrap()];
        let Payload::Held(payload) = &entry.payload else {
            return None;
        };
        // RFC 9420 §6.3: version, wire format, group_id, epoch, content type, authenticated_data.
        let group_id = usize::from(payload[4]);
        let rest = &payload[5 + group_id + 8 + 1..];
        let data = &rest[1..=usize::from(rest[0])];
        AuthenticatedData::from_bytes(data).unwrap().franking
    }

    fn group_info(&self, from: &Member) -> Result<Answer, Refusal> {
        if !self.members().contains(from) {
            return Err(Refusal::NoRoom);
        }
        let newest = self.log.iter().rev().find(|e| e.kind == EntryKind::Commit);
        if self
            .barred
            .iter()
            .any(|(_, seq)| newest.is_some_and(|e| e.seq == *seq))
        {
            return Err(Refusal::RateLimited { retry_after_s: 1 });
        }
        let payload = |seq: &u64| match &self.log[usize::try_from(*seq - 1).unwrap()].payload {
            Payload::Held(payload) => payload.clone(),
            Payload::Purged(_) => panic!("purged"),
        };
        Ok(Answer::GroupInfo {
            group_info: self.group_info.clone(),
            tree: Tree::pack(self.group.export_tree().unwrap()),
            epoch: self.epoch(),
            seq: self.log_of(from).len() as u64,
            proposals: self.pending.iter().map(payload).collect(),
        })
    }

    /// Of one alone it changes nothing; who came by itself is not to blame.
    fn report(&mut self, from: &Member, seq: u64, hash: Hash, now: u64) -> Result<Answer, Refusal> {
        let entry = &self.log_of(from)[usize::try_from(seq - 1).unwrap()];
        assert_eq!(
            (entry.kind, entry.payload.hash()),
            (EntryKind::Commit, hash)
        );
        let Payload::Held(payload) = &entry.payload else {
            panic!("purged")
        };
        // RFC 9420 §6: of a PublicMessage, after group_id and epoch; 4: new_member_commit.
        let external = payload[4 + 1 + usize::from(payload[4]) + 8] == 4;
        let committer = Member {
            account: entry.sender.clone(),
            device: entry.device.unwrap(),
        };
        if !self.reports.contains(&(from.clone(), seq)) {
            self.reports.push((from.clone(), seq));
        }
        let of_it = self.reports.iter().filter(|(_, of)| *of == seq);
        let accounts: std::collections::BTreeSet<_> = of_it.map(|(by, _)| &by.account).collect();
        let known = self.barred.iter().any(|(who, _)| *who == committer);
        if accounts.len() > 1 && !external && !known {
            let notice = room::Notice::Barred(room::Barred::new(&committer, seq));
            self.barred.push((committer, seq));
            let hub = BareJid::parse(self.address.domain()).unwrap();
            let epoch = self.epoch();
            let payload = notice.to_bytes().into();
            self.append(EntryKind::Notice, epoch, (&hub, None), &payload, now);
        }
        Ok(Answer::Reported)
    }

    fn stale(&mut self) -> Refusal {
        self.stale += 1;
        let newest = self.log.iter().rev().find(|e| e.kind == EntryKind::Commit);
        Refusal::StaleEpoch {
            epoch: self.epoch(),
            seq: newest.map_or(1, |entry| entry.seq),
        }
    }

    fn send(
        &mut self,
        from: &Member,
        epoch: u64,
        message: &Bytes,
        now: u64,
    ) -> Result<Answer, Refusal> {
        if epoch != self.epoch() {
            return Err(self.stale());
        }
        let accepted = self.append(EntryKind::Application, epoch, by(from), message, now);
        Ok(Answer::Accepted(accepted))
    }

    fn relay(&mut self, from: &Member, epoch: u64, message: Bytes) -> Result<Answer, Refusal> {
        if epoch != self.epoch() {
            return Err(self.stale());
        }
        self.ephemeral.push(room::Ephemeral {
            room: self.address.clone(),
            epoch,
            sender: from.account.clone(),
            device: from.device,
            message,
        });
        Ok(Answer::Relayed)
    }

    fn propose(&mut self, from: &Member, proposal: &Bytes, now: u64) -> Result<Answer, Refusal> {
        let message = MlsMessage::from_bytes(proposal).unwrap();
        if message.epoch() != Some(self.epoch()) {
            return Err(self.stale());
        }
        let invalid = |e: mls_rs::error::MlsError| Refusal::InvalidMessage { why: e.to_string() };
        self.group
            .process_incoming_message(message)
            .map_err(invalid)?;
        let accepted = self.append(EntryKind::Proposal, self.epoch(), by(from), proposal, now);
        self.wait_for(accepted.seq, from, now);
        Ok(Answer::Accepted(accepted))
    }

    fn commit(&mut self, from: &Member, bundle: &Bundle, now: u64) -> Result<Answer, Refusal> {
        if bundle.epoch != self.epoch() {
            return Err(self.stale());
        }
        if self.barred.iter().any(|(who, _)| who == from) {
            return Err(Refusal::NotAllowed {
                rule: "barred".to_owned(),
            });
        }
        let message = MlsMessage::from_bytes(&bundle.commit).unwrap();
        if message.proposals_by_reference().len() < self.pending.len() {
            return Err(Refusal::MissingProposals {
                seqs: self.pending.clone(),
            });
        }
        let before = self.members();
        let mut next = self.group.clone();
        match next.process_incoming_message(message) {
            Ok(ExternalReceivedMessage::Commit(_)) => {}
            Ok(_) => panic!("no commit"),
            Err(error) => {
                return Err(Refusal::InvalidCommit {
                    why: error.to_string(),
                });
            }
        }
        let info = MlsMessage::from_bytes(&bundle.group_info).unwrap();
        let info = info.into_group_info().unwrap();
        assert_eq!(info.group_context().epoch, bundle.epoch + 1);
        assert_eq!(info.group_context(), next.group_context());
        self.group = next;
        self.group_info = bundle.group_info.clone();
        self.pending.clear();
        self.nominated.clear();
        self.leaving.clear();
        self.commits += 1;
        let accepted = self.append(
            EntryKind::Commit,
            bundle.epoch,
            by(from),
            &bundle.commit,
            now,
        );
        let after = self.members();
        for gone in before.iter().filter(|m| !after.contains(m)) {
            if let Some(reader) = self.readers.get_mut(gone) {
                reader.1 = Some(accepted.seq);
            }
        }
        let tree = Tree::pack(self.group.export_tree().unwrap());
        for new in after.iter().filter(|m| !before.contains(m)) {
            self.readers.insert(new.clone(), (accepted.seq, None));
            let joiner = bundle
                .joiners
                .iter()
                .find(|j| j.account == new.account && j.device == new.device);
            let welcome = Welcome {
                id: Uuid::from_u128(self.next_welcome),
                room: self.address.clone(),
                seq: accepted.seq,
                head: accepted.head,
                epoch: accepted.epoch,
                sender: from.account.clone(),
                joiners: joiner.cloned().into_iter().collect(),
                welcome: bundle.welcome.clone().unwrap(),
                tree: tree.clone(),
            };
            self.next_welcome += 1;
            self.welcomes.push((new.clone(), welcome));
        }
        Ok(Answer::Accepted(accepted))
    }

    /// Of the certificate of a member's leaf.
    pub fn serial(&self, member: &Member) -> Vec<u8> {
        self.leaf(member).1.serial
    }

    /// When the certificate of a member's leaf ends, in seconds since 1970.
    pub fn not_after(&self, member: &Member) -> u64 {
        self.leaf(member).1.not_after
    }

    fn leaf(&self, member: &Member) -> (u32, Leaf) {
        let read = |one: mls_rs::group::Member| {
            let der = certificate(&one.signing_identity.credential).unwrap();
            (one.index, Leaf::read(der).unwrap())
        };
        let mut leaves = self.group.roster().members_iter().map(read);
        let meant = |(_, leaf): &(u32, Leaf)| {
            leaf.account == member.account && leaf.device == Some(member.device)
        };
        leaves.find(meant).unwrap()
    }

    /// The hub proposes a removal, and says this beside it.
    pub fn remove(&mut self, member: &Member, data: Vec<u8>, now: u64) {
        let leaf = self.leaf(member).0;
        let proposal = self.group.propose_remove(leaf, data).unwrap();
        let payload = proposal.to_bytes().unwrap().into();
        let hub = BareJid::parse(self.address.domain()).unwrap();
        let epoch = self.epoch();
        let accepted = self.append(EntryKind::Proposal, epoch, (&hub, None), &payload, now);
        self.wait_for(accepted.seq, member, now);
    }

    fn wait_for(&mut self, seq: u64, leaving: &Member, now: u64) {
        if self.pending.is_empty() {
            self.since = now;
        }
        self.pending.push(seq);
        self.leaving.push(leaving.clone());
    }

    /// A device has acknowledged something.
    pub fn seen(&mut self, member: &Member) {
        self.active.retain(|other| other != member);
        self.active.push(member.clone());
    }

    /// When somebody is to be asked to commit what is pending.
    pub fn nominates_at(&self) -> Option<u64> {
        let waits = self.nominates && !self.pending.is_empty() && self.candidate().is_some();
        let at = match self.nominated.last() {
            None => self.since + 2_000,
            Some((_, at)) => at + 30_000,
        };
        waits.then_some(at)
    }

    fn candidate(&self) -> Option<Member> {
        let mut members = self.members();
        members.retain(|m| !self.leaving.contains(m));
        members.retain(|m| !self.nominated.iter().any(|(asked, _)| asked == m));
        let there = |m: &Member| self.active.iter().position(|other| other == m);
        members.into_iter().max_by_key(there)
    }

    /// Asks the next one, if it is time to.
    pub fn nominate(&mut self, now: u64) {
        if self.nominates_at().is_some_and(|at| at <= now)
            && let Some(member) = self.candidate()
        {
            self.ask_to_commit(&member, now);
        }
    }

    pub fn ask_to_commit(&mut self, member: &Member, now: u64) {
        let notice = room::Notice::Nominated(room::Nominated::new(member));
        self.nominated.push((member.clone(), now));
        let hub = BareJid::parse(self.address.domain()).unwrap();
        let (epoch, payload) = (self.epoch(), notice.to_bytes().into());
        self.append(EntryKind::Notice, epoch, (&hub, None), &payload, now);
    }

    pub fn members(&self) -> Vec<Member> {
        self.group
            .roster()
            .members_iter()
            .map(|member| {
                let leaf =
                    Leaf::read(certificate(&member.signing_identity.credential).unwrap()).unwrap();
                Member {
                    account: leaf.account,
                    device: leaf.device.unwrap(),
                }
            })
            .collect()
    }

    /// What a device may read after `after`.
    pub fn readable(&self, member: &Member, after: u64) -> Vec<Entry> {
        let Some((from, until)) = self.readers.get(member) else {
            return Vec::new();
        };
        let wanted = |entry: &&Entry| {
            entry.seq > after.max(*from) && until.is_none_or(|until| entry.seq <= until)
        };
        self.log_of(member).iter().filter(wanted).cloned().collect()
    }

    pub fn reads(&self, member: &Member) -> bool {
        self.readers.contains_key(member)
    }

    /// How a device stands to this room.
    pub fn standing(&self, member: &Member) -> Option<Standing> {
        let (since, until) = *self.readers.get(member)?;
        let last = self.log_of(member).len() as u64;
        Some(Standing {
            room: self.address.clone(),
            seq: until.map_or(last, |until| until.min(last)),
            since,
            stored: self.stored.get(member).copied().unwrap_or(since),
        })
    }

    /// A device has stored everything up to `seq`: who has left and has all is forgotten.
    pub fn stored(&mut self, member: &Member, seq: u64) {
        let Some((since, until)) = self.readers.get(member).copied() else {
            return;
        };
        let known = self.stored.entry(member.clone()).or_insert(since);
        *known = seq.max(*known);
        if until.is_some_and(|until| until <= seq) {
            self.readers.remove(member);
            self.stored.remove(member);
        }
    }
}

fn by(member: &Member) -> (&BareJid, Option<Uuid>) {
    (&member.account, Some(member.device))
}
