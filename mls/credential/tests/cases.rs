//! The corpus of certificates, judged by the one implementation.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "the tests of the services use the rest")]
#[path = "cases/reader.rs"]
mod reader;

use std::sync::Arc;

use comity_mls_credential::provider::Provider;

#[test]
fn each_certificate_of_the_corpus_is_judged_as_it_says() {
    let (shelf, cases) = reader::read();
    let provider = Provider::new(Arc::new(shelf));
    for case in cases {
        let found = provider.member(&case.identity(), Some(case.at));
        match (&found, &case.refused) {
            (Ok(leaf), None) => {
                assert_eq!(leaf.account, case.account, "{}", case.name);
                assert_eq!(leaf.device, Some(case.device), "{}", case.name);
            }
            (Err(error), Some(words)) if error.to_string().contains(words) => {}
            (found, expected) => panic!("{}: expected {expected:?}, found {found:?}", case.name),
        }
    }
}
