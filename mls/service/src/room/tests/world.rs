//! Devices that are mls-rs clients, and servers without sockets.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::crl::Revoked;
use comity_mls_credential::endorsement;
use comity_mls_credential::issue::{self, Issuer, Validity};
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::leaf::{IssuerId, Issuers, Leaf};
use comity_mls_credential::provider::{Provider, certificate};
use comity_mls_wire::authenticated::Endorsement;
use comity_mls_wire::policy::{EXTENSION_TYPE, Policy, required_capabilities};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{
    Accepted, Answer, Bundle, Create, Fanout, IdempotencyKey, Info, Joiner, Member, Request,
    Stamped,
};
use comity_storage::Storage;
use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use mls_rs::client_builder::PaddingMode;
use mls_rs::client_builder::{BaseConfig, WithCryptoProvider, WithIdentityProvider, WithMlsRules};
use mls_rs::extension::built_in::{ExternalSendersExt, RequiredCapabilitiesExt};
use mls_rs::group::{CommitOutput, ExportedTree};
use mls_rs::identity::x509::CertificateChain;
use mls_rs::identity::{Credential, SigningIdentity};
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules, EncryptionOptions};
use mls_rs::psk::ExternalPskId;
use mls_rs::{CipherSuite, Client, CryptoProvider, ExtensionList, Group};
use mls_rs_core::crypto::SignaturePublicKey;
use mls_rs_core::group::ProposalType;
use mls_rs_crypto_openssl::OpensslCryptoProvider;
use uuid::Uuid;

use crate::error::Refused;
use crate::room::{Copies, Hub, HubKey, Limits, Outcome, Pool, Reply, Surroundings};

pub(super) const SUITE: CipherSuite = CipherSuite::P256_AES128;
/// Milliseconds since 1970 when the tests began: mls-rs gives leaves a lifetime by the real clock.
pub(super) static NOW: LazyLock<u64> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
});

pub(super) type Config = WithMlsRules<
    DefaultMlsRules,
    WithIdentityProvider<Provider, WithCryptoProvider<OpensslCryptoProvider, BaseConfig>>,
>;

pub(super) fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

pub(super) fn room() -> BareJid {
    jid("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example")
}

pub(super) fn key() -> IdempotencyKey {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    IdempotencyKey(Uuid::from_u128(NEXT.fetch_add(1, Ordering::Relaxed).into()))
}

fn validity() -> Validity {
    Validity {
        not_before: *NOW / 1000 - 3600,
        not_after: *NOW / 1000 + 3600 * 24 * 365,
    }
}

/// DER.
type Certificate = Arc<[u8]>;

/// The CAs of all domains, as everybody believes them; those hidden are not known yet.
#[derive(Default)]
pub(super) struct Cas {
    pub(super) issuers: Mutex<HashMap<(String, IssuerId), Certificate>>,
    pub(super) hidden: Mutex<Vec<String>>,
    /// Serial numbers of what was taken back, all by list 7.
    pub(super) revoked: Mutex<Vec<Vec<u8>>>,
}

impl Issuers for Cas {
    fn issuer(&self, domain: &str, id: &IssuerId) -> Option<Arc<[u8]>> {
        if self.hidden.lock().unwrap().iter().any(|h| h == domain) {
            return None;
        }
        let issuers = self.issuers.lock().unwrap();
        issuers.get(&(domain.to_owned(), *id)).cloned()
    }

    fn revoked(&self, _issuer: &IssuerId, serial: &[u8]) -> Option<Revoked> {
        let revoked = self.revoked.lock().unwrap();
        revoked.iter().any(|one| one == serial).then_some(Revoked {
            crl_number: 7,
            at: *NOW / 1000,
        })
    }
}

/// Works where it stands.
pub(super) struct Inline;

impl Pool for Inline {
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Some(work())
    }
}

/// What a domain's server is to its hub. Stanzas are kept here; the outbox holds their number.
pub(super) struct Around {
    domain: String,
    key: Arc<HubKey>,
    pub(super) stanzas: Mutex<Vec<Fanout>>,
}

impl Surroundings for Around {
    fn serves(&self, domain: &str) -> bool {
        self.domain == domain
    }

