//! A CA put back on another machine, over whatever database there is.

use super::*;
use crate::authority::ca::backup::{Backup, BackupError, Consent};

const CAREFULLY: Consent = Consent {
    replace: false,
    accept_loss: false,
};

/// Another machine: a directory of its own, and a copy of a database or none.
struct Machine {
    folder: PathBuf,
    options: Options,
}

impl Machine {
    fn new(stage: &Stage) -> Self {
        let unique = Uuid::from_bytes(random());
        let folder = std::env::temp_dir().join(format!("comity-restored-{unique}"));
        std::fs::create_dir(&folder).unwrap();
        let mut options = stage.options.clone();
        options.directory = folder.join("ca");
        Self { folder, options }
    }

    async fn storage(&self) -> Storage {
        Storage::open(&self.folder.join("db")).await.unwrap()
    }

    /// The database as it is now, to be restored as an old copy later.
    async fn copy(&self, stage: &mut Stage) {
        stage.storage.close().await;
        std::fs::copy(stage.directory.join("db"), self.folder.join("db")).unwrap();
        stage.restart(&[], NOW).await.unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn made(stage: &Stage, now: u64) -> Backup {
    let options = std::slice::from_ref(&stage.options);
    Backup::gather(&stage.storage, options, now).await.unwrap()
}

async fn restored(machine: &Machine, backup: &Backup, consent: Consent) -> Result<bool, String> {
    let storage = machine.storage().await;
    let domain = &backup.domains[0];
    let done = domain
        .restore(&storage, &machine.options, consent, NOW)
        .await;
    storage.close().await;
    match done {
        Ok(done) => Ok(done.database_was_older),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn a_ca_comes_back_with_its_passphrase_and_with_nothing_else() {
    let stage = Stage::new("a.example").await;
    let backup = made(&stage, NOW).await;
    let sealed = backup.seal("correct horse").unwrap();
    assert_eq!(Backup::open(&sealed, "correct horse").unwrap(), backup);
    assert!(matches!(
        Backup::open(&sealed, "correct hors"),
        Err(BackupError::Closed)
    ));
    // Each end, and an octet of each part: salt, nonce, content, tag.
    for place in [20, 40, 100, sealed.len() - 1] {
        let mut spoiled = sealed.clone();
        spoiled[place] ^= 1;
        assert!(matches!(
            Backup::open(&spoiled, "correct horse"),
            Err(BackupError::Closed)
        ));
    }
    for cut in [0, 10, 16, 30, 50] {
        assert!(matches!(
            Backup::open(&sealed[..cut], "correct horse"),
            Err(BackupError::NoBackup)
        ));
    }
    let mut newer = sealed;
    newer[16] = 9;
    assert!(matches!(
        Backup::open(&newer, "correct horse"),
        Err(BackupError::Version(9))
    ));
}

#[tokio::test]
async fn neither_sequence_nor_list_goes_back_over_an_old_database() {
    let mut stage = Stage::new("a.example").await;
    let machine = Machine::new(&stage);
    let mut peer = Stage::new("b.example").await;
    let client = stage.client("alice").await;
    let certificate = client.enrol(&[key()], NOW).await.unwrap();
    let (account, device, device_key) = (client.account, client.device, client.key);
    machine.copy(&mut stage).await;

    // Since the copy: another issuing CA, a revocation, statements that another domain has seen.
    let now = NOW + 3 * DAY;
    ca::ceremony::rotate_issuing(&stage.options, now).unwrap();
    stage.authority.maintain(now).await.unwrap();
    let lost = Client {
        stage: &stage,
        account,
        device,
        key: device_key,
    };
    assert!(lost.revoke(device).await.unwrap());
    stage.authority.publish_crls(now + 60).await.unwrap();
    let leaf = Leaf::read(&certificate[0]).unwrap();
    let known = stage.authority.crl(&leaf.issuer).unwrap();
    assert!(known.revoked(&leaf.serial).is_some());
    peer.restart(&[&stage.tls], now + 60).await.unwrap();
    let seen = peer
        .authority
        .shown("a.example", &stage.authority.statement(), None, now + 60)
        .await
        .unwrap();
    let backup = made(&stage, now + 60).await;

    // The log of the copy is shorter than what others have seen.
    let refused = restored(&machine, &backup, CAREFULLY).await.unwrap_err();
    assert!(refused.contains("--accept-loss"), "{refused}");
    assert!(!machine.options.directory.exists());
    let consent = Consent {
        accept_loss: true,
        ..CAREFULLY
    };
    assert_eq!(restored(&machine, &backup, consent).await, Ok(true));

    let storage = machine.storage().await;
    let now = now + HOUR + 120;
    let again = open(&machine.options, &storage, &stage.tls, &[], now)
        .await
        .unwrap();
    again.set_tls(Tls::new("a.example").key());
    again.maintain(now + 1).await.unwrap();
    let own = Pinned::own(&again.statement(), &[]).unwrap();
    assert_eq!(own.root(), seen.root());
    assert!(own.sequence() > seen.sequence());
    let list = again.crl(&leaf.issuer).unwrap();
    assert!(list.number() > known.number());
    // The database has forgotten that it was taken back; the list has not.
    assert!(list.revoked(&leaf.serial).is_some());
    storage.close().await;
}

#[tokio::test]
async fn what_would_be_lost_is_refused_and_nothing_is_changed() {
    let stage = Stage::new("a.example").await;
    let old = made(&stage, NOW).await;
    ca::ceremony::rotate_issuing(&stage.options, NOW + DAY).unwrap();
    stage.authority.maintain(NOW + DAY).await.unwrap();

    // An old backup over a newer database, whose issuing CA it has not.
    let refused = old.domains[0]
        .restore(&stage.storage, &stage.options, CAREFULLY, NOW)
        .await;
    assert!(matches!(refused, Err(BackupError::Older { .. })));

    // Another CA is in the way, or the same one with more.
    let consent = Consent {
        accept_loss: true,
        ..CAREFULLY
    };
    let refused = old.domains[0]
        .restore(&stage.storage, &stage.options, consent, NOW)
        .await;
    let Err(BackupError::Occupied { differs, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(differs.contains("issuing-2.pem"), "{differs}");
    assert!(stage.file("issuing-2.key").exists());

    // The same CA over itself changes nothing; set aside, the other one is kept.
    let new = made(&stage, NOW + DAY).await;
    let machine = Machine::new(&stage);
    assert_eq!(restored(&machine, &new, CAREFULLY).await, Ok(true));
    assert_eq!(restored(&machine, &new, CAREFULLY).await, Ok(false));
    let consent = Consent {
        replace: true,
        accept_loss: true,
    };
    assert_eq!(restored(&machine, &old, consent).await, Ok(false));
    let aside = machine.folder.join(format!("ca.before-{NOW}"));
    assert!(aside.join("issuing-2.key").exists());
    assert!(!machine.options.directory.join("issuing-2.key").exists());
}

#[tokio::test]
async fn a_domain_that_lost_its_database_is_believed_still() {
    let stage = Stage::new("a.example").await;
    let mut peer = Stage::new("b.example").await;
    peer.restart(&[&stage.tls], NOW).await.unwrap();
    let seen = peer
        .authority
        .shown("a.example", &stage.authority.statement(), None, NOW)
        .await
        .unwrap();
    // The directory of the CA alone is left.
    let machine = Machine::new(&stage);
    let storage = machine.storage().await;
    let bereft = open(&stage.options, &storage, &stage.tls, &[], NOW + 5)
        .await
        .unwrap();
    let next = peer
        .authority
        .shown("a.example", &bereft.statement(), None, NOW + 5)
        .await
        .unwrap();
    assert!(next.sequence() > seen.sequence());
    storage.close().await;
}
