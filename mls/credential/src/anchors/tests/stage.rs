//! A domain with its CA and its TLS certificate, and a statement to change.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

use super::super::statement::{Der, VERSION};
use super::super::{Statement, TlsKey, TlsRoots};
use crate::issue::{self, Issuer, Validity};
use crate::keys::{Algorithm, PrivateKey};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const DAY: u64 = 86_400;
pub(super) const A: &str = "a.example";

pub(super) const VALIDITY: Validity = Validity {
    not_before: NOW - DAY,
    not_after: NOW + 700 * DAY,
};

pub(super) struct Stage {
    pub(super) root: Issuer,
    pub(super) issuing: Vec<u8>,
    pub(super) web: Web,
    pub(super) tls: TlsKey,
    pub(super) roots: TlsRoots,
}

impl Stage {
    pub(super) fn new() -> Self {
        let root = root();
        let web = Web::new();
        Self {
            issuing: issuing(&root),
            tls: web.leaf(p256(), A).key(),
            roots: web.roots(),
            root,
            web,
        }
    }

    pub(super) fn statement(&self) -> Statement {
        Statement {
            version: VERSION,
            domain: A.to_owned(),
            sequence: 0,
            issued: NOW,
            expires: NOW + 7 * DAY,
            predecessor: None,
            root: Der(self.root.certificate.clone()),
            issuing: vec![Der(self.issuing.clone())],
            handovers: Vec::new(),
            log_head: None,
        }
    }

    pub(super) fn sign(&self, statement: &Statement) -> Vec<u8> {
        statement.sign(&self.root.key, &self.tls).unwrap()
    }

    /// A statement with one thing changed.
    pub(super) fn signed(&self, change: impl FnOnce(&mut Statement)) -> Vec<u8> {
        let mut statement = self.statement();
        change(&mut statement);
        self.sign(&statement)
    }
}

pub(super) fn root() -> Issuer {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    issue::root(A, key, VALIDITY).unwrap()
}

pub(super) fn issuing(root: &Issuer) -> Vec<u8> {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    issue::issuing(A, &key.public().unwrap(), root, VALIDITY).unwrap()
}

/// An authority of the web PKI.
pub(super) struct Web {
    key: PKey<Private>,
    certificate: X509,
}

/// A TLS certificate to be changed before it is issued.
pub(super) struct TlsLeaf<'a> {
    web: &'a Web,
    key: PKey<Private>,
    pub(super) names: Vec<String>,
    pub(super) common_name: &'static str,
    pub(super) until: u64,
    pub(super) for_clients: bool,
}

impl Web {
    pub(super) fn new() -> Self {
        let key = p256();
        let mut builder = begin("Web", &key, VALIDITY.not_after);
        builder.set_issuer_name(&name("Web")).unwrap();
        let ca = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(ca).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self {
            certificate: builder.build(),
            key,
        }
    }

    pub(super) fn roots(&self) -> TlsRoots {
        TlsRoots::new([&self.certificate.to_der().unwrap()[..]])
    }

    pub(super) fn leaf(&self, key: PKey<Private>, name: &str) -> TlsLeaf<'_> {
        TlsLeaf {
            web: self,
            key,
            names: vec![name.to_owned()],
            common_name: "leaf",
            until: VALIDITY.not_after,
            for_clients: false,
        }
    }
}

impl TlsLeaf<'_> {
    pub(super) fn key(&self) -> TlsKey {
        self.try_key().unwrap()
    }

    pub(super) fn try_key(&self) -> Result<TlsKey, super::AnchorsError> {
        let pem = self.key.private_key_to_pem_pkcs8().unwrap();
        TlsKey::from_pem(&self.certificate().to_pem().unwrap(), &pem)
    }

    pub(super) fn certificate(&self) -> X509 {
        let mut builder = begin(self.common_name, &self.key, self.until);
        builder.set_issuer_name(&name("Web")).unwrap();
        if !self.names.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in &self.names {
                names.dns(name);
            }
            let context = builder.x509v3_context(Some(&self.web.certificate), None);
            let names = names.build(&context).unwrap();
            builder.append_extension(names).unwrap();
        }
        let mut purpose = ExtendedKeyUsage::new();
        if self.for_clients {
            purpose.client_auth();
        } else {
            purpose.server_auth();
        }
        builder.append_extension(purpose.build().unwrap()).unwrap();
        builder
            .sign(&self.web.key, MessageDigest::sha256())
            .unwrap();
        builder.build()
    }
}

fn begin(common_name: &str, key: &PKey<Private>, until: u64) -> openssl::x509::X509Builder {
    let time = |at: u64| Asn1Time::from_unix(i64::try_from(at).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name(common_name)).unwrap();
    builder.set_not_before(&time(VALIDITY.not_before)).unwrap();
    builder.set_not_after(&time(until)).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", common_name).unwrap();
    name.build()
}

pub(super) fn p256() -> PKey<Private> {
    ec(Nid::X9_62_PRIME256V1)
}

pub(super) fn ec(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub(super) fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

pub(super) fn ed25519() -> PKey<Private> {
    let key = PKey::generate_ed25519().unwrap();
    assert_eq!(key.id(), Id::ED25519);
    key
}