    fn hub_key(&self, domain: &str) -> Option<Arc<HubKey>> {
        self.serves(domain).then(|| Arc::clone(&self.key))
    }

    fn stanza(&self, _room: &BareJid, _domain: &str, fanout: &Fanout) -> Vec<u8> {
        let mut stanzas = self.stanzas.lock().unwrap();
        stanzas.push(fanout.clone());
        (stanzas.len() - 1).to_be_bytes().to_vec()
    }
}

pub(super) struct Domain {
    pub(super) name: String,
    pub(super) around: Arc<Around>,
    pub(super) storage: Storage,
    pub(super) hub: Hub<Inline>,
    pub(super) copies: Copies,
    issuer: Issuer,
}

/// What one who comes by itself is given.
#[derive(Clone)]
pub(super) struct Outside {
    pub(super) group_info: Bytes,
    pub(super) tree: Bytes,
    pub(super) epoch: u64,
    pub(super) proposals: Vec<Bytes>,
}

pub(super) struct World {
    pub(super) cas: Arc<Cas>,
    pub(super) a: Domain,
    pub(super) b: Domain,
}

impl World {
    pub(super) async fn new() -> Self {
        let cas = Arc::new(Cas::default());
        let a = Domain::new("a.example", &cas).await;
        let b = Domain::new("b.example", &cas).await;
        Self { cas, a, b }
    }

    pub(super) fn device(&self, account: &str, device: u128) -> Device {
        let account = jid(account);
        let domain = match account.domain() {
            "a.example" => &self.a,
            _ => &self.b,
        };
        let member = Member {
            account,
            device: Uuid::from_u128(device),
        };
        Device::new(member, domain, &self.cas)
    }

    /// A device of b that is no client of the extension.
    pub(super) fn device_without_policy(&self, account: &str, device: u128) -> Device {
        let member = Member {
            account: jid(account),
            device: Uuid::from_u128(device),
        };
        Device::with_extensions(member, &self.b, &self.cas, &[])
    }

    /// A device that b's CA vouches for, in the name of an account of another domain.
    pub(super) fn forged(&self, account: &str, device: u128) -> Device {
        let member = Member {
            account: jid(account),
            device: Uuid::from_u128(device),
        };
        Device::new(member, &self.b, &self.cas)
    }

    /// Alice's room with her one device in it.
    pub(super) async fn room(&self) -> Device {
        let mut alice = self.device("alice@a.example", 1);
        let create = alice.create(&self.a, &Policy::of_creator(&alice.member.account));
        self.ask(&alice, Request::Create(create)).await.unwrap();
        alice
    }

    /// Asks domain a's hub.
    pub(super) async fn ask(&self, device: &Device, request: Request) -> Result<Reply, Refusal> {
        self.a
            .hub
            .request(
                &room(),
                &device.member.account,
                Stamped {
                    device: Some(device.member.device),
                    request,
                },
                *NOW,
            )
            .await
            .map_err(Refused::refusal)
    }

    pub(super) async fn accept(&self, device: &Device, request: Request) -> Accepted {
        let accepted = match self.ask(device, request).await.unwrap().answer {
            Answer::Accepted(accepted) => accepted,
            other => panic!("{other:?}"),
        };
        self.stands_after_a_restart(device).await;
        accepted
    }

    /// A hub that knows only what is stored has the room as the one that was there has it.
    pub(super) async fn stands_after_a_restart(&self, device: &Device) {
        let restarted = self.a.restarted(&self.cas);
        let mut told = Vec::new();
        for hub in [&self.a.hub, &restarted] {
            for request in [Request::Info, Request::GroupInfo] {
                let stamped = Stamped {
                    device: Some(device.member.device),
                    request,
                };
                let (room, account) = (room(), &device.member.account);
                let asked = hub.request(&room, account, stamped, *NOW).await;
                told.push(asked.map(|reply| reply.answer).map_err(Refused::refusal));
            }
        }
        assert_eq!(told[..2], told[2..]);
    }

    pub(super) async fn refuse(&self, device: &Device, request: Request) -> Refusal {
        let before = self.facts().await;
        let refusal = self.ask(device, request).await.unwrap_err();
        assert_eq!(self.facts().await, before, "{refusal:?}");
        refusal
    }

