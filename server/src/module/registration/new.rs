//! A person makes an account (XEP-0077 §3.1), where the operator has opened that: so many an hour,
//! in all and from one address, and under no name that speaks for the domain or was another's.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use comity_c2s::link::Registration;
use comity_net::listener::household;
use comity_storage::{CreateAccount, Created, RegisterAccount};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use tracing::{error, info};

use super::{bad_request, later};
use crate::home::Home;
use crate::passwords::PasswordError;

const HOUR_MS: u64 = 3_600_000;

/// Names that people take for the operator's (RFC 2142 §2 to §5, and what mail servers keep).
const RESERVED: &[&str] = &[
    "abuse",
    "admin",
    "administrator",
    "hostmaster",
    "info",
    "marketing",
    "news",
    "noc",
    "operator",
    "postmaster",
    "register",
    "root",
    "sales",
    "security",
    "support",
    "system",
    "usenet",
    "uucp",
    "webmaster",
    "www",
    "xmpp",
];

/// Who may try to make an account, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    pub open: bool,
    /// Tries an hour: of everybody, and from one address.
    pub per_hour: u32,
    pub per_address: u32,
}

pub struct Registrations {
    rules: Rules,
    /// The tries of the last hour, oldest first: never more than [`Rules::per_hour`].
    tries: Mutex<VecDeque<(u64, IpAddr)>>,
}

impl Registrations {
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            tries: Mutex::default(),
        }
    }

    /// May people make accounts at all?
    pub(crate) fn open(&self) -> bool {
        self.rules.open
    }

    /// May somebody at this address try now?
    fn try_now(&self, from: IpAddr, now_ms: u64) -> Result<(), StanzaError> {
        if !self.rules.open {
            let refusal = StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAllowed);
            return Err(refusal.with_text("accounts are made by the operator"));
        }
        let from = household(from);
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        while (tries.front()).is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= HOUR_MS) {
            tries.pop_front();
        }
        let own = tries.iter().filter(|(_, other)| *other == from).count();
        if own >= count(self.rules.per_address) || tries.len() >= count(self.rules.per_hour) {
            let refusal = StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint);
            return Err(refusal.with_text("too many have registered: try again in an hour"));
        }
        tries.push_back((now_ms, from));
        Ok(())
    }
}

/// Committed when it returns.
pub(crate) async fn register(
    home: &Home,
    from: IpAddr,
    registration: Registration,
) -> Result<(), StanzaError> {
    let Registration { account, password } = registration;
    home.registrations.try_now(from, home.now_ms())?;
    if account.local().is_none_or(|name| RESERVED.contains(&name)) {
        let refusal = StanzaError::new(ErrorType::Cancel, StanzaCondition::NotAllowed);
        return Err(refusal.with_text("this name is the operator's to give"));
    }
    let keys = match home.passwords.keys(&password).await {
        Ok(keys) => keys,
        Err(PasswordError::Bad(why)) => return Err(bad_request(&why.to_string())),
        Err(PasswordError::Stopping) => return Err(later()),
    };
    let made = home.storage.write(RegisterAccount(CreateAccount {
        account: account.to_string(),
        domain: account.domain().to_owned(),
        created: home.now_ms() / 1000,
        keys,
    }));
    match made.await {
        Ok(Created::Created) => {
            info!(%account, %from, "has registered");
            Ok(())
        }
        Ok(Created::Exists) => {
            let refusal = StanzaError::new(ErrorType::Cancel, StanzaCondition::Conflict);
            Err(refusal.with_text("this name is taken"))
        }
        Err(fault) => {
            error!(%account, %fault, "an account could not be made");
            let refusal = StanzaError::new(ErrorType::Wait, StanzaCondition::InternalServerError);
            Err(refusal.with_text("try again later"))
        }
    }
}

#[cfg(test)]
mod tests {
    use comity_xmpp::jid::BareJid;

    use super::*;
    use crate::module::account;
    use crate::play::Play;

    const OPEN: Rules = Rules {
        open: true,
        per_hour: 6,
        per_address: 3,
    };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn condition(result: Result<(), StanzaError>) -> Option<StanzaCondition> {
        result.err().map(|error| error.condition)
    }

    async fn try_it(
        play: &Play,
        from: IpAddr,
        name: &str,
        password: &str,
    ) -> Option<StanzaCondition> {
        let registration = Registration {
            account: BareJid::parse(&format!("{name}@a.example")).unwrap(),
            password: password.to_owned(),
        };
        condition(register(&play.home, from, registration).await)
    }

    #[tokio::test]
    async fn an_account_is_made_by_its_owner_where_that_is_open() {
        use StanzaCondition::{BadRequest, Conflict, NotAllowed, ResourceConstraint};
        let play = Play::registering(
            &["old@a.example"],
            Rules {
                per_hour: 100,
                per_address: 10,
                ..OPEN
            },
        )
        .await;
        let at = address(1);
        assert_eq!(try_it(&play, at, "juliet", "secret").await, None);
        let juliet = BareJid::parse("juliet@a.example").unwrap();
        let credentials = account::credentials(&play.home, &juliet).await;
        assert!(credentials.usable && credentials.sha256.verify_password("secret"));
        // The account that is there stays as it was.
        assert_eq!(try_it(&play, at, "juliet", "guess").await, Some(Conflict));
        let credentials = account::credentials(&play.home, &juliet).await;
        assert!(credentials.sha256.verify_password("secret"));
        assert_eq!(try_it(&play, at, "admin", "secret").await, Some(NotAllowed));
        assert_eq!(try_it(&play, at, "empty", "").await, Some(BadRequest));
        // Nobody becomes who somebody else was, but by the operator.
        let gone = comity_storage::DeleteAccount {
            account: "old@a.example".to_owned(),
        };
        assert!(play.home.storage.write(gone).await.unwrap());
        assert_eq!(try_it(&play, at, "old", "secret").await, Some(Conflict));
        for n in 0..5 {
            try_it(&play, at, &format!("x{n}"), "secret").await;
        }
        let refused = try_it(&play, at, "y", "secret").await;
        assert_eq!(refused, Some(ResourceConstraint));
        let closed = Play::of(&[]).await;
        let refused = try_it(&closed, at, "juliet", "secret").await;
        assert_eq!(refused, Some(NotAllowed));
    }

    #[test]
    fn so_many_an_hour_in_all_and_from_one_address() {
        let registrations = Registrations::new(OPEN);
        let mut now = 1_000_000;
        let may = |last, now| registrations.try_now(address(last), now).is_ok();
        for n in 0..5 {
            assert_eq!(may(1, now + n), n < 3, "{n}");
        }
        for n in 0..4 {
            assert_eq!(may(10 + n, now + 10), n < 3, "{n}");
        }
        // Of the first address, the first try is an hour ago.
        now += HOUR_MS;
        assert!(may(1, now));
        assert!(!may(1, now));
    }
}
