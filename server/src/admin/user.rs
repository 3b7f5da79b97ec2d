//! `comity user …`

use comity_storage::{Account, CreateAccount, Created, DeleteAccount, EnableAccount, SetScramKeys};
use comity_xmpp::jid::BareJid;

use super::State;
use super::protocol::{Answer, LIST_LIMIT, User, UserDetail};
use crate::home::millis;

/// What was done, or why nothing.
pub(super) type Result<T = Answer> = std::result::Result<T, String>;

pub(super) async fn add(state: &State, jid: &str, password: &str) -> Result {
    let account = parse(state, jid)?;
    if account.local().is_some_and(|local| local.starts_with('~')) {
        // Judged after PRECIS, which maps wide forms: rooms live there.
        return Err(format!(
            "{account}: names that begin with ~ are kept for rooms"
        ));
    }
    let keys = state.passwords.keys(password).await.map_err(text)?;
    let change = CreateAccount {
        account: account.to_string(),
        domain: account.domain().to_owned(),
        created: millis(state.clock.wall()),
        keys,
    };
    match state.storage.write(change).await.map_err(text)? {
        Created::Created => done(format!("created {account}")),
        Created::Exists => Err(format!(
            "{account} exists; `comity user passwd` changes its password"
        )),
    }
}

pub(super) async fn password(state: &State, jid: &str, password: &str) -> Result {
    let account = parse(state, jid)?;
    let keys = state.passwords.keys(password).await.map_err(text)?;
    let change = SetScramKeys {
        account: account.to_string(),
        keys,
    };
    known(&account, state.storage.write(change).await.map_err(text)?)?;
    done(format!("changed the password of {account}"))
}

pub(super) async fn enable(state: &State, jid: &str, enabled: bool) -> Result {
    let account = parse(state, jid)?;
    let change = EnableAccount {
        account: account.to_string(),
        enabled,
    };
    known(&account, state.storage.write(change).await.map_err(text)?)?;
    if enabled {
        return done(format!("{account} may log in"));
    }
    let ended = (state.kick)(&account, "the account has been disabled");
    done(format!(
        "{account} may no longer log in; {}",
        sessions(ended)
    ))
}

pub(super) async fn delete(state: &State, jid: &str) -> Result {
    let account = parse(state, jid)?;
    // Nobody logs in any more, nobody is in: then its contacts can be told once and for all.
    let disable = EnableAccount {
        account: account.to_string(),
        enabled: false,
    };
    known(&account, state.storage.write(disable).await.map_err(text)?)?;
    let ended = (state.kick)(&account, "the account has been deleted");
    (state.leave)(account.clone()).await.map_err(text)?;
    let delete = DeleteAccount {
        account: account.to_string(),
    };
    known(&account, state.storage.write(delete).await.map_err(text)?)?;
    // Its devices ended with it; the revocation list says so at once.
    (state.withdrawn)(account.clone()).await;
    done(format!(
        "deleted {account} and its data; {}",
        sessions(ended)
    ))
}

pub(super) async fn list(state: &State, domain: Option<String>, after: &str) -> Result {
    let domain = match &domain {
        Some(domain) => served(state, domain)?,
        None => state.domains.first().map_or("", String::as_str),
    };
    let found = state
        .storage
        .accounts(domain, after, LIST_LIMIT)
        .await
        .map_err(text)?;
    let more = found.len() == LIST_LIMIT;
    let users = found.into_iter().map(user).collect();
    Ok(Answer::Users { users, more })
}

pub(super) async fn show(state: &State, jid: &str) -> Result {
    let account = parse(state, jid)?;
    let address = account.as_str();
    let found = state.storage.account(address).await.map_err(text)?;
    let found = found.ok_or_else(|| format!("there is no account {account}"))?;
    let kept = state.storage.account_summary(address).await.map_err(text)?;
    let last = state.storage.last_activity(address).await.map_err(text)?;
    Ok(Answer::UserShown {
        user: Box::new(UserDetail {
            user: user(found),
            sessions: state.house.sessions(address, "", LIST_LIMIT),
            last_seen: last.map(|last| last.gone),
            contacts: kept.contacts,
            blocked: kept.blocked,
            offline_messages: kept.offline,
            archived_messages: kept.archived,
            devices: kept.devices,
            devices_revoked: kept.devices_revoked,
            key_packages: kept.key_packages,
            rooms: kept.rooms,
            pubsub_nodes: kept.pubsub_nodes,
            pubsub_octets: kept.pubsub_octets,
        }),
    })
}

/// An address that an account here can have.
pub(super) fn parse(state: &State, jid: &str) -> Result<BareJid> {
    let account = BareJid::parse(jid).map_err(|error| format!("{jid}: {error}"))?;
    if account.local().is_none() {
        return Err(format!(
            "{jid} is a domain: an account is written name@{jid}"
        ));
    }
    served(state, account.domain())?;
    Ok(account)
}

pub(super) fn served<'a>(state: &'a State, domain: &str) -> Result<&'a str> {
    state
        .domains
        .iter()
        .find(|ours| *ours == domain)
        .map(String::as_str)
        .ok_or_else(|| {
            format!(
                "{domain} is not served here, only {}",
                state.domains.join(", ")
            )
        })
}

fn known(account: &BareJid, found: bool) -> Result<()> {
    match found {
        true => Ok(()),
        false => Err(format!("there is no account {account}")),
    }
}

fn sessions(ended: usize) -> String {
    match ended {
        0 => "it had no sessions".to_owned(),
        1 => "its session was ended".to_owned(),
        many => format!("its {many} sessions were ended"),
    }
}

fn user(account: Account) -> User {
    User {
        jid: account.account,
        enabled: account.enabled,
        created: account.created,
    }
}

pub(super) fn done(what: String) -> Result {
    Ok(Answer::Done { what })
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
