use comity_storage::{
    DeleteAccount, ExpireUploads, ForgetUpload, PromiseUpload, Promised, Storage, StoreUpload,
    Upload,
};

use super::with;

const ALICE: &str = "alice@a.example";
const BOB: &str = "bob@a.example";

fn upload(n: u8, owner: &str, size: u64) -> Upload {
    Upload {
        id: [n; 16],
        owner: owner.to_owned(),
        name: "tea.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        size,
        promised: 1_000 + u64::from(n),
        stored: None,
    }
}

/// 100 octets an account, 150 in all, three places open that are younger than 1,000.
async fn promise(storage: &Storage, upload: Upload) -> Promised {
    let promise = PromiseUpload {
        upload,
        open_since: 1_000,
        open: 3,
        account_bytes: 100,
        total_bytes: 150,
    };
    storage.write(promise).await.unwrap()
}

async fn store(storage: &Storage, n: u8) -> bool {
    let store = StoreUpload {
        id: [n; 16],
        now: 2_000 + u64::from(n),
    };
    storage.write(store).await.unwrap()
}

#[tokio::test]
async fn places_are_promised_within_quotas_and_used_once() {
    let storage = with(&[ALICE, BOB]).await;
    let nobody = upload(1, "nobody@a.example", 1);
    assert_eq!(promise(&storage, nobody).await, Promised::NoAccount);
    let first = upload(1, ALICE, 60);
    assert_eq!(promise(&storage, first.clone()).await, Promised::Promised);
    assert_eq!(storage.upload(&first.id).await.unwrap(), Some(first));
    assert!(store(&storage, 1).await);
    assert!(!store(&storage, 1).await, "a place is used once");
    assert!(!store(&storage, 9).await, "nobody has promised that one");
    // What is stored counts, and what is promised does.
    let full = Promised::AccountFull(Some(2_001));
    assert_eq!(promise(&storage, upload(2, ALICE, 41)).await, full);
    assert_eq!(
        promise(&storage, upload(2, ALICE, 40)).await,
        Promised::Promised
    );
    assert_eq!(promise(&storage, upload(3, ALICE, 1)).await, full);
    assert_eq!(promise(&storage, upload(3, BOB, 51)).await, Promised::Full);
    assert_eq!(
        promise(&storage, upload(3, BOB, 50)).await,
        Promised::Promised
    );
}

#[tokio::test]
async fn open_places_are_few_and_old_ones_take_no_room() {
    let storage = with(&[ALICE]).await;
    for n in 1..=3 {
        assert_eq!(
            promise(&storage, upload(n, ALICE, 1)).await,
            Promised::Promised
        );
    }
    assert_eq!(
        promise(&storage, upload(4, ALICE, 1)).await,
        Promised::TooMany(1_001)
    );
    let later = PromiseUpload {
        upload: upload(4, ALICE, 100),
        open_since: 2_000,
        open: 3,
        account_bytes: 100,
        total_bytes: 150,
    };
    assert_eq!(storage.write(later).await.unwrap(), Promised::Promised);
}

#[tokio::test]
async fn what_is_old_goes_and_what_is_an_accounts_goes_with_it() {
    let storage = with(&[ALICE, BOB]).await;
    for (n, owner) in [(1, ALICE), (2, ALICE), (3, BOB), (4, BOB)] {
        promise(&storage, upload(n, owner, 30)).await;
    }
    assert!(store(&storage, 1).await && store(&storage, 2).await && store(&storage, 3).await);
    let expire = ExpireUploads {
        stored_before: 2_002,
        promised_before: 1_005,
    };
    assert_eq!(storage.write(expire).await.unwrap(), 2);
    let all = [[1; 16], [2; 16], [3; 16], [4; 16]];
    assert_eq!(
        storage.uploads_known(&all).await.unwrap(),
        [[2; 16], [3; 16]]
    );
    assert_eq!(storage.uploads_after(&[2; 16]).await.unwrap(), [[3; 16]]);
    assert_eq!(storage.totals().await.unwrap().upload_octets, 60);
    let account = BOB.to_owned();
    storage.write(DeleteAccount { account }).await.unwrap();
    storage.write(ForgetUpload { id: [2; 16] }).await.unwrap();
    assert!(storage.uploads_known(&all).await.unwrap().is_empty());
    let totals = storage.totals().await.unwrap();
    assert_eq!((totals.uploads, totals.upload_octets), (0, 0));
}