    /// All that a refusal must leave alone.
    pub(super) async fn facts(&self) -> String {
        let storage = &self.a.storage;
        let row = storage.room(room().as_str()).await.unwrap();
        let entries = storage
            .room_entries(room().as_str(), 0, u64::MAX, 1000, usize::MAX)
            .await
            .unwrap();
        let outbox = storage.outbox_length("b.example").await.unwrap();
        format!("{row:?} {entries:?} {outbox}")
    }

    pub(super) async fn info(&self, device: &Device) -> Info {
        match self.ask(device, Request::Info).await.unwrap().answer {
            Answer::Info(info) => info,
            other => panic!("{other:?}"),
        }
    }

    /// Lets a device commit, waits for the hub, applies it.
    pub(super) async fn commit(&self, by: &mut Device, bundle: Bundle) -> Accepted {
        let accepted = self.accept(by, Request::Commit(bundle)).await;
        by.group().apply_pending_commit().unwrap();
        accepted
    }

    /// Lets a device come by itself.
    pub(super) async fn commit_external(&self, by: &Device, bundle: Bundle) -> Accepted {
        self.accept(by, Request::Commit(bundle)).await
    }

    /// What waits in a's outbox for b, from row `after` on: row id and stanza.
    pub(super) async fn outbox(&self, after: i64) -> Vec<(i64, Fanout)> {
        let rows = self.a.storage.outbox("b.example", after, 1000).await;
        let stanzas = self.a.around.stanzas.lock().unwrap();
        rows.unwrap()
            .into_iter()
            .map(|row| {
                let number: [u8; 8] = row.stanza.try_into().unwrap();
                (row.id, stanzas[usize::from_be_bytes(number)].clone())
            })
            .collect()
    }

    /// Hands everything in a's outbox to b.
    pub(super) async fn carry(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (_, fanout) in self.outbox(0).await {
            outcomes.push(self.b.receive(&fanout).await);
        }
        outcomes
    }
}

impl Domain {
    async fn new(name: &str, cas: &Arc<Cas>) -> Self {
        Self::of(name, cas, Algorithm::P256).await
    }

    /// Whose hub's key is of that algorithm.
    pub(super) async fn of(name: &str, cas: &Arc<Cas>, algorithm: Algorithm) -> Self {
        let root_key = PrivateKey::generate(Algorithm::P256).unwrap();
        let root = issue::root(name, root_key, validity()).unwrap();
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        let certificate = issue::issuing(name, &key.public().unwrap(), &root, validity()).unwrap();
        let id = issuer_id(&key.public().unwrap()).unwrap();
        cas.issuers
            .lock()
            .unwrap()
            .insert((name.to_owned(), id), Arc::from(certificate.clone()));
        let issuer = Issuer { key, certificate };
        let hub_key = PrivateKey::generate(algorithm).unwrap();
        let public = hub_key.public().unwrap();
        let certificate = issue::leaf(&jid(name), None, &public, &issuer, validity()).unwrap();
        let around = Arc::new(Around {
            domain: name.to_owned(),
            key: Arc::new(HubKey {
                certificate: certificate.into(),
                public_key: Bytes::copy_from_slice(public.as_mls()),
                key: hub_key,
                suites: vec![match algorithm {
                    Algorithm::P256 => 2,
                    Algorithm::Ed25519 => 1,
                }],
            }),
            stanzas: Mutex::default(),
        });
        let storage = Storage::open(Path::new(":memory:")).await.unwrap();
        let issuers: Arc<dyn Issuers> = Arc::clone(cas) as _;
        let surroundings: Arc<dyn Surroundings> = Arc::clone(&around) as _;
        let hub = Hub::new(
            storage.clone(),
            Provider::new(issuers),
            Arc::clone(&surroundings),
            Limits::default(),
            Inline,
        );
        Self {
            name: name.to_owned(),
            around,
            copies: Copies::new(storage.clone(), surroundings),
            storage,
            hub,
            issuer,
        }
    }

    pub(super) async fn receive(&self, fanout: &Fanout) -> Outcome {
        let outcome = self.copies.receive(&room(), &self.name, fanout, *NOW).await;
        outcome.unwrap()
    }

