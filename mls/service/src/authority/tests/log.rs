//! The log as those see it who check it.

use comity_mls_credential::anchors::Signed;
use comity_mls_credential::transparency::proof::verify_consistency;
use comity_mls_credential::transparency::{
    AccountEvidence, Entry, Frontier, Head, Inclusion, Kind, SignedHead, tree,
};
use comity_storage::DeleteAccount;

use super::*;

impl Stage {
    async fn head(&self) -> Head {
        let head = self.authority.log_head().await.unwrap();
        self.believe(&head)
    }

    fn believe(&self, head: &[u8]) -> Head {
        SignedHead::verify(
            head,
            &self.options.domain,
            self.authority.anchors().as_ref(),
        )
        .unwrap()
    }

    /// The entries of an account, after every check that its devices make.
    async fn entries(&self, account: &BareJid) -> Vec<Entry> {
        let log = self.authority.account_log(account, 0).await.unwrap();
        let head = self.believe(&log.head);
        let evidence = AccountEvidence::read(&log.evidence).unwrap();
        let value = evidence.verify(account.as_str(), &head).unwrap();
        let leaves: Vec<_> = log.entries.iter().map(|entry| tree::leaf(entry)).collect();
        let frontier = Frontier::of(&leaves);
        assert_eq!(
            (frontier.size(), frontier.root()),
            (value.count, value.root)
        );
        let read = |entry: &Bytes| Entry::read(entry).unwrap();
        log.entries.iter().map(read).collect()
    }

    async fn evidence(&self, account: &BareJid, certificate: &[u8]) -> Option<Entry> {
        let leaf = Leaf::read(certificate).unwrap();
        let key = [openssl::sha::sha256(&leaf.public_key)];
        let shown = self.authority.included(account, &key).await.unwrap();
        let head = self.believe(&shown.head);
        let evidence = Inclusion::read(shown.keys[0].as_ref()?).unwrap();
        Some(evidence.verify(&leaf, &head).unwrap())
    }
}

#[tokio::test]
async fn whatever_is_issued_is_shown_to_be_logged() {
    let stage = Stage::new("a.example").await;
    let empty = stage.head().await;
    assert_eq!((empty.size, empty.root), (0, tree::empty()));
    let (alice, bob) = (stage.client("alice").await, stage.client("bob").await);
    let mut all = Vec::new();
    for count in [1, 3, 7, 2] {
        for client in [&alice, &bob] {
            let keys: Vec<PrivateKey> = (0..count).map(|_| key()).collect();
            let certificates = client.enrol(&keys, NOW).await.unwrap();
            all.extend(certificates.into_iter().map(|one| (client, one)));
        }
    }
    assert_eq!(stage.head().await.size, 8);
    for (client, certificate) in &all {
        let entry = stage.evidence(&client.account, certificate).await.unwrap();
        assert_eq!(
            (entry.kind, entry.device()),
            (Kind::Issuance, client.device)
        );
        // The device has asked for it.
        let content = entry.signed_content(client.account.as_str()).unwrap();
        let key = client.key.public().unwrap();
        assert!(key.verifies(&content, &entry.signature));
    }
    // Another's key is not shown as one's own, nor one that was never certified.
    assert!(stage.evidence(&bob.account, &all[0].1).await.is_none());
    let unknown = stage.authority.included(&alice.account, &[[1; 32]]).await;
    assert_eq!(unknown.unwrap().keys, [None]);
    let nobody = BareJid::parse("nobody@a.example").unwrap();
    assert!(stage.evidence(&nobody, &all[0].1).await.is_none());
    assert_eq!(stage.entries(&alice.account).await.len(), 4);
    assert_eq!(stage.entries(&nobody).await.len(), 0);
    let many = vec![[0; 32]; 33];
    let refused = stage.authority.included(&alice.account, &many).await;
    assert!(matches!(refused, Err(Refusal::LimitReached { .. })));
}

#[tokio::test]
async fn a_batch_that_comes_twice_is_one_entry() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let keys = [key(), key()];
    let first = alice.enrol(&keys, NOW).await.unwrap();
    assert_eq!(alice.enrol(&keys, NOW + 1).await.unwrap(), first);
    assert_eq!(stage.head().await.size, 1);
    // Of a batch that is new in part, each key is found where it was certified.
    let wider = [keys[0].clone(), key()];
    let second = alice.enrol(&wider, NOW + 2).await.unwrap();
    assert_eq!(stage.head().await.size, 2);
    for certificate in first.iter().chain(&second) {
        assert!(stage.evidence(&alice.account, certificate).await.is_some());
    }
}

