//! Tokens to log in with again (XEP-0484). A token is an HMAC, under a key that lies beside the
//! database and not in it, over whose it is, for which client and mechanism, and its generation;
//! so a copy of the database gives none. Which generations are valid is in storage, and written
//! before anybody is told of success.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use comity_c2s::link::{FastAccepted, FastAttempt, FastToken, FastWanted};
use comity_storage::{FastKey, IssueFastToken, UseFastToken};
use comity_xmpp::sasl::encode;
use ring::hmac;
use tracing::error;

use crate::home::Home;
use crate::time;

/// Clients of one account that have tokens.
const CLIENTS: usize = 32;
/// A token in use is replaced after this part of its life.
const RENEW_AFTER: u32 = 4;
const LABEL: &[u8] = b"Comity FAST v1";

/// Makes and knows tokens.
pub struct Tokens {
    key: hmac::Key,
    /// How long one is valid; nothing: there are none.
    lifetime: Duration,
}

impl Tokens {
    /// Reads the key from a file, which is made where there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn open(file: &Path, lifetime: Duration) -> io::Result<Self> {
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(file)?,
            Err(error) => return Err(error),
        };
        if bytes.len() < 32 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it holds no key: remove it, and clients will need their passwords once",
            ));
        }
        Ok(Self::of(&bytes, lifetime))
    }

    #[must_use]
    pub fn of(key: &[u8], lifetime: Duration) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            lifetime,
        }
    }

    fn token(&self, of: &FastWanted, generation: u64) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(LABEL);
        for part in [of.account.as_str(), &of.agent, of.mechanism] {
            // Lengths, so that no two different ones read alike.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.update(&generation.to_be_bytes());
        encode(context.sign().as_ref())
    }
}

fn make(file: &Path) -> io::Result<Vec<u8>> {
    use std::io::Write as _;
    let key = comity_net::random::bytes::<32>();
    let mut opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    opened.write_all(&key)?;
    opened.sync_all()?;
    Ok(key.to_vec())
}

fn key(of: &FastWanted) -> FastKey {
    FastKey {
        account: of.account.as_str().to_owned(),
        agent: of.agent.clone(),
        mechanism: of.mechanism.to_owned(),
    }
}

/// A new token for whoever has proved to be this account.
pub(crate) async fn issue(home: &Home, of: &FastWanted) -> Option<FastToken> {
    let tokens = &home.tokens;
    if tokens.lifetime.is_zero() {
        return None;
    }
    let now = home.now_ms();
    let lifetime = u64::try_from(tokens.lifetime.as_millis()).unwrap_or(u64::MAX);
    let expires = now.saturating_add(lifetime);
    let change = IssueFastToken {
        key: key(of),
        now,
        expires,
        limit: CLIENTS,
    };
    match home.storage.write(change).await {
        Ok(generation) => Some(FastToken {
            token: tokens.token(of, generation?),
            expiry: time::stamp(expires),
        }),
        Err(fault) => {
            error!(%fault, "no token is given");
            None
        }
    }
}

/// Does a token prove who it is? For an account or a client that is not known the same is done, to
/// the same end.
pub(crate) async fn check(home: &Home, attempt: &FastAttempt) -> Option<FastAccepted> {
    match proved(home, attempt).await {
        Ok(accepted) => accepted,
        Err(fault) => {
            error!(%fault, "a token cannot be checked");
            None
        }
    }
}

async fn proved(
    home: &Home,
    attempt: &FastAttempt,
) -> Result<Option<FastAccepted>, comity_storage::Error> {
    let tokens = &home.tokens;
    let account = home.storage.account(attempt.token.account.as_str()).await?;
    let row = home.storage.fast_token(&key(&attempt.token)).await?;
    let newest = row.map_or(0, |row| row.generation);
    let previous = row
        .and_then(|row| row.previous)
        .map_or(0, |(previous, _)| previous);
    let mut found = None;
    for generation in [newest, previous] {
        let token = tokens.token(&attempt.token, generation);
        let right = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        let initiator = [b"Initiator", &attempt.binding[..]].concat();
        if hmac::verify(&right, &initiator, &attempt.proof).is_ok() && generation != 0 {
            found.get_or_insert((generation, right));
        }
    }
    let now = home.now_ms();
    let used = UseFastToken {
        key: key(&attempt.token),
        generation: found.as_ref().map_or(0, |(generation, _)| *generation),
        count: attempt.count.map(u64::from),
        now,
        invalidate: attempt.invalidate,
    };
    let used = home.storage.write(used).await?;
    let enabled = account.is_some_and(|account| account.enabled);
    let Some((generation, right)) = found.filter(|_| used && enabled && !tokens.lifetime.is_zero())
    else {
        return Ok(None);
    };
    let responder = [b"Responder", &attempt.binding[..]].concat();
    let age = Duration::from_millis(now.saturating_sub(generation));
    let renew = generation == newest && age > tokens.lifetime / RENEW_AFTER;
    let token = match row {
        _ if attempt.invalidate => None,
        _ if renew => issue(home, &attempt.token).await,
        // The client has not got the newer one, or not kept it.
        Some(row) if generation != newest => Some(FastToken {
            token: tokens.token(&attempt.token, newest),
            expiry: time::stamp(row.expires),
        }),
        _ => None,
    };
    Ok(Some(FastAccepted {
        proof: hmac::sign(&right, &responder).as_ref().to_vec(),
        token,
    }))
}