    /// A hub that knows only what is stored: as after a restart.
    pub(super) fn restarted(&self, cas: &Arc<Cas>) -> Hub<Inline> {
        let issuers: Arc<dyn Issuers> = Arc::clone(cas) as _;
        Hub::new(
            self.storage.clone(),
            Provider::new(issuers),
            Arc::clone(&self.around) as _,
            Limits::default(),
            Inline,
        )
    }

    pub(super) fn key(&self) -> &HubKey {
        &self.around.key
    }

    fn identity(&self, member: &Member) -> (SigningIdentity, PrivateKey) {
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        let public = key.public().unwrap();
        let certificate = issue::leaf(
            &member.account,
            Some(member.device),
            &public,
            &self.issuer,
            validity(),
        )
        .unwrap();
        let credential = Credential::X509(CertificateChain::from(vec![certificate]));
        (SigningIdentity::new(credential, public.to_mls()), key)
    }
}

pub(super) struct Device {
    pub(super) member: Member,
    /// What its leaf signs with.
    pub(super) key: PrivateKey,
    pub(super) client: Client<Config>,
    pub(super) group: Option<Group<Config>>,
}

impl Device {
    fn new(member: Member, domain: &Domain, cas: &Arc<Cas>) -> Self {
        Self::with_extensions(member, domain, cas, &[EXTENSION_TYPE])
    }

    fn with_extensions(
        member: Member,
        domain: &Domain,
        cas: &Arc<Cas>,
        extensions: &[u16],
    ) -> Self {
        let issuers: Arc<dyn Issuers> = Arc::clone(cas) as _;
        let (identity, key) = domain.identity(&member);
        let crypto = OpensslCryptoProvider::with_enabled_cipher_suites(vec![SUITE]);
        let secret = crypto
            .cipher_suite_provider(SUITE)
            .unwrap()
            .import_der_private_signing_key(&key.to_pkcs8().unwrap())
            .unwrap();
        let rules = DefaultMlsRules::new()
            .with_commit_options(
                CommitOptions::new()
                    .with_ratchet_tree_extension(false)
                    .with_allow_external_commit(true),
            )
            .with_encryption_options(EncryptionOptions::new(false, PaddingMode::None));
        let client = Client::builder()
            .crypto_provider(crypto)
            .identity_provider(Provider::new(issuers))
            .mls_rules(rules)
            .custom_proposal_type(ProposalType::SELF_REMOVE)
            .extension_types(extensions.iter().map(|number| (*number).into()))
            .signing_identity(identity, secret, SUITE)
            .build();
        Self {
            member,
            key,
            client,
            group: None,
        }
    }

    pub(super) fn group(&mut self) -> &mut Group<Config> {
        self.group.as_mut().unwrap()
    }

    /// The context of a group at that hub.
    pub(super) fn context(hub: &HubKey, policy: &Policy) -> ExtensionList {
        let mut context = ExtensionList::new();
        context.set_from(policy.clone()).unwrap();
        let chain = CertificateChain::from(vec![hub.certificate.to_vec()]);
        let sender = SigningIdentity::new(Credential::X509(chain), hub.public_key.to_vec().into());
        context
            .set_from(ExternalSendersExt::new(vec![sender]))
            .unwrap();
        context
            .set_from(RequiredCapabilitiesExt {
                extensions: required_capabilities::EXTENSIONS.map(Into::into).to_vec(),
                proposals: required_capabilities::PROPOSALS.map(Into::into).to_vec(),
                credentials: required_capabilities::CREDENTIALS.map(Into::into).to_vec(),
            })
            .unwrap();
        context
    }

    pub(super) fn create(&mut self, domain: &Domain, policy: &Policy) -> Create {
        self.create_with(Self::context(domain.key(), policy))
    }

    pub(super) fn create_with(&mut self, context: ExtensionList) -> Create {
        let group = self
            .client
            .create_group(context, ExtensionList::default(), None)
            .unwrap();
        let info = group.group_info_message_allowing_ext_commit(false).unwrap();
        let create = Create {
            key: key(),
            group_info: info.to_bytes().unwrap().into(),
            tree: group.export_tree().to_bytes().unwrap().into(),
            direct_with: None,
        };
        self.group = Some(group);
        create
    }

