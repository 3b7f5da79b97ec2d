use std::collections::HashSet;
use std::path::Path;

use super::*;
use crate::{CreateAccount, DeleteAccount, RegisterDevice, Registered, RevokeDevice, Storage};

const DAY_S: u64 = 86_400;
const NOW_S: u64 = 1_700_000_000;
const ALICE: &str = "alice@a.example";
const PHONE: [u8; 16] = [1; 16];
const LAPTOP: [u8; 16] = [2; 16];

/// Alice with her phone and, registered a second later, her laptop.
async fn storage() -> Storage {
    let storage = Storage::open(Path::new(":memory:")).await.unwrap();
    let created = CreateAccount {
        account: ALICE.to_owned(),
        domain: "a.example".to_owned(),
        keys: Vec::new(),
        created: 0,
    };
    storage.write(created).await.unwrap();
    for (number, id) in [PHONE, LAPTOP].into_iter().enumerate() {
        let device = RegisterDevice {
            id,
            account: ALICE.to_owned(),
            name: String::new(),
            device_key: id.to_vec(),
            now: NOW_S + number as u64,
            limit: 2,
        };
        assert_eq!(storage.write(device).await.unwrap(), Registered::New);
    }
    storage
}

fn package(number: u16) -> KeyPackage {
    let mut signer = [0; 32];
    signer[..2].copy_from_slice(&number.to_be_bytes());
    KeyPackage {
        suite: 2,
        last_resort: false,
        reference: [&b"reference"[..], &number.to_be_bytes()].concat(),
        signer,
        extensions: vec![61_888, 7],
        not_before: NOW_S - 3600,
        not_after: NOW_S + 84 * DAY_S,
        package: [&b"package"[..], &number.to_be_bytes()].concat(),
    }
}

fn last_resort(number: u16) -> KeyPackage {
    KeyPackage {
        last_resort: true,
        ..package(number)
    }
}

fn batch(packages: Vec<KeyPackage>) -> PublishKeyPackages {
    PublishKeyPackages {
        account: ALICE.to_owned(),
        device: PHONE,
        replace: false,
        packages,
        limit: 100,
        now_ms: NOW_S * 1000,
    }
}

fn claim() -> ClaimKeyPackages {
    ClaimKeyPackages {
        account: ALICE.to_owned(),
        claim: Claim {
            devices: vec![PHONE],
            suites: vec![2],
            extensions: vec![61_888],
            valid_until_s: NOW_S,
        },
        quotas: Vec::new(),
        window_s: 3600,
        now_ms: NOW_S * 1000,
    }
}

async fn claimed(storage: &Storage, claim: ClaimKeyPackages) -> Claims {
    match storage.write(claim).await.unwrap() {
        ClaimsOutcome::Done(claims) => claims,
        limited @ ClaimsOutcome::Limited { .. } => panic!("{limited:?}"),
    }
}

/// What a claim gives of the one device it names.
async fn taken(storage: &Storage, claim: ClaimKeyPackages) -> Claimed {
    let mut claims = claimed(storage, claim).await;
    assert_eq!(claims.devices.len(), 1);
    claims.devices.remove(0).1
}

fn is(claimed: &Claimed, expected: &KeyPackage) -> bool {
    *claimed
        == Claimed::Package {
            suite: expected.suite,
            package: expected.package.clone(),
            last_resort: expected.last_resort,
        }
}

async fn counted(storage: &Storage) -> Vec<(u16, u64, bool)> {
    let counts = storage.key_package_counts(ALICE, NOW_S).await.unwrap();
    counts
        .into_iter()
        .map(|count| (count.suite, count.ordinary, count.last_resort))
        .collect()
}

#[tokio::test]
async fn each_leaves_once_and_the_last_resort_stays() {
    let storage = storage().await;
    let all = vec![last_resort(9), package(1), package(2)];
    storage.write(batch(all)).await.unwrap();
    assert_eq!(counted(&storage).await, [(2, 2, true)]);
    assert!(is(&taken(&storage, claim()).await, &package(1)));
    assert!(is(&taken(&storage, claim()).await, &package(2)));
    for _ in 0..3 {
        assert!(is(&taken(&storage, claim()).await, &last_resort(9)));
        assert_eq!(counted(&storage).await, [(2, 0, false)]);
    }
}

