//! `comity session …`

use comity_xmpp::jid::Jid;

use super::State;
use super::protocol::{Answer, LIST_LIMIT};
use super::user::{Result, done, parse, served};

/// What a client reads where the operator gives no reason.
const UNEXPLAINED: &str = "the operator has ended the session";
/// Characters of a reason.
const REASON_LIMIT: usize = 500;

pub(super) fn list(state: &State, of: Option<&str>, after: &str) -> Result {
    let of = match of {
        None | Some("") => String::new(),
        Some(account) if account.contains('@') => parse(state, account)?.to_string(),
        Some(domain) => served(state, domain)?.to_owned(),
    };
    // One more tells whether there are more.
    let mut sessions = state.house.sessions(&of, after, LIST_LIMIT + 1);
    let more = sessions.len() > LIST_LIMIT;
    sessions.truncate(LIST_LIMIT);
    Ok(Answer::Sessions { sessions, more })
}

pub(super) fn kill(state: &State, jid: &str, reason: &str) -> Result {
    let whose = Jid::parse(jid).map_err(|error| format!("{jid}: {error}"))?;
    parse(state, whose.to_bare().as_str())?;
    let reason: String = reason.chars().take(REASON_LIMIT).collect();
    let reason = match reason.is_empty() {
        true => UNEXPLAINED,
        false => &reason,
    };
    match state.house.kill(&whose, reason) {
        0 => Err(format!(
            "{whose} has no session here; `comity session list` shows those there are"
        )),
        1 => done(format!("ended a session of {whose}")),
        many => done(format!("ended {many} sessions of {whose}")),
    }
}