    pub(super) fn package(&self) -> MlsMessage {
        self.client
            .generate_key_package_message(ExtensionList::default(), ExtensionList::default(), None)
            .unwrap()
    }

    /// A commit as this device would send it, left pending.
    pub(super) fn bundle(&mut self, add: &[&Self], remove: &[u32]) -> Bundle {
        self.bundle_saying(add, remove, Vec::new())
    }

    /// With something in its authenticated data.
    pub(super) fn bundle_saying(&mut self, add: &[&Self], remove: &[u32], data: Vec<u8>) -> Bundle {
        let packages: Vec<(Member, MlsMessage)> = add
            .iter()
            .map(|device| (device.member.clone(), device.package()))
            .collect();
        let epoch = self.group.as_ref().unwrap().current_epoch();
        let output = {
            let mut builder = self.group().commit_builder().authenticated_data(data);
            for (_, package) in &packages {
                builder = builder.add_member(package.clone()).unwrap();
            }
            for leaf in remove {
                builder = builder.remove_member(*leaf).unwrap();
            }
            builder.build().unwrap()
        };
        bundle(epoch, &output, &packages)
    }

    /// A commit with these PSKs, or with one of the epoch that is.
    pub(super) fn psk_bundle(
        &mut self,
        psks: &[ExternalPskId],
        add: &[&Self],
        resumption: bool,
    ) -> Bundle {
        let packages: Vec<(Member, MlsMessage)> = add
            .iter()
            .map(|device| (device.member.clone(), device.package()))
            .collect();
        let epoch = self.group().current_epoch();
        let mut builder = self.group().commit_builder();
        for psk in psks {
            builder = builder.add_external_psk(psk.clone()).unwrap();
        }
        for (_, package) in &packages {
            builder = builder.add_member(package.clone()).unwrap();
        }
        if resumption {
            builder = builder.add_resumption_psk(epoch).unwrap();
        }
        bundle(epoch, &builder.build().unwrap(), &packages)
    }

    /// GroupInfo, tree and pending departures, as the hub gives them to this device.
    pub(super) async fn outside(&self, world: &World) -> Outside {
        match world.ask(self, Request::GroupInfo).await.unwrap().answer {
            Answer::GroupInfo {
                group_info,
                tree,
                epoch,
                proposals,
                ..
            } => Outside {
                group_info,
                tree: tree.open().unwrap(),
                epoch,
                proposals,
            },
            other => panic!("{other:?}"),
        }
    }

    /// A commit by which this device comes by itself; its group is the one after it.
    pub(super) fn external(
        &mut self,
        outside: &Outside,
        remove: Option<u32>,
        data: Vec<u8>,
    ) -> Bundle {
        let tree = ExportedTree::from_bytes(&outside.tree)
            .unwrap()
            .into_owned();
        let mut builder = self
            .client
            .external_commit_builder()
            .unwrap()
            .with_tree_data(tree)
            .with_authenticated_data(data);
        if let Some(leaf) = remove {
            builder = builder.with_removal(leaf);
        }
        for proposal in &outside.proposals {
            let message = MlsMessage::from_bytes(proposal).unwrap();
            builder = builder.with_received_custom_proposal(message);
        }
        let info = MlsMessage::from_bytes(&outside.group_info).unwrap();
        let (group, commit) = builder.build(info).unwrap();
        let group_info = group.group_info_message_allowing_ext_commit(false).unwrap();
        self.group = Some(group);
        Bundle {
            key: key(),
            epoch: outside.epoch,
            commit: commit.to_bytes().unwrap().into(),
            welcome: None,
            joiners: Vec::new(),
            group_info: group_info.to_bytes().unwrap().into(),
        }
    }

