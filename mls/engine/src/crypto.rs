//! OpenSSL's cipher suites with one change: a SignatureSecretKey is a handle, resolved through
//! [`SignatureKeys`]. So a group's stored state and a pending commit hold no signature key.

use std::sync::Arc;

use comity_mls_credential::keys::Algorithm;
use mls_rs_core::crypto::{
    CipherSuite, CipherSuiteProvider, CryptoProvider, HpkeCiphertext, HpkePsk, HpkePublicKey,
    HpkeSecretKey, SignaturePublicKey, SignatureSecretKey,
};
use mls_rs_core::error::IntoAnyError;
use mls_rs_crypto_openssl::{OpensslCryptoError, OpensslCryptoProvider};
use zeroize::Zeroizing;

use crate::keys::{KeyFault, KeyHandle, SignatureKeys};

type Inner = <OpensslCryptoProvider as CryptoProvider>::CipherSuiteProvider;

/// What this engine can follow, best first (RFC 9420 §17.1).
pub const SUITES: [CipherSuite; 2] = [CipherSuite::P256_AES128, CipherSuite::CURVE25519_AES128];

#[derive(Debug, thiserror::Error)]
pub(crate) enum CryptoError {
    #[error(transparent)]
    OpenSsl(#[from] OpensslCryptoError),
    #[error(transparent)]
    Key(#[from] KeyFault),
}

impl IntoAnyError for CryptoError {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(self.into())
    }
}

#[derive(Clone)]
pub(crate) struct Crypto {
    openssl: OpensslCryptoProvider,
    keys: Arc<dyn SignatureKeys>,
}

impl Crypto {
    pub(crate) fn new(keys: Arc<dyn SignatureKeys>) -> Self {
        let openssl = OpensslCryptoProvider::with_enabled_cipher_suites(SUITES.to_vec());
        Self { openssl, keys }
    }
}

impl CryptoProvider for Crypto {
    type CipherSuiteProvider = Suite;

    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        self.openssl.supported_cipher_suites()
    }

    fn cipher_suite_provider(&self, suite: CipherSuite) -> Option<Suite> {
        Some(Suite {
            algorithm: Algorithm::of_suite(suite)?,
            inner: self.openssl.cipher_suite_provider(suite)?,
            keys: Arc::clone(&self.keys),
        })
    }
}

#[derive(Clone)]
pub(crate) struct Suite {
    algorithm: Algorithm,
    inner: Inner,
    keys: Arc<dyn SignatureKeys>,
}

fn handle(key: &SignatureSecretKey) -> KeyHandle {
    KeyHandle(key.as_bytes().to_vec())
}

impl CipherSuiteProvider for Suite {
    type Error = CryptoError;
    type HpkeContextS = <Inner as CipherSuiteProvider>::HpkeContextS;
    type HpkeContextR = <Inner as CipherSuiteProvider>::HpkeContextR;

    fn sign(&self, key: &SignatureSecretKey, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(self.keys.sign(&handle(key), data)?)
    }

    fn signature_key_derive_public(
        &self,
        key: &SignatureSecretKey,
    ) -> Result<SignaturePublicKey, CryptoError> {
        Ok(self.keys.public(&handle(key))?.to_mls())
    }

    fn signature_key_generate(
        &self,
    ) -> Result<(SignatureSecretKey, SignaturePublicKey), CryptoError> {
        let key = self.keys.generate(self.algorithm)?;
        let public = self.keys.public(&key)?.to_mls();
        Ok((SignatureSecretKey::new(key.0), public))
    }

    fn verify(
        &self,
        key: &SignaturePublicKey,
        signature: &[u8],
        data: &[u8],
    ) -> Result<(), CryptoError> {
        Ok(self.inner.verify(key, signature, data)?)
    }

    fn cipher_suite(&self) -> CipherSuite {
        self.inner.cipher_suite()
    }

    fn hash(&self, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(self.inner.hash(data)?)
    }

    fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(self.inner.mac(key, data)?)
    }

    fn aead_seal(
        &self,
        key: &[u8],
        data: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        Ok(self.inner.aead_seal(key, data, aad, nonce)?)
    }

    fn aead_open(
        &self,
        key: &[u8],
        ciphertext: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        Ok(self.inner.aead_open(key, ciphertext, aad, nonce)?)
    }

    fn aead_key_size(&self) -> usize {
        self.inner.aead_key_size()
    }

    fn aead_nonce_size(&self) -> usize {
        self.inner.aead_nonce_size()
    }

    fn kdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        Ok(self.inner.kdf_extract(salt, ikm)?)
    }

    fn kdf_expand(
        &self,
        prk: &[u8],
        info: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        Ok(self.inner.kdf_expand(prk, info, len)?)
    }

    fn kdf_extract_size(&self) -> usize {
        self.inner.kdf_extract_size()
    }

    fn hpke_seal(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        Ok(self.inner.hpke_seal(remote_key, info, aad, pt)?)
    }

    fn hpke_seal_psk(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
        psk: HpkePsk<'_>,
    ) -> Result<HpkeCiphertext, CryptoError> {
        Ok(self.inner.hpke_seal_psk(remote_key, info, aad, pt, psk)?)
    }

    fn hpke_open(
        &self,
        ciphertext: &HpkeCiphertext,
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let inner = &self.inner;
        Ok(inner.hpke_open(ciphertext, local_secret, local_public, info, aad)?)
    }

    fn hpke_open_psk(
        &self,
        ciphertext: &HpkeCiphertext,
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let inner = &self.inner;
        Ok(inner.hpke_open_psk(ciphertext, local_secret, local_public, info, aad, psk)?)
    }

    fn hpke_setup_s(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
    ) -> Result<(Vec<u8>, Self::HpkeContextS), CryptoError> {
        Ok(self.inner.hpke_setup_s(remote_key, info)?)
    }

    fn hpke_setup_r(
        &self,
        kem_output: &[u8],
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
    ) -> Result<Self::HpkeContextR, CryptoError> {
        let inner = &self.inner;
        Ok(inner.hpke_setup_r(kem_output, local_secret, local_public, info)?)
    }

    fn kem_derive(&self, ikm: &[u8]) -> Result<(HpkeSecretKey, HpkePublicKey), CryptoError> {
        Ok(self.inner.kem_derive(ikm)?)
    }

    fn kem_generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey), CryptoError> {
        Ok(self.inner.kem_generate()?)
    }

    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Result<(), CryptoError> {
        Ok(self.inner.kem_public_key_validate(key)?)
    }

    fn random_bytes(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        Ok(self.inner.random_bytes(out)?)
    }
}
