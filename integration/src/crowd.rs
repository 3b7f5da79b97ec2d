//! Many devices at once: registered, certified and in the directory by the server's own code, over
//! the database of a server that is stopped. Nobody is behind them; they are invited as anybody is.

use bytes::Bytes;
use comity_mls_credential::anchors::{TlsKey, TlsRoots};
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::csr;
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::signed;
use comity_mls_credential::transparency::entry::{batch_root, enrol_content};
use comity_mls_service::authority::{Authority, Options, Registration, Trust};
use comity_mls_service::key_packages::{Directory, Limits};
use comity_mls_wire::keys::Published;
use comity_mls_wire::policy::{EXTENSION_TYPE, required_capabilities};
use comity_storage::Storage;
use comity_xmpp::jid::BareJid;
use mls_rs::identity::x509::CertificateChain;
use mls_rs::identity::{Credential, SigningIdentity};
use mls_rs::{CipherSuite, Client, ExtensionList};
use mls_rs_core::group::ProposalType;
use mls_rs_core::time::MlsTime;
use mls_rs_crypto_openssl::OpensslCryptoProvider;
use uuid::Uuid;

use crate::home::Home;

const SUITE: CipherSuite = CipherSuite::P256_AES128;
/// Of a KeyPackage; the directory takes up to 84 days.
const LIFETIME_S: u64 = 30 * 24 * 3600;

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
    pub async fn devices(&self, account: &BareJid, count: usize) {
        for number in 0..count {
            self.device(account, &format!("device {number}")).await;
        }
    }

    async fn device(&self, account: &BareJid, name: &str) {
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
        let device = registered.device.id;
        let package = self.package(account, device, &device_key).await;
        let parts: [&[u8]; 4] = [
            account.as_str().as_bytes(),
            device.as_bytes(),
            &[0],
            &package,
        ];
        let content = signed::content(signed::PUBLISH, &parts);
        let signature = device_key.sign(&content).expect("a signature");
        let batch = [Published {
            package,
            last_resort: false,
        }];
        let publisher = self.directory.publisher(account, device).await;
        let examined = publisher
            .expect("the device is known")
            .examine(&batch, &signature, self.now)
            .expect("the package is good");
        self.directory
            .publish(examined, false, self.now * 1000)
            .await
            .expect("the package is taken");
    }

    async fn package(&self, account: &BareJid, device: Uuid, device_key: &PrivateKey) -> Bytes {
        let key = PrivateKey::generate(Algorithm::P256).expect("a key");
        let public = key.public().expect("a key");
        let request = csr::create(&public, |content| key.sign(content)).expect("a request");
        let root = batch_root(&[issuer_id(&public).expect("a key").0]);
        let content = enrol_content(account.as_str(), device.as_bytes(), &root);
        let signature = device_key.sign(&content).expect("a signature");
        let certificates = self
            .authority
            .enrol(account, device, &[request.into()], &signature, self.now)
            .await
            .expect("a certificate is issued");
        let chain = CertificateChain::from(vec![certificates[0].to_vec()]);
        let identity = SigningIdentity::new(Credential::X509(chain), public.to_mls());
        let client = Client::builder()
            .crypto_provider(OpensslCryptoProvider::with_enabled_cipher_suites(vec![
                SUITE,
            ]))
            .identity_provider(self.authority.provider().clone())
            .custom_proposal_type(ProposalType::SELF_REMOVE)
            .extension_types([EXTENSION_TYPE.into()])
            .extension_types(required_capabilities::EXTENSIONS.map(Into::into))
            .key_package_lifetime(std::time::Duration::from_secs(LIFETIME_S))
            .signing_identity(identity, key.to_mls().expect("a key"), SUITE)
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
