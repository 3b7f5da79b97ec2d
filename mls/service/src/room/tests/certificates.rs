//! The corpus of certificates, each as that of a device that creates a room.

use std::sync::Arc;

use comity_mls_credential::leaf::CLOCK_TOLERANCE_S;
use comity_mls_wire::policy::{EXTENSION_TYPE, Policy};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, Create, Member, Request, Stamped};
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules};
use mls_rs::time::MlsTime;
use mls_rs::{Client, CryptoProvider as _, ExtensionList};
use mls_rs_core::group::ProposalType;
use mls_rs_crypto_openssl::OpensslCryptoProvider;

use super::world::{Cas, Device, Domain, jid, key, room};
use crate::certificates::{Case, Credulous, read};
use crate::error::Refused;

#[tokio::test]
async fn the_hub_judges_each_certificate_of_the_corpus_as_it_says() {
    let (shelf, cases) = read();
    for case in cases {
        let name = &case.name;
        let cas = Arc::new(Cas::default());
        cas.issuers.lock().unwrap().extend(shelf.0.clone());
        let domain = Domain::of("a.example", &cas, case.key.algorithm()).await;
        let member = Member {
            account: match case.refused {
                None => case.account.clone(),
                Some(_) => jid("alice@a.example"),
            },
            device: case.device,
        };
        let request = Stamped {
            device: Some(member.device),
            request: Request::Create(create(&case, &domain, &member)),
        };
        // Leaves are accepted by a clock that far ahead.
        let now = (case.at - CLOCK_TOLERANCE_S) * 1000;
        let hub = &domain.hub;
        let answer = hub.request(&room(), &member.account, request, now).await;
        let answer = answer.map(|reply| reply.answer).map_err(Refused::refusal);
        let there = domain.storage.room(room().as_str()).await.unwrap();
        assert_eq!(there.is_some(), case.refused.is_none(), "{name}");
        match (&answer, &case.refused) {
            (Ok(Answer::Accepted(_)), None) => {}
            (Err(Refusal::BadCredential { why }), Some(words)) if why.contains(words) => {}
            (found, expected) => panic!("{name}: expected {expected:?}, found {found:?}"),
        }
    }
}

/// A room in which nothing but the creator's certificate can be wrong.
fn create(case: &Case, domain: &Domain, creator: &Member) -> Create {
    let crypto = OpensslCryptoProvider::default();
    let secret = crypto
        .cipher_suite_provider(case.suite())
        .unwrap()
        .import_der_private_signing_key(&case.key.to_pkcs8().unwrap())
        .unwrap();
    let options = CommitOptions::new().with_ratchet_tree_extension(false);
    let group = Client::builder()
        .crypto_provider(crypto)
        .identity_provider(Credulous)
        .mls_rules(DefaultMlsRules::new().with_commit_options(options))
        .custom_proposal_type(ProposalType::SELF_REMOVE)
        .extension_type(EXTENSION_TYPE.into())
        .signing_identity(case.identity(), secret, case.suite())
        .build()
        .create_group(
            Device::context(domain.key(), &Policy::of_creator(&creator.account)),
            ExtensionList::default(),
            Some(MlsTime::from(case.at)),
        )
        .unwrap();
    let info = group.group_info_message_allowing_ext_commit(false).unwrap();
    Create {
        key: key(),
        group_info: info.to_bytes().unwrap().into(),
        tree: group.export_tree().to_bytes().unwrap().into(),
        direct_with: None,
    }
}
