//! The corpus of certificates, each published in a KeyPackage.

use super::*;
use crate::certificates::{Case, Credulous, read};

/// Believed, and yet no KeyPackage can be published with it: the lifetime of one that is valid now
/// ends after this certificate's.
const ENDED: &str = "expired within the tolerance";

#[tokio::test]
async fn the_directory_judges_each_certificate_of_the_corpus_as_it_says() {
    let (shelf, cases) = read();
    let provider = Provider::new(Arc::new(shelf));
    for case in cases {
        let name = &case.name;
        let publisher = match case.refused {
            None => case.account.clone(),
            Some(_) => jid("alice@a.example"),
        };
        let limits = Limits::default();
        let world = world_of(
            authority(),
            provider.clone(),
            limits,
            publisher,
            case.device,
        )
        .await;
        let batch = [Published {
            last_resort: false,
            package: package(&case),
        }];
        let published = publish(&world, &batch, case.at).await;
        let left = world.directory.count(&world.alice, case.at * 1000).await;
        match (&published, &case.refused) {
            (Err(Refusal::InvalidMessage { why }), None) if name == ENDED => {
                assert!(why.contains("after that of its certificate"), "{why}");
                assert_eq!(left, Ok(Vec::new()), "{name}");
            }
            (Ok(counts), None) => {
                assert_eq!((counts.len(), counts[0].ordinary), (1, 1), "{name}");
                assert_eq!(left.as_ref(), Ok(counts), "{name}");
            }
            (Err(Refusal::BadCredential { why }), Some(words)) if why.contains(words) => {
                assert_eq!(left, Ok(Vec::new()), "{name}");
            }
            (found, expected) => panic!("{name}: expected {expected:?}, found {found:?}"),
        }
    }
}

async fn publish(world: &World, batch: &[Published], at: u64) -> Result<Vec<Count>, Refusal> {
    let publisher = world.directory.publisher(&world.alice, world.phone).await?;
    let examined = publisher.examine(batch, &world.sign(batch), at)?;
    world.directory.publish(examined, false, at * 1000).await
}

/// A package in which nothing but the certificate can be wrong.
fn package(case: &Case) -> Bytes {
    let lifetime = match case.name.as_str() {
        ENDED => 60,
        _ => 84 * DAY_S,
    };
    Client::builder()
        .identity_provider(Credulous)
        .crypto_provider(OpensslCryptoProvider::default())
        .key_package_lifetime(Duration::from_secs(lifetime))
        .signing_identity(case.identity(), secret(&case.key), case.suite())
        .extension_type(ExtensionType::new(EXTENSION_TYPE))
        .custom_proposal_type(ProposalType::SELF_REMOVE)
        .build()
        .generate_key_package_message(
            ExtensionList::new(),
            ExtensionList::new(),
            Some(MlsTime::from(case.at)),
        )
        .unwrap()
        .to_bytes()
        .unwrap()
        .into()
}
