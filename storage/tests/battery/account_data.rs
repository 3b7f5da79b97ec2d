use comity_storage::{
    DeleteAccount, KeepPrivateXml, LastActivity, NoteGone, PrivateXml, PrivateXmlKept, Storage,
};

use super::with;

const ALICE: &str = "alice@a.example";

fn element(name: &str, payload: &str) -> PrivateXml {
    PrivateXml {
        ns: "urn:x".to_owned(),
        name: name.to_owned(),
        payload: payload.as_bytes().to_vec(),
        updated: 7,
    }
}

async fn keep(storage: &Storage, elements: &[PrivateXml]) -> PrivateXmlKept {
    let change = KeepPrivateXml {
        account: ALICE.to_owned(),
        elements: elements.to_vec(),
        bytes: 40,
    };
    storage.write(change).await.unwrap()
}

#[tokio::test]
async fn elements_are_kept_by_name_within_a_quota() {
    let storage = with(&[ALICE]).await;
    let (a, b) = (element("a", "<a/>"), element("b", "<b/>"));
    assert_eq!(
        keep(&storage, &[a.clone(), b.clone()]).await,
        PrivateXmlKept::Kept
    );
    assert_eq!(
        storage.private_xml(ALICE, "urn:x", "a").await.unwrap(),
        Some(a)
    );
    assert_eq!(
        storage.private_xml(ALICE, "urn:y", "a").await.unwrap(),
        None
    );
    // 10 bytes each; what is replaced makes room.
    let longer = element("a", "<a>12345678901234567</a>");
    assert_eq!(
        keep(&storage, std::slice::from_ref(&longer)).await,
        PrivateXmlKept::Kept
    );
    assert_eq!(
        keep(&storage, &[element("c", "<c/>")]).await,
        PrivateXmlKept::OverQuota
    );
    assert_eq!(
        storage.private_xml(ALICE, "urn:x", "a").await.unwrap(),
        Some(longer)
    );
    assert_eq!(
        storage.private_xml(ALICE, "urn:x", "b").await.unwrap(),
        Some(b)
    );
}

#[tokio::test]
async fn all_of_it_goes_with_the_account() {
    let storage = with(&[ALICE]).await;
    keep(&storage, &[element("a", "<a/>")]).await;
    let last = LastActivity {
        gone: 5,
        status: "tea".to_owned(),
    };
    let gone = |account: &str| {
        storage.write(NoteGone {
            account: account.to_owned(),
            last: last.clone(),
        })
    };
    gone(ALICE).await.unwrap();
    gone("nobody@a.example").await.unwrap();
    assert_eq!(
        storage.last_activity(ALICE).await.unwrap(),
        Some(last.clone())
    );
    assert_eq!(
        storage.last_activity("nobody@a.example").await.unwrap(),
        None
    );
    let delete = DeleteAccount {
        account: ALICE.to_owned(),
    };
    assert!(storage.write(delete).await.unwrap());
    assert_eq!(storage.last_activity(ALICE).await.unwrap(), None);
    assert_eq!(
        storage.private_xml(ALICE, "urn:x", "a").await.unwrap(),
        None
    );
    assert_eq!(
        keep(&storage, &[element("a", "<a/>")]).await,
        PrivateXmlKept::NoAccount
    );
}
