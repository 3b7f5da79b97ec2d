//! A domain in a test: its CA, its Authentication Service, its directory of KeyPackages.

use std::collections::HashMap;

use bytes::Bytes;
use comity_mls_credential::anchors::statement::Der;
use comity_mls_credential::anchors::{Statement, TlsKey};
use comity_mls_credential::crl::{self, Crl};
use comity_mls_credential::csr;
use comity_mls_credential::issue::{self, Issuer, Validity};
use comity_mls_credential::keys::{Algorithm, PrivateKey, PublicKey};
use comity_mls_credential::signed;
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_wire::authority;
use comity_mls_wire::keys::{self, ClaimResult, Claimed, Count, Published};
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;
use mls_rs_codec::MlsEncode as _;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use uuid::Uuid;

use super::log::Log;

const DAY: u64 = 24 * 60 * 60;

pub struct Domain {
    pub name: String,
    root: Issuer,
    pub issuing: Issuer,
    tls: TlsKey,
    said: Statement,
    pub statement: Bytes,
    pub hub_key: PrivateKey,
    pub hub_certificate: Bytes,
    pub tls_root: Vec<u8>,
    /// What its CA has taken back.
    pub revoked: Vec<crl::Entry>,
    crl: Option<Crl>,
    /// It gives no lists.
    pub away: bool,
    pub devices: HashMap<Uuid, Device>,
    next_nonce: u64,
    suite: u16,
    pub log: Log,
    /// It answers those who ask for evidence.
    pub shows_log: bool,
}

pub struct Device {
    pub account: BareJid,
    pub key: PublicKey,
    pub name: String,
    pub packages: Vec<Published>,
}

/// What one session with the domain has proved.
#[derive(Default)]
pub struct Proof {
    nonce: Option<Vec<u8>>,
    pub device: Option<Uuid>,
}