#[tokio::test]
async fn a_hundred_at_once_never_get_the_same() {
    let storage = storage().await;
    let all = (0..100).map(package).chain([last_resort(100)]).collect();
    storage.write(batch(all)).await.unwrap();
    let claimers: Vec<_> = (0..120)
        .map(|_| {
            let storage = storage.clone();
            tokio::spawn(async move { taken(&storage, claim()).await })
        })
        .collect();
    let mut ordinary = HashSet::new();
    let mut last = 0;
    for claimer in claimers {
        match claimer.await.unwrap() {
            Claimed::Package {
                package,
                last_resort: false,
                ..
            } => assert!(ordinary.insert(package), "served twice"),
            Claimed::Package { .. } => last += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((ordinary.len(), last), (100, 20));
}

#[tokio::test]
async fn nothing_left_and_nothing_that_fits_are_told_apart() {
    let storage = storage().await;
    assert_eq!(taken(&storage, claim()).await, Claimed::Exhausted);
    storage.write(batch(vec![package(1)])).await.unwrap();
    let mut other_suite = claim();
    other_suite.claim.suites = vec![1];
    assert_eq!(taken(&storage, other_suite).await, Claimed::Incompatible);
    let mut other_extension = claim();
    other_extension.claim.extensions = vec![61_888, 8];
    assert_eq!(
        taken(&storage, other_extension).await,
        Claimed::Incompatible
    );
    let mut half_a_number = claim();
    half_a_number.claim.extensions = vec![6188];
    assert_eq!(taken(&storage, half_a_number).await, Claimed::Incompatible);
    assert!(is(&taken(&storage, claim()).await, &package(1)));
}

#[tokio::test]
async fn suites_are_served_in_the_order_of_the_request_ordinary_first() {
    let storage = storage().await;
    let of_suite_one = KeyPackage {
        suite: 1,
        ..package(2)
    };
    let all = vec![package(1), of_suite_one.clone(), last_resort(3)];
    storage.write(batch(all)).await.unwrap();
    let both = || {
        let mut claim = claim();
        claim.claim.suites = vec![1, 2];
        claim
    };
    assert!(is(&taken(&storage, both()).await, &of_suite_one));
    assert!(is(&taken(&storage, both()).await, &package(1)));
    assert!(is(&taken(&storage, both()).await, &last_resort(3)));
}

#[tokio::test]
async fn devices_answer_each_for_itself() {
    let storage = storage().await;
    storage.write(batch(vec![package(1)])).await.unwrap();
    let mut both = claim();
    both.claim.devices.clear();
    let claims = claimed(&storage, both).await;
    assert!(is(&claims.devices[0].1, &package(1)));
    assert_eq!(claims.devices[1], (LAPTOP, Claimed::Exhausted));
    assert_eq!(
        claims.left,
        [KeyPackageCount {
            device: PHONE,
            suite: 2,
            ordinary: 0,
            last_resort: false,
        }]
    );
    let mut unknown = claim();
    unknown.account = "bob@a.example".to_owned();
    assert_eq!(claimed(&storage, unknown).await, Claims::default());
    let mut unknown = claim();
    unknown.claim.devices = vec![[9; 16]];
    assert_eq!(claimed(&storage, unknown).await, Claims::default());
}

#[tokio::test]
async fn a_revoked_device_gives_and_takes_nothing() {
    let storage = storage().await;
    storage.write(batch(vec![package(1)])).await.unwrap();
    let revoke = RevokeDevice {
        account: ALICE.to_owned(),
        id: PHONE,
        now: NOW_S,
    };
    storage.write(revoke).await.unwrap();
    assert_eq!(counted(&storage).await, []);
    assert_eq!(claimed(&storage, claim()).await, Claims::default());
    let refused = storage.write(batch(vec![package(2)])).await.unwrap();
    assert_eq!(refused, Published::NoDevice);
}

#[tokio::test]
async fn a_deleted_account_leaves_no_packages() {
    let storage = storage().await;
    storage.write(batch(vec![package(1)])).await.unwrap();
    let delete = DeleteAccount {
        account: ALICE.to_owned(),
    };
    storage.write(delete).await.unwrap();
    assert_eq!(counted(&storage).await, []);
    assert_eq!(claimed(&storage, claim()).await, Claims::default());
}

#[tokio::test]
async fn what_is_out_of_its_lifetime_is_not_served() {
    let storage = storage().await;
    let expired = KeyPackage {
        not_after: NOW_S,
        ..package(1)
    };
    let early = KeyPackage {
        not_before: NOW_S + 1,
        ..package(2)
    };
    storage.write(batch(vec![expired, early])).await.unwrap();
    assert_eq!(taken(&storage, claim()).await, Claimed::Exhausted);
    let purge = || PurgeKeyPackages {
        now_s: NOW_S,
        window_s: 3600,
    };
    assert_eq!(storage.write(purge()).await.unwrap(), 1);
    assert_eq!(storage.write(purge()).await.unwrap(), 0);
    let mut later = claim();
    later.now_ms += 1000;
    assert!(matches!(
        taken(&storage, later).await,
        Claimed::Package { .. }
    ));
}

#[tokio::test]
async fn a_batch_may_come_twice_and_brings_back_nothing_that_was_claimed() {
    let storage = storage().await;
    let all = || vec![package(1), package(2)];
    storage.write(batch(all())).await.unwrap();
    assert!(is(&taken(&storage, claim()).await, &package(1)));
    let again = storage.write(batch(all())).await.unwrap();
    assert!(matches!(again, Published::Done(_)));
    assert_eq!(counted(&storage).await, [(2, 1, false)]);
    storage
        .write(PurgeKeyPackages {
            now_s: NOW_S,
            window_s: 3600,
        })
        .await
        .unwrap();
    storage.write(batch(all())).await.unwrap();
    assert!(is(&taken(&storage, claim()).await, &package(2)));
    assert_eq!(taken(&storage, claim()).await, Claimed::Exhausted);
}

#[tokio::test]
async fn replacing_drops_ordinary_packages_and_keeps_the_rest() {
    let storage = storage().await;
    let first = vec![package(1), package(2), last_resort(3)];
    storage.write(batch(first)).await.unwrap();
    let second = PublishKeyPackages {
        replace: true,
        ..batch(vec![package(2), package(4)])
    };
    storage.write(second).await.unwrap();
    assert_eq!(counted(&storage).await, [(2, 2, true)]);
    assert!(is(&taken(&storage, claim()).await, &package(2)));
    assert!(is(&taken(&storage, claim()).await, &package(4)));
    assert!(is(&taken(&storage, claim()).await, &last_resort(3)));
    storage.write(batch(vec![last_resort(5)])).await.unwrap();
    assert!(is(&taken(&storage, claim()).await, &last_resort(5)));
}

#[tokio::test]
async fn too_many_or_with_a_key_used_before_change_nothing() {
    let storage = storage().await;
    let limited = |packages| PublishKeyPackages {
        limit: 2,
        ..batch(packages)
    };
    storage.write(limited(vec![package(1)])).await.unwrap();
    let three = limited(vec![package(2), package(3), last_resort(4)]);
    assert_eq!(
        storage.write(three).await.unwrap(),
        Published::TooMany { would_be: 3 }
    );
    for (place, packages) in [
        (
            0,
            vec![KeyPackage {
                reference: vec![9],
                ..package(1)
            }],
        ),
        (
            1,
            vec![
                package(5),
                KeyPackage {
                    reference: vec![9],
                    ..package(5)
                },
            ],
        ),
    ] {
        let refused = storage.write(batch(packages)).await.unwrap();
        assert_eq!(refused, Published::KeyReused { place });
    }
    assert_eq!(counted(&storage).await, [(2, 1, false)]);
    let replaced = PublishKeyPackages {
        replace: true,
        ..limited(vec![package(6), package(7)])
    };
    assert!(matches!(
        storage.write(replaced).await.unwrap(),
        Published::Done(_)
    ));
}

#[tokio::test]
async fn deleting_takes_out_what_is_named_or_all() {
    let storage = storage().await;
    let all = vec![package(1), package(2), last_resort(3)];
    storage.write(batch(all)).await.unwrap();
    let delete = |device, references| DeleteKeyPackages {
        account: ALICE.to_owned(),
        device,
        references,
        now_ms: NOW_S * 1000,
    };
    storage.write(delete(LAPTOP, Vec::new())).await.unwrap();
    assert_eq!(counted(&storage).await, [(2, 2, true)]);
    let named = vec![package(1).reference, last_resort(3).reference];
    let left = storage.write(delete(PHONE, named)).await.unwrap();
    assert_eq!((left[0].ordinary, left[0].last_resort), (1, false));
    assert_eq!(storage.write(delete(PHONE, Vec::new())).await.unwrap(), []);
    assert_eq!(taken(&storage, claim()).await, Claimed::Exhausted);
}

#[tokio::test]
async fn claims_are_limited_in_a_window_and_counted_without_packages_too() {
    let storage = storage().await;
    let by = |requester: &str, now_s: u64| ClaimKeyPackages {
        quotas: vec![
            Quota {
                limit: ClaimLimit::Requester,
                name: requester.to_owned(),
                most: 2,
            },
            Quota {
                limit: ClaimLimit::Target,
                name: ALICE.to_owned(),
                most: 3,
            },
        ],
        now_ms: now_s * 1000,
        ..claim()
    };
    let start = NOW_S - NOW_S % 3600;
    let limited = |limit, retry_after_s| ClaimsOutcome::Limited {
        limit,
        retry_after_s,
    };
    for _ in 0..2 {
        let done = storage.write(by("bob@b.example", start)).await.unwrap();
        assert!(matches!(done, ClaimsOutcome::Done(_)));
    }
    assert_eq!(
        storage
            .write(by("bob@b.example", start + 10))
            .await
            .unwrap(),
        limited(ClaimLimit::Requester, 3590)
    );
    let done = storage.write(by("eve@b.example", start)).await.unwrap();
    assert!(matches!(done, ClaimsOutcome::Done(_)));
    assert_eq!(
        storage.write(by("eve@b.example", start)).await.unwrap(),
        limited(ClaimLimit::Target, 3600)
    );
    let done = storage
        .write(by("bob@b.example", start + 3600))
        .await
        .unwrap();
    assert!(matches!(done, ClaimsOutcome::Done(_)));
}
