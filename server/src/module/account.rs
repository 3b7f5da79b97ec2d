//! Accounts as streams see them: what authenticates them, and how they are bound.

use std::collections::HashMap;
use std::sync::Arc;

use comity_c2s::link::{Bound, Credentials};
use comity_storage::{HostSecret, KeptScramKeys, ScramHash, Storage};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::sasl::{Hash, ScramKeys};
use comity_xmpp::stanza::IqType;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tracing::{error, info};

use super::{Context, Handles, Later, Module, Request, Target, What, message, presence};
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::sessions::Session;

pub const MODULE: Module = Module {
    name: "account",
    // RFC 3921 §3: old clients ask for it; it has no effect any more.
    handles: &[session(Target::Domain), session(Target::OwnAccount)],
    handle,
    ..Module::EMPTY
};

/// As long as the salts of accounts that exist.
const SALT_BYTES: usize = 16;

const fn session(target: Target) -> Handles {
    Handles {
        what: What::Iq(IqType::Set),
        ns: ns::SESSION,
        name: "session",
        target,
    }
}

fn handle(_: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move { Deliveries::answer(request.stanza.result(None)) })
}

/// Makes a session of an authenticated client.
pub(crate) async fn bind(home: &Home, bound: Bound) -> Result<Jid, StanzaError> {
    let resource = match &bound.resource {
        Some(resource) => resource.clone(),
        None => generated()?,
    };
    let jid = bound.account.with_resource(&resource).map_err(|fault| {
        // RFC 6120 §7.7.2.1.
        StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest)
            .with_text(format!("the resource cannot be used: {fault}"))
    })?;
    let replaced = home
        .sessions
        .bind(bound, &jid, home.limits.now().resources)?;
    info!(session = %jid, "bound");
    if let Some(old) = replaced {
        let deliveries = farewell(home, old).await;
        deliver::deliver(home, deliveries).await;
    }
    Ok(jid)
}

/// The session is over: its contacts are told, and what was held back from it goes another way.
pub(crate) async fn farewell(home: &Home, mut session: Session) -> Deliveries {
    let held = session.held();
    let (account, since) = (session.jid.to_bare(), session.ready_since);
    home.services.rooms.feeds.gone(&session.jid, &account);
    let mut deliveries = presence::gone(home, session).await;
    for stanza in held {
        let stanza = Arc::unwrap_or_clone(stanza);
        deliveries.extend(message::unacknowledged(home, &account, since, stanza).await);
    }
    deliveries
}

