//! A member whose program keeps no rules: MLS and nothing else.

use comity_mls_credential::endorsement;
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::{Provider, certificate};
use comity_mls_credential::signed;
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_wire::authenticated::{Endorsement, SignedRequest};
use comity_mls_wire::keys::Published;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Bundle, IdempotencyKey, Joiner, Member, Request};
use comity_xmpp::jid::BareJid;
use mls_rs::client_builder::{
    BaseConfig, PaddingMode, WithCryptoProvider, WithIdentityProvider, WithMlsRules,
};
use mls_rs::group::{CommitBuilder, ExportedTree, Node, ReceivedMessage};
use mls_rs::identity::x509::CertificateChain;
use mls_rs::identity::{Credential, SigningIdentity};
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules, EncryptionOptions};
use mls_rs::psk::{ExternalPskId, PreSharedKey};
use mls_rs::time::MlsTime;
use mls_rs::{
    CipherSuiteProvider as _, Client, CryptoProvider as _, ExtensionList, Group, MlsMessage,
};
use mls_rs_codec::MlsDecode as _;
use mls_rs_core::crypto::{CipherSuite, SignatureSecretKey};
use mls_rs_core::group::ProposalType;
use mls_rs_crypto_openssl::OpensslCryptoProvider;
use uuid::Uuid;

use super::domain::Device;
use super::garble::{Garbling, Spoilt};
use super::{World, jid};

const SUITE: CipherSuite = CipherSuite::P256_AES128;

type Config = WithMlsRules<
    DefaultMlsRules,
    WithIdentityProvider<Provider, WithCryptoProvider<Garbling, BaseConfig>>,
>;

type Builder<'a> = CommitBuilder<'a, Config>;

pub struct Raw {
    pub member: Member,
    key: PrivateKey,
    client: Client<Config>,
    package: MlsMessage,
    pub group: Option<Group<Config>>,
    /// When it was made; its clock stands still.
    made_s: u64,
    /// The last entry it has taken in.
    seq: u64,
    spoilt: Spoilt,
}

impl World {
    /// A device that its AS certifies and its directory offers.
    pub fn raw(&mut self, account: &str, device: u128) -> Raw {
        let member = Member {
            account: jid(account),
            device: Uuid::from_u128(device),
        };
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        let public = key.public().unwrap();
        let now_s = self.now / 1_000;
        let provider = self.provider.clone();
        let domain = self.domains.get_mut(member.account.domain()).unwrap();
        let hashes = [openssl::sha::sha256(&public.to_spki())];
        let content = enrol_content(
            member.account.as_str(),
            member.device.as_bytes(),
            &batch_root(&hashes),
        );
        let signature = key.sign(&content).unwrap();
        domain
            .log
            .issued(&member.account, member.device, &hashes, &signature, now_s);
        let certificate = domain.certify(&member.account, member.device, &public, now_s);
        let chain = CertificateChain::from(vec![certificate.to_vec()]);
        let identity = SigningIdentity::new(Credential::X509(chain), public.to_mls());
        let spoilt = Spoilt::default();
        let crypto = Garbling::new(vec![SUITE], spoilt.clone());
        let options = CommitOptions::new()
            .with_ratchet_tree_extension(false)
            .with_allow_external_commit(true);
        let rules = DefaultMlsRules::new()
            .with_commit_options(options)
            .with_encryption_options(EncryptionOptions::new(false, PaddingMode::None));
        let client = Client::builder()
            .crypto_provider(crypto)
            .identity_provider(provider)
            .mls_rules(rules)
            .custom_proposal_type(ProposalType::SELF_REMOVE)
            .extension_types([comity_mls_wire::policy::EXTENSION_TYPE.into()])
            .signing_identity(identity, secret(&key), SUITE)
            .build();
        let none = ExtensionList::default;
        let package = client
            .generate_key_package_message(none(), none(), Some(MlsTime::from(now_s)))
            .unwrap();
        let published = Published {
            package: package.to_bytes().unwrap().into(),
            last_resort: false,
        };
        let device = Device {
            name: "test".to_owned(),
            account: member.account.clone(),
            key: public,
            packages: vec![published],
        };
        domain.devices.insert(member.device, device);
        Raw {
            member,
            key,
            client,
            package,
            group: None,
            made_s: now_s,
            seq: 0,
            spoilt,
        }
    }