fn tls(domain: &str) -> (Vec<u8>, TlsKey) {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let pkey = PKey::private_key_from_der(&key.to_pkcs8().unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", domain).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&pkey).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_unix(4_000_000_000).unwrap())
        .unwrap();
    let san = SubjectAlternativeName::new()
        .dns(domain)
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(san).unwrap();
    builder.sign(&pkey, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let chain = certificate.to_pem().unwrap();
    (
        certificate.to_der().unwrap(),
        TlsKey::from_pem(&chain, &key.to_pem().unwrap()).unwrap(),
    )
}

impl Domain {
    pub fn new(name: &str, algorithm: Algorithm, now_s: u64) -> Self {
        let validity = Validity {
            not_before: now_s - DAY,
            not_after: now_s + 3_650 * DAY,
        };
        let key = || PrivateKey::generate(Algorithm::P256).unwrap();
        let root = issue::root(name, key(), validity).unwrap();
        let issuing_key = key();
        let certificate =
            issue::issuing(name, &issuing_key.public().unwrap(), &root, validity).unwrap();
        let issuing = Issuer {
            key: issuing_key,
            certificate,
        };
        let hub_key = PrivateKey::generate(algorithm).unwrap();
        let address = BareJid::parse(name).unwrap();
        let hub_certificate = issue::leaf(
            &address,
            None,
            &hub_key.public().unwrap(),
            &issuing,
            validity,
        )
        .unwrap();
        let (tls_root, tls) = tls(name);
        let log = Log::default();
        let statement = Statement {
            version: 1,
            domain: name.to_owned(),
            sequence: 0,
            issued: now_s,
            expires: now_s + 7 * DAY,
            predecessor: None,
            root: Der(root.certificate.clone()),
            issuing: vec![Der(issuing.certificate.clone())],
            handovers: Vec::new(),
            log_head: Some(Der(log.head(name, &issuing).to_vec())),
        };
        let signed = statement.sign(&root.key, &tls).unwrap().into();
        Self {
            root,
            tls,
            said: statement,
            name: name.to_owned(),
            issuing,
            statement: signed,
            hub_key,
            hub_certificate: hub_certificate.into(),
            tls_root,
            revoked: Vec::new(),
            crl: None,
            away: false,
            devices: HashMap::new(),
            next_nonce: 0,
            log,
            shows_log: true,
            suite: match algorithm {
                Algorithm::P256 => 2,
                Algorithm::Ed25519 => 1,
            },
        }
    }

    /// The same key issues below its root too: said with the next statement.
    pub fn has_issuing(&mut self, key: &PublicKey, validity: Validity) -> Vec<u8> {
        let certificate = issue::issuing(&self.name, key, &self.root, validity).unwrap();
        self.said.issuing.push(Der(certificate.clone()));
        certificate
    }

    /// A domain renews its statement every day.
    pub fn renew(&mut self, now_s: u64) {
        if self.said.issued + DAY > now_s {
            return;
        }
        let before = self.said.mls_encode_to_vec().unwrap();
        self.said.predecessor = Some(openssl::sha::sha256(&before));
        self.said.sequence += 1;
        self.said.issued = now_s;
        self.said.log_head = Some(Der(self.head().to_vec()));
        self.said.expires = now_s + 7 * DAY;
        let signed = self.said.sign(&self.root.key, &self.tls).unwrap();
        self.statement = signed.into();
    }

    /// Its revocation list, signed anew when something is revoked and every hour.
    pub fn crl(&mut self, now_s: u64) -> Crl {
        let number = self
            .crl
            .as_ref()
            .map_or(0, |crl| crl.number() + 1)
            .max(now_s);
        let current = self
            .crl
            .take()
            .filter(|crl| !crl.aged(now_s) && crl.entries().len() == self.revoked.len());
        let crl = current.unwrap_or_else(|| {
            let until = now_s + crl::LIFETIME_S;
            let der = crl::make(&self.issuing, number, now_s, until, &self.revoked).unwrap();
            Crl::read(&der).unwrap()
        });
        self.crl = Some(crl.clone());
        crl
    }

    pub fn authority(
        &mut self,
        account: &BareJid,
        proof: &mut Proof,
        request: authority::Request,
        now_s: u64,
    ) -> Result<authority::Answer, Refusal> {
        use authority::{Answer, Request};
        let name = account.as_str().as_bytes();
        match request {
            Request::Challenge => {
                self.next_nonce += 1;
                let nonce = self.next_nonce.to_be_bytes().to_vec();
                proof.nonce = Some(nonce.clone());
                Ok(Answer::Challenge {
                    nonce: nonce.into(),
                })
            }
            Request::Register {
                device_key,
                signature,
                name,
            } => self.register(account, proof, &device_key, &signature, name),
            Request::Prove {
                device, signature, ..
            } => {
                let nonce = proof.nonce.take().ok_or(Refusal::BadSignature)?;
                let content =
                    signed::content(signed::PROVE, &[&nonce, name, device.as_bytes(), b""]);
                let known = self.devices.get(&device).ok_or(Refusal::UnknownDevice)?;
                if known.account != *account || !known.key.verifies(&content, &signature) {
                    return Err(Refusal::BadSignature);
                }
                proof.device = Some(device);
                Ok(Answer::Proved)
            }
            Request::Enrol {
                device,
                requests,
                signature,
            } => {
                if proof.device != Some(device) {
                    return Err(Refusal::NoDevice);
                }
                let keys: Vec<_> = requests
                    .iter()
                    .map(|request| csr::read(request, account, device).unwrap())
                    .collect();
                let hashes: Vec<_> = keys
                    .iter()
                    .map(|key| openssl::sha::sha256(&key.to_spki()))
                    .collect();
                let root = batch_root(&hashes);
                let content = enrol_content(account.as_str(), device.as_bytes(), &root);
                if !self.devices[&device].key.verifies(&content, &signature) {
                    return Err(Refusal::BadSignature);
                }
                self.log.issued(account, device, &hashes, &signature, now_s);
                let certificates = keys
                    .iter()
                    .map(|key| self.certify(account, device, key, now_s))
                    .collect();
                Ok(Answer::Certificates(certificates))
            }
            Request::Devices => Ok(Answer::Devices(self.named(account))),
            Request::LogEntries { from } => Ok(self.log.entries(account, from, self.head())),
            Request::Anchors { .. } => unreachable!("answered by the world"),
            other => panic!("not played: {other:?}"),
        }
    }

    /// The account's devices as its clients are told.
    pub fn named(&self, account: &BareJid) -> Vec<authority::Device> {
        let own = self.devices.iter().filter(|(_, d)| d.account == *account);
        own.map(|(id, device)| authority::Device {
            id: *id,
            name: device.name.clone(),
            device_key: device.key.to_spki().into(),
            registered: 1_767_225_600,
            revoked: None,
        })
        .collect()
    }

    /// The head of the log as it is now.
    pub fn head(&self) -> Bytes {
        self.log.head(&self.name, &self.issuing)
    }

    pub fn consistency(&self, first: u64, second: u64) -> Result<authority::Answer, Refusal> {
        if first > second || second > self.log.len() as u64 {
            return Err(Refusal::BadRequest {
                why: "the log is shorter".to_owned(),
            });
        }
        Ok(self.log.consistency(first, second))
    }

    fn register(
        &mut self,
        account: &BareJid,
        proof: &mut Proof,
        device_key: &[u8],
        signature: &[u8],
        called: String,
    ) -> Result<authority::Answer, Refusal> {
        let nonce = proof.nonce.take().ok_or(Refusal::BadSignature)?;
        let key = PublicKey::from_spki(device_key).unwrap();
        let name = account.as_str().as_bytes();
        let content = signed::content(signed::REGISTER, &[&nonce, name, device_key]);
        if !key.verifies(&content, signature) {
            return Err(Refusal::BadSignature);
        }
        let known = self.devices.iter().find(|(_, device)| device.key == key);
        if let Some((id, _)) = known {
            return Ok(authority::Answer::Registered { device: *id });
        }
        let id = Uuid::from_u128(self.devices.len() as u128 + 1);
        let device = Device {
            account: account.clone(),
            key,
            name: called,
            packages: Vec::new(),
        };
        self.devices.insert(id, device);
        Ok(authority::Answer::Registered { device: id })
    }

    pub fn certify(&self, account: &BareJid, device: Uuid, key: &PublicKey, now_s: u64) -> Bytes {
        let validity = Validity {
            not_before: now_s - 60,
            not_after: now_s + 120 * DAY,
        };
        issue::leaf(account, Some(device), key, &self.issuing, validity)
            .unwrap()
            .into()
    }

    pub fn publish(
        &mut self,
        account: &BareJid,
        request: keys::Request,
    ) -> Result<keys::Answer, Refusal> {
        match request {
            keys::Request::Publish {
                device,
                replace,
                packages,
                signature,
            } => {
                let marks: Vec<[u8; 1]> =
                    packages.iter().map(|p| [u8::from(p.last_resort)]).collect();
                let mut parts: Vec<&[u8]> = vec![account.as_str().as_bytes(), device.as_bytes()];
                for (package, mark) in packages.iter().zip(&marks) {
                    parts.push(mark);
                    parts.push(&package.package);
                }
                let content = signed::content(signed::PUBLISH, &parts);
                let known = self
                    .devices
                    .get_mut(&device)
                    .ok_or(Refusal::UnknownDevice)?;
                if !known.key.verifies(&content, &signature) {
                    return Err(Refusal::BadSignature);
                }
                if replace {
                    known.packages.clear();
                }
                for package in packages {
                    if !known.packages.contains(&package) {
                        known.packages.push(package);
                    }
                }
                Ok(keys::Answer::Published(self.counts(account)))
            }
            keys::Request::Count => Ok(keys::Answer::Counts(self.counts(account))),
            other => panic!("not played: {other:?}"),
        }
    }

    fn counts(&self, account: &BareJid) -> Vec<Count> {
        let own = self.devices.iter().filter(|(_, d)| d.account == *account);
        own.map(|(id, device)| {
            let last = device.packages.iter().filter(|p| p.last_resort).count();
            Count {
                device: *id,
                suite: self.suite,
                ordinary: u32::try_from(device.packages.len() - last).unwrap(),
                last_resort: last > 0,
            }
        })
        .collect()
    }

    pub fn claim(&mut self, account: &BareJid, only: &[Uuid]) -> Result<keys::Answer, Refusal> {
        let mut claimed = Vec::new();
        for (id, device) in &mut self.devices {
            if device.account != *account || (!only.is_empty() && !only.contains(id)) {
                continue;
            }
            let ordinary = device.packages.iter().position(|p| !p.last_resort);
            let result = match ordinary {
                Some(place) => {
                    let package = device.packages.remove(place);
                    ClaimResult::Package {
                        package: package.package,
                        last_resort: false,
                    }
                }
                None => match device.packages.first() {
                    Some(package) => ClaimResult::Package {
                        package: package.package.clone(),
                        last_resort: true,
                    },
                    None => ClaimResult::Exhausted,
                },
            };
            claimed.push(Claimed {
                device: *id,
                result,
            });
        }
        if claimed.is_empty() {
            return Err(Refusal::NoKeyPackages {
                account: account.clone(),
            });
        }
        Ok(keys::Answer::Claimed(claimed))
    }
}
