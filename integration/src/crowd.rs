//! Many devices at once: registered, certified and in the directory by the server's own code, over
//! the database of a server that is stopped. Nobody is behind them; they are invited as anybody is.

use bytes::Bytes;
use comity_mls_credential::anchors::{TlsKey, TlsRoots};
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::csr;
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::provider::Provider;
use comity_mls_credential::signed;
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_service::authority::{Authority, Options, Registration, Trust};
use comity_mls_service::key_packages::{Directory, Limits};
use comity_mls_wire::keys::Published;
use comity_mls_wire::policy::{EXTENSION_TYPE, required_capabilities};
use comity_storage::key_packages::{KeyPackage, PublishKeyPackages, Published as Stored};
use comity_storage::{CreateAccount, Storage};
use comity_xmpp::jid::BareJid;
use mls_rs::identity::x509::CertificateChain;
use mls_rs::identity::{Credential, SigningIdentity};
use mls_rs::{CipherSuite, Client, ExtensionList};
use mls_rs_core::crypto::SignatureSecretKey;
use mls_rs_core::group::ProposalType;
use mls_rs_core::time::MlsTime;
use mls_rs_crypto_openssl::OpensslCryptoProvider;
use uuid::Uuid;

use crate::home::Home;

const SUITE: CipherSuite = CipherSuite::P256_AES128;
/// Of a KeyPackage; the directory takes up to 84 days.
const LIFETIME_S: u64 = 30 * 24 * 3600;

/// KeyPackages that are certified and published at a time.
const BATCH: usize = 50;
/// Of one device, where the plays want many rooms.
const PACKAGES: u32 = 1_000;

/// One that is registered, and in the directory.
pub struct CrowdDevice {
    pub account: BareJid,
    pub id: Uuid,
    /// With which it proves itself.
    pub key: PrivateKey,
    /// Its last KeyPackages, which are in the directory.
    pub packages: Vec<Bytes>,
}

/// What a domain's services are while its server is stopped.
pub struct Crowd {
    authority: Authority,
    directory: Directory,
    storage: Storage,
    now: u64,
}

impl Crowd {
    /// # Panics
    /// When the server's files cannot be read.
    pub async fn of(home: &Home) -> Self {
        let storage = Storage::open(&home.data().join("comity.db"))
            .await
            .expect("the database opens");
        let domain = home.domain();
        let read = |end: &str| {
            let file = home.data().join("tls").join(format!("{domain}.{end}"));
            std::fs::read(file).expect("the server has made it")
        };
        let tls = TlsKey::from_pem(&read("pem"), &read("key")).expect("a key");
        let options = Options::new(domain, home.data().join("ca").join(domain));
        let trust = Trust::new(TlsRoots::default());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let authority = Authority::open(options, storage.clone(), trust, tls, now)
            .await
            .expect("the authority opens");
        let limits = Limits {
            lifetime_s: 2 * LIFETIME_S,
            per_device: PACKAGES,
            ..Limits::default()
        };
        let directory = Directory::new(storage.clone(), authority.provider().clone(), limits);
        Self {
            authority,
            directory,
            storage,
            now,
        }
    }

    /// Gives an account so many further devices, with one KeyPackage each.
    ///
    /// # Panics
    /// When one is refused.
    pub async fn devices(&self, account: &BareJid, count: usize) -> Vec<CrowdDevice> {
        let mut devices = Vec::with_capacity(count);
        for number in 0..count {
            let name = format!("device {number}");
            devices.push(self.device(account, &name, 1).await);
        }
        devices
    }

    /// Gives an account a device with so many KeyPackages.
    ///
    /// # Panics
    /// When one is refused.
    pub async fn device(&self, account: &BareJid, name: &str, packages: usize) -> CrowdDevice {
        let device_key = PrivateKey::generate(Algorithm::P256).expect("a key");
        let spki = device_key.public().expect("a key").to_spki();
        let nonce = [7; 32];
        let content = signed::content(
            signed::REGISTER,
            &[&nonce, account.as_str().as_bytes(), &spki],
        );
        let registration = Registration {
            id: Uuid::new_v4(),
            name,
            device_key: &spki,
            nonce: &nonce,
            signature: &device_key.sign(&content).expect("a signature"),
        };
        let registered = self
            .authority
            .register(account, registration, self.now)
            .await
            .expect("a device is registered");
        let mut device = CrowdDevice {
            account: account.clone(),
            id: registered.device.id,
            key: device_key,
            packages: Vec::new(),
        };
        let mut left = packages;
        while left > 0 {
            let batch = left.min(BATCH);
            device.packages = self.publish(&device, batch).await;
            left -= batch;
        }
        device
    }