    /// An external commit with PSKs, in place of an old leaf.
    pub(super) fn external_with(
        &mut self,
        outside: &Outside,
        old: u32,
        psks: &[ExternalPskId],
    ) -> Bundle {
        let tree = ExportedTree::from_bytes(&outside.tree).unwrap();
        let builder = self.client.external_commit_builder().unwrap();
        let builder = builder.with_tree_data(tree.into_owned());
        let mut builder = builder.with_removal(old);
        for psk in psks {
            builder = builder.with_external_psk(psk.clone());
        }
        let info = MlsMessage::from_bytes(&outside.group_info).unwrap();
        let (group, commit) = builder.build(info).unwrap();
        let group_info = group.group_info_message_allowing_ext_commit(false).unwrap();
        Bundle {
            key: key(),
            epoch: outside.epoch,
            commit: commit.to_bytes().unwrap().into(),
            welcome: None,
            joiners: Vec::new(),
            group_info: group_info.to_bytes().unwrap().into(),
        }
    }

    /// What a leaf says for another device of its account.
    pub(super) fn endorse(&mut self, new: &Self, not_after: u64) -> Endorsement {
        let hash = endorsement::key_hash(new.signature_key().as_ref());
        let group_id = self.group().group_id().to_vec();
        let content = endorsement::content(&group_id, new.member.device, &hash, not_after);
        Endorsement::new(
            new.member.device,
            hash,
            not_after,
            self.member.device,
            self.key.sign(&content).unwrap(),
        )
    }

    pub(super) fn serial(&self) -> Vec<u8> {
        let identity = self.client.signing_identity().unwrap().0;
        Leaf::read(certificate(&identity.credential).unwrap())
            .unwrap()
            .serial
    }

    pub(super) fn signature_key(&self) -> SignaturePublicKey {
        self.client
            .signing_identity()
            .unwrap()
            .0
            .signature_key
            .clone()
    }

    /// A commit that changes the context.
    pub(super) fn context_bundle(&mut self, context: ExtensionList) -> Bundle {
        let epoch = self.group().current_epoch();
        let builder = self.group().commit_builder();
        let builder = builder.set_group_context_ext(context).unwrap();
        bundle(epoch, &builder.build().unwrap(), &[])
    }

    /// Whom the Welcome of a commit of that proposal serves.
    pub(super) fn joiners_of(&self, joiner: &Self, package: &MlsMessage) -> Vec<Joiner> {
        vec![joiner_of(&joiner.member, package)]
    }

    pub(super) fn leaf_of(&mut self, device: &Self) -> u32 {
        let identity = device.client.signing_identity().unwrap().0.clone();
        let member = self
            .group()
            .roster()
            .members_iter()
            .find(|member| member.signing_identity.credential == identity.credential);
        member.unwrap().index
    }

    pub(super) fn message(&mut self, text: &str) -> Request {
        let epoch = self.group().current_epoch();
        let message = self
            .group()
            .encrypt_application_message(text.as_bytes(), Vec::new())
            .unwrap();
        Request::Send {
            key: key(),
            epoch,
            message: message.to_bytes().unwrap().into(),
        }
    }

    pub(super) fn join(&mut self, welcome: &[u8], tree: &[u8]) {
        let welcome = MlsMessage::from_bytes(welcome).unwrap();
        let tree = ExportedTree::from_bytes(tree).unwrap().into_owned();
        let (group, _) = self.client.join_group(Some(tree), &welcome, None).unwrap();
        self.group = Some(group);
    }

    /// Takes in an entry's payload.
    pub(super) fn follow(&mut self, payload: &[u8]) {
        let message = MlsMessage::from_bytes(payload).unwrap();
        self.group().process_incoming_message(message).unwrap();
    }
}

fn bundle(epoch: u64, output: &CommitOutput, packages: &[(Member, MlsMessage)]) -> Bundle {
    let joiners = packages
        .iter()
        .map(|(member, package)| joiner_of(member, package))
        .collect();
    let bytes = |message: &MlsMessage| Bytes::from(message.to_bytes().unwrap());
    Bundle {
        key: key(),
        epoch,
        commit: bytes(output.commit_message()),
        welcome: output.welcome_messages().first().map(bytes),
        joiners,
        group_info: bytes(output.external_commit_group_info().unwrap()),
    }
}

fn joiner_of(member: &Member, package: &MlsMessage) -> Joiner {
    let suite = OpensslCryptoProvider::default()
        .cipher_suite_provider(SUITE)
        .unwrap();
    let reference = package.key_package_reference(&suite).unwrap().unwrap();
    Joiner {
        account: member.account.clone(),
        device: member.device,
        key_package: reference.to_vec().into(),
    }
}