/// RFC 6120 §7.6: a resource that nobody can guess.
fn generated() -> Result<String, StanzaError> {
    let mut bytes = [0; 12];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        StanzaError::new(ErrorType::Wait, StanzaCondition::InternalServerError)
            .with_text("the system gives no randomness")
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What an account is authenticated by. Whatever is not there is derived from the secret of its
/// domain, so that nobody can tell who has an account.
pub(crate) async fn credentials(home: &Home, account: &BareJid) -> Credentials {
    let found = home.storage.login_keys(account.as_str()).await;
    let (usable, keys) = found.unwrap_or_else(|fault| {
        error!(%fault, "an account's keys cannot be read: its login is refused");
        (false, Vec::new())
    });
    let of = |hash: Hash| {
        // In any case: nobody is to tell from the work whether there are others.
        let derived = derived(home, account, hash);
        let found = keys.iter().find(|keys| kept(keys.hash) == hash);
        found.map_or(derived, |keys| scram(hash, keys))
    };
    // What another server knew may be for one alone.
    let only_sha1 = !keys.is_empty() && keys.iter().all(|keys| keys.hash == ScramHash::Sha1);
    Credentials {
        sha1: of(Hash::Sha1),
        sha256: of(Hash::Sha256),
        plain: if only_sha1 { Hash::Sha1 } else { Hash::Sha256 },
        usable,
    }
}

fn kept(hash: ScramHash) -> Hash {
    match hash {
        ScramHash::Sha1 => Hash::Sha1,
        ScramHash::Sha256 => Hash::Sha256,
    }
}

fn scram(hash: Hash, keys: &KeptScramKeys) -> ScramKeys {
    ScramKeys {
        hash,
        salt: keys.salt.clone(),
        iterations: keys.iterations,
        stored_key: keys.stored_key.clone(),
        server_key: keys.server_key.clone(),
    }
}

/// Keys of no password, always the same for one account.
fn derived(home: &Home, account: &BareJid, hash: Hash) -> ScramKeys {
    #[cfg(test)]
    tests::did(format!("derive {hash:?}"));
    let secret = home
        .host_secrets
        .get(account.domain())
        .map_or(&[][..], Vec::as_slice);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let derive = |what: &str, length: usize| {
        let text = format!("{what}\0{hash:?}\0{account}");
        hmac::sign(&key, text.as_bytes()).as_ref()[..length].to_vec()
    };
    let length = match hash {
        Hash::Sha1 => 20,
        Hash::Sha256 => 32,
    };
    ScramKeys {
        hash,
        salt: derive("salt", SALT_BYTES),
        iterations: home.limits.now().scram_iterations,
        stored_key: derive("stored key", length),
        server_key: derive("server key", length),
    }
}

/// The secrets of all hosted domains, made where there are none yet.
pub(crate) async fn host_secrets(
    storage: &Storage,
    domains: &[String],
) -> Result<HashMap<String, Vec<u8>>, comity_storage::Error> {
    let mut secrets = HashMap::new();
    for domain in domains {
        let mut proposed = [0; 32];
        // A secret is kept only once: without randomness now, the next start tries again.
        if SystemRandom::new().fill(&mut proposed).is_err() {
            error!("the system gives no randomness");
            continue;
        }
        let secret = storage
            .write(HostSecret {
                domain: domain.clone(),
                proposed,
            })
            .await?;
        secrets.insert(domain.clone(), secret);
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use comity_storage::SetScramKeys;

    use super::*;
    use crate::passwords::Passwords;
    use crate::play::Play;

    thread_local! {
        static DONE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn did(what: String) {
        DONE.with_borrow_mut(|done| done.push(what));
    }

    /// What is done to answer for an account, and how often storage is read meanwhile.
    async fn work(play: &Play, account: &str) -> (Vec<String>, u64, Credentials) {
        let account = BareJid::parse(account).unwrap();
        DONE.take();
        let before = play.home.storage.reads();
        let credentials = credentials(&play.home, &account).await;
        (DONE.take(), play.home.storage.reads() - before, credentials)
    }

    /// As they come from a server that keeps one kind of keys.
    #[tokio::test]
    async fn a_password_is_held_against_the_keys_there_are() {
        let play = Play::of(&["alice@a.example"]).await;
        let alice = BareJid::parse("alice@a.example").unwrap();
        let mut keys = Passwords::new(4096).keys("secret").await.unwrap();
        keys.retain(|keys| keys.hash == ScramHash::Sha1);
        let set = SetScramKeys {
            account: alice.to_string(),
            keys,
        };
        assert_eq!(credentials(&play.home, &alice).await.plain, Hash::Sha256);
        assert!(play.home.storage.write(set).await.unwrap());
        let found = credentials(&play.home, &alice).await;
        assert_eq!(found.plain, Hash::Sha1);
        assert!(found.sha1.verify_password("secret") && !found.sha256.verify_password("secret"));
    }

    /// Counted, not timed: an unknown account costs what a known one does, step by step, and what
    /// its client sees has the same form.
    #[tokio::test]
    async fn an_unknown_account_is_the_same_work_as_a_wrong_password() {
        let play = Play::of(&["alice@a.example", "old@a.example"]).await;
        let keys = Passwords::new(play.home.limits.now().scram_iterations)
            .keys("secret")
            .await;
        let keys = SetScramKeys {
            account: "alice@a.example".to_owned(),
            keys: keys.unwrap(),
        };
        assert!(play.home.storage.write(keys).await.unwrap());
        let (done, reads, known) = work(&play, "alice@a.example").await;
        assert_eq!((done.len(), reads), (2, 1), "{done:?}");
        assert!(known.usable && known.sha256.verify_password("secret"));
        // Without keys, and without an account.
        for other in ["old@a.example", "nobody@a.example"] {
            let (theirs, their_reads, unknown) = work(&play, other).await;
            assert_eq!((&theirs, their_reads), (&done, reads), "{other}");
            assert_eq!(unknown.sha256.salt.len(), known.sha256.salt.len());
            assert_eq!(unknown.sha1.stored_key.len(), known.sha1.stored_key.len());
            assert_eq!(unknown.sha256.iterations, known.sha256.iterations);
            assert!(!unknown.sha256.verify_password("secret"));
            // Asked again, it says the same.
            let (_, _, again) = work(&play, other).await;
            assert!(again.sha256 == unknown.sha256);
        }
    }
}