    async fn publish(&self, device: &CrowdDevice, count: usize) -> Vec<Bytes> {
        let packages = self.packages(device, count).await;
        let mut parts: Vec<&[u8]> = vec![device.account.as_str().as_bytes(), device.id.as_bytes()];
        for package in &packages {
            parts.push(&[0]);
            parts.push(package);
        }
        let content = signed::content(signed::PUBLISH, &parts);
        let signature = device.key.sign(&content).expect("a signature");
        let batch: Vec<Published> = packages
            .iter()
            .map(|package| Published {
                package: package.clone(),
                last_resort: false,
            })
            .collect();
        let publisher = self.directory.publisher(&device.account, device.id).await;
        let examined = publisher
            .expect("the device is known")
            .examine(&batch, &signature, self.now)
            .expect("the packages are good");
        self.directory
            .publish(examined, false, self.now * 1000)
            .await
            .expect("the packages are taken");
        packages
    }

    /// Puts copies of one KeyPackage of a device into the directory, under as many names: for who
    /// counts what is handed out, and opens none.
    ///
    /// # Panics
    /// When they are refused.
    pub async fn stock(&self, device: &CrowdDevice, count: usize) {
        let package = self.packages(device, 1).await.remove(0);
        let random = || openssl::sha::sha256(Uuid::new_v4().as_bytes());
        let copies = (0..count).map(|_| KeyPackage {
            suite: *SUITE,
            last_resort: false,
            reference: random().to_vec(),
            signer: random(),
            extensions: required_capabilities::EXTENSIONS.to_vec(),
            not_before: self.now,
            not_after: self.now + LIFETIME_S,
            package: package.to_vec(),
        });
        let change = PublishKeyPackages {
            account: device.account.as_str().to_owned(),
            device: device.id.into_bytes(),
            replace: false,
            packages: copies.collect(),
            limit: u64::MAX >> 1,
            now_ms: self.now * 1000,
        };
        let published = self.storage.write(change).await;
        let published = published.expect("the database writes");
        assert!(matches!(published, Stored::Done(_)), "{published:?}");
    }

    async fn packages(&self, device: &CrowdDevice, count: usize) -> Vec<Bytes> {
        let certified = self.certified(device, count).await;
        let made = certified.iter();
        made.map(|(key, certificate)| self.package(key, certificate))
            .collect()
    }

    /// A device's certified signature key, for a client that is not ours.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn identity(&self, device: &CrowdDevice) -> (SigningIdentity, SignatureSecretKey) {
        let (key, certificate) = self.certified(device, 1).await.remove(0);
        (identity(&key, &certificate), key.to_mls().expect("a key"))
    }

    /// What believes the certificates of this domain, and remembers none of them.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.authority.provider().afresh()
    }

    /// Makes an account, without a password.
    ///
    /// # Panics
    /// When the database does not write.
    pub async fn account(&self, account: &BareJid) {
        let change = CreateAccount {
            account: account.as_str().to_owned(),
            domain: account.domain().to_owned(),
            keys: Vec::new(),
            created: self.now,
        };
        let written = self.storage.write(change).await;
        written.expect("the database writes");
    }

    /// So many new keys of a device, with their certificates.
    async fn certified(&self, device: &CrowdDevice, count: usize) -> Vec<(PrivateKey, Bytes)> {
        let keys: Vec<PrivateKey> = (0..count)
            .map(|_| PrivateKey::generate(Algorithm::P256).expect("a key"))
            .collect();
        let mut requests = Vec::with_capacity(count);
        let mut names = Vec::with_capacity(count);
        for key in &keys {
            let public = key.public().expect("a key");
            let request = csr::create(&public, |content| key.sign(content)).expect("a request");
            requests.push(Bytes::from(request));
            names.push(issuer_id(&public).expect("a key").0);
        }
        let root = batch_root(&names);
        let account = &device.account;
        let content = enrol_content(account.as_str(), device.id.as_bytes(), &root);
        let signature = device.key.sign(&content).expect("a signature");
        let certificates = self
            .authority
            .enrol(account, device.id, &requests, &signature, self.now)
            .await
            .expect("certificates are issued");
        keys.into_iter().zip(certificates).collect()
    }

    fn package(&self, key: &PrivateKey, certificate: &[u8]) -> Bytes {
        let client = Client::builder()
            .crypto_provider(OpensslCryptoProvider::with_enabled_cipher_suites(vec![
                SUITE,
            ]))
            .identity_provider(self.authority.provider().clone())
            .custom_proposal_type(ProposalType::SELF_REMOVE)
            .extension_types([EXTENSION_TYPE.into()])
            .extension_types(required_capabilities::EXTENSIONS.map(Into::into))
            .key_package_lifetime(std::time::Duration::from_secs(LIFETIME_S))
            .signing_identity(
                identity(key, certificate),
                key.to_mls().expect("a key"),
                SUITE,
            )
            .build();
        client
            .generate_key_package_message(
                ExtensionList::default(),
                ExtensionList::default(),
                Some(MlsTime::from(self.now)),
            )
            .and_then(|message| message.to_bytes())
            .expect("a KeyPackage")
            .into()
    }

    /// Lets the server have its database back.
    pub async fn disperse(self) {
        self.storage.close().await;
    }
}

fn identity(key: &PrivateKey, certificate: &[u8]) -> SigningIdentity {
    let chain = CertificateChain::from(vec![certificate.to_vec()]);
    let public = key.public().expect("a key");
    SigningIdentity::new(Credential::X509(chain), public.to_mls())
}