    /// Gives the room's hub a request of a raw member, and everybody what came of it.
    pub fn hand_in(
        &mut self,
        raw: &mut Raw,
        room: &BareJid,
        request: Request,
    ) -> Result<room::Answer, Refusal> {
        let now = self.now;
        let hub = self.rooms.get_mut(room).unwrap();
        let answer = hub.answer(&raw.member, request, now);
        self.push();
        self.run();
        answer
    }

    /// A raw member joins by its Welcome, or reads what the log has for it.
    pub fn catch_up(&mut self, raw: &mut Raw, room: &BareJid) {
        let hub = &self.rooms[room];
        if raw.group.is_none() {
            let (_, welcome) = hub
                .welcomes
                .iter()
                .find(|(whose, _)| *whose == raw.member)
                .unwrap();
            let tree = welcome.tree.open().unwrap();
            let tree = ExportedTree::mls_decode(&mut &*tree).unwrap();
            let message = MlsMessage::from_bytes(&welcome.welcome).unwrap();
            let joined = raw.client.join_group(Some(tree), &message, None);
            raw.group = Some(joined.unwrap().0);
            raw.seq = welcome.seq;
        }
        for entry in hub.readable(&raw.member, raw.seq) {
            raw.seq = entry.seq;
            if entry.kind == room::EntryKind::Notice {
                continue;
            }
            let room::Payload::Held(payload) = &entry.payload else {
                panic!("purged")
            };
            let message = MlsMessage::from_bytes(payload).unwrap();
            let _ = raw.group().process_incoming_message(message);
        }
    }
}

fn secret(key: &PrivateKey) -> SignatureSecretKey {
    OpensslCryptoProvider::with_enabled_cipher_suites(vec![SUITE])
        .cipher_suite_provider(SUITE)
        .unwrap()
        .import_der_private_signing_key(&key.to_pkcs8().unwrap())
        .unwrap()
}

pub fn key() -> IdempotencyKey {
    IdempotencyKey(Uuid::from_bytes(rand()))
}

fn rand() -> [u8; 16] {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes
}

impl Raw {
    pub fn group(&mut self) -> &mut Group<Config> {
        self.group.as_mut().unwrap()
    }

    /// It has a pre-shared key that it was not given in any room.
    pub fn knows(&self, id: &ExternalPskId, secret: &[u8]) {
        let mut store = self.client.secret_store();
        store.insert(id.clone(), PreSharedKey::new(secret.to_vec()));
    }

    /// From now on its commits are garbage to these members, and as they should be to others.
    pub fn spoil(&mut self, victims: &[&str]) {
        let tree = self.group().export_tree();
        let keys = tree.nodes().iter().flatten().filter_map(|node| match node {
            Node::Leaf(leaf) => {
                let der = certificate(&leaf.signing_identity.credential).unwrap();
                let account = Leaf::read(der).unwrap().account;
                let meant = victims.contains(&account.as_str());
                meant.then(|| leaf.public_key.as_ref().to_vec())
            }
            Node::Parent(_) => None,
        });
        let keys = keys.collect();
        *self.spoilt.0.lock().unwrap() = keys;
    }

    /// A commit that adds these, and says that beside it.
    pub fn commit(&mut self, add: &[&Self], data: Vec<u8>) -> Request {
        let packages: Vec<_> = add.iter().map(|raw| raw.package.clone()).collect();
        let joiners = add.iter().map(|raw| raw.joiner()).collect();
        let request = self.commits(|builder| {
            let mut builder = builder.authenticated_data(data);
            for package in packages {
                builder = builder.add_member(package).unwrap();
            }
            builder
        });
        match request {
            Request::Commit(bundle) => Request::Commit(Bundle { joiners, ..bundle }),
            _ => unreachable!(),
        }
    }

