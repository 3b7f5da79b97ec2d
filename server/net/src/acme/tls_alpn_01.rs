//! RFC 8737: port 443 shows a certificate that bears the proof, to whoever asks for the protocol
//! `acme-tls/1`, for as long as an order needs it.

use std::sync::Arc;
use std::time::Duration;

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509Builder, X509Extension, X509NameBuilder};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, version};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::{AcmeError, Answering};
use crate::reflect::listen;
use crate::tls::{TlsError, provider};

const PORT: u16 = 443;
const PROTOCOL: &[u8] = b"acme-tls/1";
const PATIENCE: Duration = Duration::from_secs(10);
/// id-pe-acmeIdentifier (RFC 8737 §3).
const IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

pub(super) async fn answer(name: &str, digest: &[u8]) -> Result<Answering, AcmeError> {
    let (certificate, key) = certificate(name, digest)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let key = provider().key_provider.load_private_key(key);
    // Not checked against each other: rustls does not read a certificate with an extension that it
    // does not know and that is critical, which is what this one is for.
    let certified = CertifiedKey::new(vec![certificate.into()], key.map_err(TlsError::from)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(TlsError::from)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = listen(PORT).await;
    let listener = listener.map_err(|why| AcmeError::Port { port: PORT, why })?;
    Ok(Answering::of(tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let acceptor = acceptor.clone();
            // RFC 8737 §3: the handshake is all there is to it.
            tokio::spawn(tokio::time::timeout(PATIENCE, async move {
                let _ = acceptor.accept(stream).await;
            }));
        }
    })))
}

fn certificate(name: &str, digest: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, "acme-tls/1")?;
    let subject = subject.build();
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(&subject)?;
    builder.set_pubkey(&key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(7)?)?;
    let names = SubjectAlternativeName::new();
    let mut names = names;
    let names = names.dns(name).build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    // The digest as an OCTET STRING inside the extension's own.
    let mut value = vec![0x04, u8::try_from(digest.len()).unwrap_or(0)];
    value.extend_from_slice(digest);
    let oid = Asn1Object::from_str(IDENTIFIER)?;
    let value = Asn1OctetString::new_from_bytes(&value)?;
    builder.append_extension(X509Extension::new_from_der(&oid, true, &value)?)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build().to_der()?, key.private_key_to_pkcs8()?))
}