#[tokio::test]
async fn many_at_once_make_one_log() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let mut batches = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let made = key();
        let request = request(&made);
        let hash = issuer_id(&made.public().unwrap()).unwrap().0;
        let account = alice.account.as_str().as_bytes();
        let parts: [&[u8]; 3] = [account, alice.device.as_bytes(), &batch_root(&[hash])];
        let signature = alice.sign(signed::ENROL, &parts);
        let (authority, account) = (stage.authority.clone(), alice.account.clone());
        let device = alice.device;
        batches.spawn(async move {
            let requests = [request];
            authority
                .enrol(&account, device, &requests, &signature, NOW)
                .await
        });
    }
    while let Some(done) = batches.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(stage.head().await.size, 16);
    assert_eq!(stage.entries(&alice.account).await.len(), 16);
}

#[tokio::test]
async fn every_head_begins_with_every_earlier_one() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    let mut heads = vec![stage.head().await];
    for _ in 0..9 {
        alice.enrol(&[key()], NOW).await.unwrap();
        heads.push(stage.head().await);
    }
    for old in &heads {
        for new in &heads[usize::try_from(old.size).unwrap()..] {
            let proof = stage.authority.log_consistency(old.size, new.size).await;
            let proof = proof.unwrap();
            assert!(verify_consistency(
                old.size, new.size, &proof, &old.root, &new.root
            ));
        }
    }
    for (first, second) in [(2, 1), (1, 10), (0, u64::MAX)] {
        let refused = stage.authority.log_consistency(first, second).await;
        assert!(matches!(refused, Err(Refusal::BadRequest { .. })));
    }
}

#[tokio::test]
async fn the_end_of_a_device_is_logged_whoever_ended_it() {
    let stage = Stage::new("a.example").await;
    let alice = stage.client("alice").await;
    alice.enrol(&[key()], NOW).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut other = alice.clone();
        other.key = key();
        other.device = other.register().await.unwrap().device.id;
        other.enrol(&[key()], NOW).await.unwrap();
        others.push(other.device);
    }
    assert_eq!(alice.revoke(others[0]).await, Ok(true));
    assert_eq!(alice.revoke(others[0]).await, Ok(false));
    let by_operator = stage
        .authority
        .revoke_by_operator(&alice.account, others[1], NOW);
    assert_eq!(by_operator.await, Ok(true));
    let entries = stage.entries(&alice.account).await;
    assert_eq!(entries.len(), 6);
    let ended = &entries[4];
    assert_eq!((ended.kind, ended.device()), (Kind::Revocation, others[0]));
    let content = ended.signed_content(alice.account.as_str()).unwrap();
    let own = alice.key.public().unwrap();
    assert!(own.verifies(&content, &ended.signature));
    assert_eq!((entries[5].by(), entries[5].device()), (None, others[1]));

    // An account that is deleted takes its devices with it, which is told at the next round, and
    // whoever gets the name begins anew.
    let deletion = DeleteAccount {
        account: alice.account.to_string(),
    };
    stage.storage.write(deletion).await.unwrap();
    stage.authority.maintain(NOW + HOUR).await.unwrap();
    assert_eq!(stage.head().await.size, 8);
    stage.authority.maintain(NOW + 2 * HOUR).await.unwrap();
    assert_eq!(stage.head().await.size, 8);
    let heir = stage.client("alice").await;
    heir.enrol(&[key()], NOW).await.unwrap();
    assert_eq!(stage.entries(&heir.account).await.len(), 1);
    assert_eq!(stage.head().await.size, 9);
}

#[tokio::test]
async fn the_anchors_name_the_head_and_the_log_goes_on_after_a_restart() {
    let mut stage = Stage::new("a.example").await;
    let (_, first) = Signed::read(&stage.authority.statement()).unwrap();
    assert_eq!(stage.believe(&first.log_head.unwrap().0).size, 0);
    let alice = {
        let alice = stage.client("alice").await;
        alice.enrol(&[key()], NOW).await.unwrap();
        (alice.account, alice.device, alice.key)
    };
    stage.restart(&[], NOW + 2 * DAY).await.unwrap();
    let (_, second) = Signed::read(&stage.authority.statement()).unwrap();
    assert_eq!(stage.believe(&second.log_head.unwrap().0).size, 1);
    let alice = Client {
        stage: &stage,
        account: alice.0,
        device: alice.1,
        key: alice.2,
    };
    alice.enrol(&[key()], NOW + 2 * DAY).await.unwrap();
    assert_eq!(stage.entries(&alice.account).await.len(), 2);
}