    /// The commit that the builder makes of it.
    pub fn commits(&mut self, make: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Request {
        let epoch = self.group().current_epoch();
        let time = MlsTime::from(self.made_s);
        let builder = make(self.group().commit_builder().commit_time(time));
        let output = builder.build().unwrap();
        let bytes = |message: &MlsMessage| message.to_bytes().unwrap().into();
        Request::Commit(Bundle {
            key: key(),
            epoch,
            commit: bytes(output.commit_message()),
            welcome: output.welcome_messages().first().map(bytes),
            joiners: Vec::new(),
            group_info: bytes(output.external_commit_group_info().unwrap()),
        })
    }

    /// The place of an account in the tree.
    pub fn leaf_of(&mut self, account: &str) -> u32 {
        let roster = self.group().roster();
        let is_theirs = |member: &mls_rs::group::Member| {
            let der = certificate(&member.signing_identity.credential).unwrap();
            Leaf::read(der).unwrap().account.as_str() == account
        };
        roster.members_iter().find(is_theirs).unwrap().index
    }

    /// A GroupInfo with another external key in it, signed anew.
    pub fn corrupt(&self, group_info: &[u8]) -> bytes::Bytes {
        // RFC 9420 §12.4.3.1: the extension external_pub (4) with a P-256 key.
        let mark = [0, 4, 0x40, 0x43, 0x40, 0x41];
        let place = group_info.windows(6).position(|w| w == mark).unwrap() + 6;
        let suite = OpensslCryptoProvider::default()
            .cipher_suite_provider(SUITE)
            .unwrap();
        let (_, other) = suite.kem_derive(b"nobody's").unwrap();
        // The signature comes last: the length of a DER signature of P-256 takes two octets.
        let tail = |len: usize| group_info.len() - len - 2;
        let signed = (64..=72)
            .map(tail)
            .find(|at| {
                let length = u16::from_be_bytes([group_info[*at], group_info[at + 1]]) & 0x3fff;
                usize::from(length) == group_info.len() - at - 2
            })
            .unwrap();
        let mut out = group_info[..signed].to_vec();
        out[place..place + 65].copy_from_slice(other.as_ref());
        let label = b"MLS 1.0 GroupInfoTBS";
        let mut content = vec![u8::try_from(label.len()).unwrap()];
        content.extend_from_slice(label);
        let tbs = &out[4..];
        let length = u16::try_from(tbs.len()).unwrap();
        content.extend_from_slice(&(length | 0x4000).to_be_bytes());
        content.extend_from_slice(tbs);
        let signature = self.key.sign(&content).unwrap();
        let length = u16::try_from(signature.len()).unwrap();
        out.extend_from_slice(&(length | 0x4000).to_be_bytes());
        out.extend_from_slice(&signature);
        out.into()
    }

    pub fn joiner(&self) -> Joiner {
        let suite = OpensslCryptoProvider::default()
            .cipher_suite_provider(SUITE)
            .unwrap();
        let reference = self.package.key_package_reference(&suite).unwrap();
        Joiner {
            account: self.member.account.clone(),
            device: self.member.device,
            key_package: reference.unwrap().to_vec().into(),
        }
    }

    pub fn propose_add(&mut self, new: &Self, data: Vec<u8>) -> Request {
        let package = new.package.clone();
        let proposal = self.group().propose_add(package, data).unwrap();
        Request::Propose {
            key: key(),
            proposal: proposal.to_bytes().unwrap().into(),
        }
    }

    /// Its leaf vouches for another device of its account.
    pub fn endorse(&mut self, new: &Self) -> Endorsement {
        let hash = endorsement::key_hash(new.key.public().unwrap().as_mls());
        let group_id = self.group().group_id().to_vec();
        let content = endorsement::content(&group_id, new.member.device, &hash, u64::MAX);
        let signature = self.key.sign(&content).unwrap();
        Endorsement::new(
            new.member.device,
            hash,
            u64::MAX,
            self.member.device,
            signature,
        )
    }

    /// Its leaf asks the hub to remove an account.
    pub fn ask(&mut self, label: &str, account: &BareJid) -> SignedRequest {
        let time = self.made_s;
        let group_id = self.group().group_id().to_vec();
        let name = account.as_str().as_bytes();
        let content = signed::content(label, &[&group_id, name, &time.to_be_bytes()]);
        let signature = self.key.sign(&content).unwrap();
        let Member {
            account: by,
            device,
        } = &self.member;
        SignedRequest::new(account, by, *device, time, signature)
    }

    /// What an entry of the log is to a member that follows.
    pub fn follow(&mut self, payload: &[u8]) -> ReceivedMessage {
        let message = MlsMessage::from_bytes(payload).unwrap();
        self.group().process_incoming_message(message).unwrap()
    }
}