#[cfg(test)]
mod tests {
    use comity_xmpp::jid::BareJid;

    use super::*;
    use crate::play::Play;

    fn of(account: &str, agent: &str) -> FastWanted {
        FastWanted {
            account: BareJid::parse(account).unwrap(),
            agent: agent.to_owned(),
            mechanism: "HT-SHA-256-NONE",
        }
    }

    fn attempt(of: &FastWanted, token: &str) -> FastAttempt {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        FastAttempt {
            token: of.clone(),
            proof: hmac::sign(&key, b"Initiatorbound").as_ref().to_vec(),
            binding: b"bound".to_vec(),
            count: None,
            invalidate: false,
        }
    }

    #[tokio::test]
    async fn a_token_proves_its_account_and_client_and_no_other() {
        let play = Play::of(&["alice@a.example", "bob@a.example"]).await;
        let alice = of("alice@a.example", "phone");
        let token = issue(&play.home, &alice).await.unwrap().token;
        let accepted = check(&play.home, &attempt(&alice, &token)).await.unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        hmac::verify(&key, b"Responderbound", &accepted.proof).unwrap();
        assert!(accepted.token.is_none());
        for other in [
            of("bob@a.example", "phone"),
            of("alice@a.example", "laptop"),
            of("nobody@a.example", "phone"),
        ] {
            assert!(check(&play.home, &attempt(&other, &token)).await.is_none());
        }
        let unbound = FastAttempt {
            binding: Vec::new(),
            ..attempt(&alice, &token)
        };
        assert!(check(&play.home, &unbound).await.is_none());
        // A generation of nothing is no token either.
        let nothing = play.home.tokens.token(&alice, 0);
        assert!(
            check(&play.home, &attempt(&alice, &nothing))
                .await
                .is_none()
        );
    }

    #[tokio::test]
    async fn an_old_token_is_replaced_and_a_last_one_ends() {
        let play = Play::of(&["alice@a.example"]).await;
        let alice = of("alice@a.example", "phone");
        let first = issue(&play.home, &alice).await.unwrap().token;
        play.clock.forward(Duration::from_secs(6 * 24 * 3600));
        let accepted = check(&play.home, &attempt(&alice, &first)).await.unwrap();
        let second = accepted.token.unwrap().token;
        assert_ne!(first, second);
        // Both are good until the second is used; who still shows the first is told it again.
        let again = check(&play.home, &attempt(&alice, &first)).await.unwrap();
        assert_eq!(again.token.unwrap().token, second);
        assert!(check(&play.home, &attempt(&alice, &second)).await.is_some());
        assert!(check(&play.home, &attempt(&alice, &first)).await.is_none());
        let last = FastAttempt {
            invalidate: true,
            ..attempt(&alice, &second)
        };
        assert!(check(&play.home, &last).await.is_some());
        assert!(check(&play.home, &attempt(&alice, &second)).await.is_none());
    }

    #[test]
    fn the_key_is_made_once_and_kept() {
        let file = std::env::temp_dir().join(format!("comity-{}", comity_net::random::id()));
        let alice = of("alice@a.example", "phone");
        let lifetime = Duration::from_secs(1);
        let first = Tokens::open(&file, lifetime).unwrap().token(&alice, 1);
        let again = Tokens::open(&file, lifetime).unwrap();
        assert_eq!(again.token(&alice, 1), first);
        assert_ne!(again.token(&alice, 2), first);
        std::fs::write(&file, b"short").unwrap();
        assert!(Tokens::open(&file, lifetime).is_err());
        std::fs::remove_file(&file).unwrap();
    }
}
