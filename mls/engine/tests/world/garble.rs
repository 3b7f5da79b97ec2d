//! OpenSSL's cipher suites for one who wedges a room: what is sealed for chosen keys cannot be opened,
//! and everything else of the commit, its signature, its tree and its tags, is as it should be.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use mls_rs_core::crypto::{
    CipherSuite, CipherSuiteProvider, CryptoProvider, HpkeCiphertext, HpkePsk, HpkePublicKey,
    HpkeSecretKey, SignaturePublicKey, SignatureSecretKey,
};
use mls_rs_crypto_openssl::{OpensslCryptoError, OpensslCryptoProvider};
use zeroize::Zeroizing;

type Inner = <OpensslCryptoProvider as CryptoProvider>::CipherSuiteProvider;

/// The keys for whose holders everything is garbage.
#[derive(Clone, Default)]
pub struct Spoilt(pub Arc<Mutex<HashSet<Vec<u8>>>>);

#[derive(Clone)]
pub struct Garbling {
    openssl: OpensslCryptoProvider,
    spoilt: Spoilt,
}

impl Garbling {
    pub fn new(suites: Vec<CipherSuite>, spoilt: Spoilt) -> Self {
        let openssl = OpensslCryptoProvider::with_enabled_cipher_suites(suites);
        Self { openssl, spoilt }
    }
}

impl CryptoProvider for Garbling {
    type CipherSuiteProvider = Suite;

    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        self.openssl.supported_cipher_suites()
    }

    fn cipher_suite_provider(&self, suite: CipherSuite) -> Option<Suite> {
        Some(Suite {
            inner: self.openssl.cipher_suite_provider(suite)?,
            spoilt: self.spoilt.clone(),
        })
    }
}

#[derive(Clone)]
pub struct Suite {
    inner: Inner,
    spoilt: Spoilt,
}

impl CipherSuiteProvider for Suite {
    type Error = OpensslCryptoError;
    type HpkeContextS = <Inner as CipherSuiteProvider>::HpkeContextS;
    type HpkeContextR = <Inner as CipherSuiteProvider>::HpkeContextR;

    fn sign(&self, key: &SignatureSecretKey, data: &[u8]) -> Result<Vec<u8>, OpensslCryptoError> {
        self.inner.sign(key, data)
    }

    fn signature_key_derive_public(
        &self,
        key: &SignatureSecretKey,
    ) -> Result<SignaturePublicKey, OpensslCryptoError> {
        self.inner.signature_key_derive_public(key)
    }

    fn signature_key_generate(
        &self,
    ) -> Result<(SignatureSecretKey, SignaturePublicKey), OpensslCryptoError> {
        self.inner.signature_key_generate()
    }

    fn verify(
        &self,
        key: &SignaturePublicKey,
        signature: &[u8],
        data: &[u8],
    ) -> Result<(), OpensslCryptoError> {
        self.inner.verify(key, signature, data)
    }

    fn cipher_suite(&self) -> CipherSuite {
        self.inner.cipher_suite()
    }

    fn hash(&self, data: &[u8]) -> Result<Vec<u8>, OpensslCryptoError> {
        self.inner.hash(data)
    }

    fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, OpensslCryptoError> {
        self.inner.mac(key, data)
    }

    fn aead_seal(
        &self,
        key: &[u8],
        data: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Result<Vec<u8>, OpensslCryptoError> {
        self.inner.aead_seal(key, data, aad, nonce)
    }

    fn aead_open(
        &self,
        key: &[u8],
        ciphertext: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpensslCryptoError> {
        self.inner.aead_open(key, ciphertext, aad, nonce)
    }

    fn aead_key_size(&self) -> usize {
        self.inner.aead_key_size()
    }

    fn aead_nonce_size(&self) -> usize {
        self.inner.aead_nonce_size()
    }

    fn kdf_extract(
        &self,
        salt: &[u8],
        ikm: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpensslCryptoError> {
        self.inner.kdf_extract(salt, ikm)
    }

    fn kdf_expand(
        &self,
        prk: &[u8],
        info: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, OpensslCryptoError> {
        self.inner.kdf_expand(prk, info, len)
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
    ) -> Result<HpkeCiphertext, OpensslCryptoError> {
        let mut sealed = self.inner.hpke_seal(remote_key, info, aad, pt)?;
        let spoilt = self.spoilt.0.lock().unwrap();
        if spoilt.contains(remote_key.as_ref()) {
            sealed.ciphertext[0] ^= 1;
        }
        Ok(sealed)
    }

    fn hpke_seal_psk(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
        psk: HpkePsk<'_>,
    ) -> Result<HpkeCiphertext, OpensslCryptoError> {
        self.inner.hpke_seal_psk(remote_key, info, aad, pt, psk)
    }

    fn hpke_open(
        &self,
        ciphertext: &HpkeCiphertext,
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Result<Zeroizing<Vec<u8>>, OpensslCryptoError> {
        let inner = &self.inner;
        inner.hpke_open(ciphertext, local_secret, local_public, info, aad)
    }

    fn hpke_open_psk(
        &self,
        ciphertext: &HpkeCiphertext,
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, OpensslCryptoError> {
        let inner = &self.inner;
        inner.hpke_open_psk(ciphertext, local_secret, local_public, info, aad, psk)
    }

    fn hpke_setup_s(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
    ) -> Result<(Vec<u8>, Self::HpkeContextS), OpensslCryptoError> {
        self.inner.hpke_setup_s(remote_key, info)
    }

    fn hpke_setup_r(
        &self,
        kem_output: &[u8],
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
    ) -> Result<Self::HpkeContextR, OpensslCryptoError> {
        let inner = &self.inner;
        inner.hpke_setup_r(kem_output, local_secret, local_public, info)
    }

    fn kem_derive(&self, ikm: &[u8]) -> Result<(HpkeSecretKey, HpkePublicKey), OpensslCryptoError> {
        self.inner.kem_derive(ikm)
    }

    fn kem_generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey), OpensslCryptoError> {
        self.inner.kem_generate()
    }

    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Result<(), OpensslCryptoError> {
        self.inner.kem_public_key_validate(key)
    }

    fn random_bytes(&self, out: &mut [u8]) -> Result<(), OpensslCryptoError> {
        self.inner.random_bytes(out)
    }
}
