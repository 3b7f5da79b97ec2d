//! Packages go out, each once.

mod quota;
mod take;

use std::collections::{BTreeSet, HashMap};

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{KeyPackageCount, device_of};
use crate::Write;
use crate::integer::signed;
use crate::pieces::pieces;

/// One package of each of these devices, if the limits on claims allow.
pub struct ClaimKeyPackages {
    pub account: String,
    pub claim: Claim,
    /// How often this may be asked for; judged, and counted, whether or not there are packages.
    pub quotas: Vec<Quota>,
    /// Length of the windows that quotas count in.
    pub window_s: u64,
    pub now_ms: u64,
}

/// What a package has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Those of the account that are not revoked are served; all of them where none are named.
    pub devices: Vec<[u8; 16]>,
    /// Best first.
    pub suites: Vec<u16>,
    pub extensions: Vec<u16>,
    /// Seconds since 1970 until which it must be valid at least.
    pub valid_until_s: u64,
}

/// At most so many claims in a window under this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: ClaimLimit,
    pub name: String,
    pub most: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimLimit {
    /// By one account.
    Requester,
    /// Of one account's packages.
    Target,
    /// By one domain.
    Domain,
}

impl ClaimLimit {
    fn column(self) -> &'static str {
        match self {
            Self::Requester => "requester",
            Self::Target => "target",
            Self::Domain => "domain",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimsOutcome {
    Done(Claims),
    /// Nothing was claimed or counted.
    Limited {
        limit: ClaimLimit,
        /// Until the next window.
        retry_after_s: u64,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Device by device; none where there is no such account.
    pub devices: Vec<([u8; 16], Claimed)>,
    /// What the devices that gave a package have left.
    pub left: Vec<KeyPackageCount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    Package {
        suite: u16,
        package: Vec<u8>,
        last_resort: bool,
    },
    /// It has none.
    Exhausted,
    /// It has some, and none that fits.
    Incompatible,
}

impl Write for ClaimKeyPackages {
    type Outcome = ClaimsOutcome;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<ClaimsOutcome, sqlx::Error> {
        let outcomes = Self::run_many(&[self], connection).await?;
        let outcome = outcomes.into_iter().next();
        outcome.ok_or_else(|| sqlx::Error::Protocol("a claim without an outcome".to_owned()))
    }

    /// Who invites many claims many packages at once.
    async fn run_many(
        changes: &[&Self],
        connection: &mut SqliteConnection,
    ) -> Result<Vec<ClaimsOutcome>, sqlx::Error> {
        let exceeded = quota::take(changes, connection).await?;
        let devices = devices(changes, connection).await?;
        let mut wanted = Vec::new();
        for (place, change) in changes.iter().enumerate() {
            if exceeded[place].is_none() {
                let served = devices.get(&*change.account).into_iter().flatten();
                let named = served.filter(|device| change.names(device));
                wanted.extend(named.map(|device| Wanted {
                    place,
                    device: *device,
                    change,
                }));
            }
        }
        let taken = take::take(&wanted, connection).await?;
        let mut claims = vec![Claims::default(); changes.len()];
        for (wanted, taken) in wanted.iter().zip(taken) {
            let claims = &mut claims[wanted.place];
            claims.devices.push((wanted.device, taken.claimed));
            claims.left.extend(taken.left);
        }
        let outcomes = changes.iter().zip(exceeded).zip(claims);
        Ok(outcomes
            .map(|((change, exceeded), claims)| match exceeded {
                Some(limit) => change.limited(limit),
                None => ClaimsOutcome::Done(claims),
            })
            .collect())
    }
}

impl ClaimKeyPackages {
    fn window(&self) -> i64 {
        signed(self.now_ms / 1000 / self.window_s.max(1))
    }

    fn limited(&self, limit: ClaimLimit) -> ClaimsOutcome {
        let window_s = self.window_s.max(1);
        ClaimsOutcome::Limited {
            limit,
            retry_after_s: window_s - self.now_ms / 1000 % window_s,
        }
    }

    fn names(&self, device: &[u8; 16]) -> bool {
        self.claim.devices.is_empty() || self.claim.devices.contains(device)
    }
}

/// A package of one device, for the claim at this place.
struct Wanted<'a> {
    place: usize,
    device: [u8; 16],
    change: &'a ClaimKeyPackages,
}

/// The devices of the accounts that are asked for, in the order of their registration.
async fn devices(
    changes: &[&ClaimKeyPackages],
    connection: &mut SqliteConnection,
) -> Result<HashMap<String, Vec<[u8; 16]>>, sqlx::Error> {
    let accounts: BTreeSet<&str> = changes.iter().map(|change| &*change.account).collect();
    let accounts: Vec<&str> = accounts.into_iter().collect();
    let mut devices: HashMap<String, Vec<[u8; 16]>> = HashMap::new();
    for accounts in pieces(&accounts) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT account, id FROM devices WHERE revoked IS NULL AND account IN (",
        );
        let mut list = query.separated(", ");
        for account in accounts {
            list.push_bind(*account);
        }
        query.push(") ORDER BY account, registered, id");
        for row in query.build().fetch_all(&mut *connection).await? {
            let of = devices.entry(row.get("account")).or_default();
            of.push(device_of(row.get("id"))?);
        }
    }
    Ok(devices)
}
