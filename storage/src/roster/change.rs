//! Changing rosters.

use sqlx::{QueryBuilder, SqliteConnection};

use super::read;
use super::{Contact, SubscriptionState};
use crate::integer::{rows, signed, unsigned};
use crate::outbox::{self, Outgoing};
use crate::{Write, accounts};

/// Puts a contact into the roster or gives it another name and other groups; its subscription stays
/// as it is (RFC 6121 §2.1.5: a client cannot set it).
pub struct SetContact {
    pub account: String,
    pub contact: String,
    pub name: Option<String>,
    pub groups: Vec<String>,
    /// A roster never holds more contacts than this.
    pub limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactSet {
    /// The item as it is now, and the roster's new version.
    Set {
        contact: Contact,
        version: u64,
    },
    NoAccount,
    /// The roster holds `limit` contacts.
    Full,
}

impl Write for SetContact {
    type Outcome = ContactSet;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<ContactSet, sqlx::Error> {
        if !accounts::exists(connection, &self.account).await? {
            return Ok(ContactSet::NoAccount);
        }
        let old = read::one(connection, &self.account, &self.contact).await?;
        if old.is_none() && is_full(connection, &self.account, self.limit).await? {
            return Ok(ContactSet::Full);
        }
        let mut groups = self.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        let contact = Contact {
            contact: self.contact.clone(),
            name: self.name.clone(),
            groups,
            ..old.unwrap_or_default()
        };
        put(connection, &self.account, &contact).await?;
        put_groups(connection, &self.account, &contact).await?;
        let version = advance(connection, &self.account).await?;
        Ok(ContactSet::Set { contact, version })
    }
}

/// Takes a contact out of the roster, with any request of theirs, and queues what tells another
/// domain so.
pub struct RemoveContact {
    pub account: String,
    pub contact: String,
    /// The state the caller has decided upon.
    pub expected: SubscriptionState,
    pub outbox: Vec<Outgoing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemovedContact {
    /// Removed; the roster's new version.
    Removed { version: u64 },
    /// Something else happened meanwhile: decide again upon this state. At rest: not in the roster.
    Stale(SubscriptionState),
}

impl Write for RemoveContact {
    type Outcome = RemovedContact;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<RemovedContact, sqlx::Error> {
        let state = read::state(connection, &self.account, &self.contact).await?;
        if state != self.expected || !state.in_roster {
            return Ok(RemovedContact::Stale(state));
        }
        sqlx::query("DELETE FROM roster WHERE account = ? AND contact = ?")
            .bind(&self.account)
            .bind(&self.contact)
            .execute(&mut *connection)
            .await?;
        drop_request(connection, &self.account, &self.contact).await?;
        outbox::insert(connection, &self.outbox).await?;
        let version = advance(connection, &self.account).await?;
        Ok(RemovedContact::Removed { version })
    }
}

/// Carries out one step of RFC 6121 §3 and appendix A for one side, and queues what tells another
/// domain so.
pub struct ChangeSubscription {
    pub account: String,
    pub contact: String,
    /// The state the caller has decided upon.
    pub expected: SubscriptionState,
    /// The state that follows. An item is made if it says `in_roster` and there is none.
    pub next: SubscriptionState,
    pub request: UpdateRequest,
    pub outbox: Vec<Outgoing>,
    /// A roster never holds more contacts than this, nor more requests.
    pub limit: usize,
}

/// What becomes of the contact's request; goes with `pending_in`.
pub enum UpdateRequest {
    /// Stays as it is.
    Keep,
    /// Is stored, in place of an earlier one.
    Store { stanza: Vec<u8>, received: u64 },
    /// Was answered or taken back.
    Drop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionChanged {
    /// The item as it is now, if there is one, and the roster's version. It is a new version when
    /// the item has changed.
    Changed {
        contact: Option<Contact>,
        version: u64,
    },
    /// Something else happened meanwhile: decide again upon this state.
    Stale(SubscriptionState),
    NoAccount,
    /// The roster holds `limit` contacts, or `limit` requests await an answer.
    Full,
}

impl Write for ChangeSubscription {
    type Outcome = SubscriptionChanged;

    async fn run(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<SubscriptionChanged, sqlx::Error> {
        if !accounts::exists(connection, &self.account).await? {
            return Ok(SubscriptionChanged::NoAccount);
        }
        let state = read::state(connection, &self.account, &self.contact).await?;
        if state != self.expected {
            return Ok(SubscriptionChanged::Stale(state));
        }
        if self.overflows(connection).await? {
            return Ok(SubscriptionChanged::Full);
        }
        self.update_request(connection).await?;
        outbox::insert(connection, &self.outbox).await?;
        let old = read::one(connection, &self.account, &self.contact).await?;
        // An item leaves the roster by `RemoveContact` alone.
        let new = (self.next.in_roster || old.is_some()).then(|| Contact {
            contact: self.contact.clone(),
            subscription: self.next.subscription,
            ask: self.next.ask,
            approved: self.next.approved,
            ..old.clone().unwrap_or_default()
        });
        let version = match &new {
            Some(item) if new != old => {
                put(connection, &self.account, item).await?;
                advance(connection, &self.account).await?
            }
            _ => read::version(connection, &self.account).await?,
        };
        Ok(SubscriptionChanged::Changed {
            contact: new,
            version,
        })
    }
}

impl ChangeSubscription {
    async fn overflows(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        if self.next.in_roster
            && !self.expected.in_roster
            && is_full(connection, &self.account, self.limit).await?
        {
            return Ok(true);
        }
        if !matches!(self.request, UpdateRequest::Store { .. }) || self.expected.pending_in {
            return Ok(false);
        }
        sqlx::query_scalar("SELECT COUNT(*) >= ? FROM subscription_requests WHERE account = ?")
            .bind(rows(self.limit))
            .bind(&self.account)
            .fetch_one(connection)
            .await
    }

    async fn update_request(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        match &self.request {
            UpdateRequest::Keep => Ok(()),
            UpdateRequest::Drop => drop_request(connection, &self.account, &self.contact).await,
            UpdateRequest::Store { stanza, received } => sqlx::query(
                "INSERT INTO subscription_requests (account, contact, stanza, received)
                 VALUES (?, ?, ?, ?) ON CONFLICT (account, contact)
                 DO UPDATE SET stanza = excluded.stanza, received = excluded.received",
            )
            .bind(&self.account)
            .bind(&self.contact)
            .bind(stanza)
            .bind(signed(*received))
            .execute(connection)
            .await
            .map(drop),
        }
    }
}

async fn is_full(
    connection: &mut SqliteConnection,
    account: &str,
    limit: usize,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT COUNT(*) >= ? FROM roster WHERE account = ?")
        .bind(rows(limit))
        .bind(account)
        .fetch_one(connection)
        .await
}

/// Writes a whole item into a roster that is being made.
pub(crate) async fn insert_contact(
    connection: &mut SqliteConnection,
    account: &str,
    contact: &Contact,
) -> Result<(), sqlx::Error> {
    put(connection, account, contact).await?;
    put_groups(connection, account, contact).await?;
    advance(connection, account).await.map(drop)
}

/// Writes all of an item but its groups.
async fn put(
    connection: &mut SqliteConnection,
    account: &str,
    contact: &Contact,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO roster (account, contact, name, subscription, ask, approved)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account, contact) DO UPDATE SET
         name = excluded.name, subscription = excluded.subscription,
         ask = excluded.ask, approved = excluded.approved",
    )
    .bind(account)
    .bind(&contact.contact)
    .bind(&contact.name)
    .bind(contact.subscription.column())
    .bind(contact.ask)
    .bind(contact.approved)
    .execute(connection)
    .await
    .map(drop)
}

async fn put_groups(
    connection: &mut SqliteConnection,
    account: &str,
    contact: &Contact,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM roster_groups WHERE account = ? AND contact = ?")
        .bind(account)
        .bind(&contact.contact)
        .execute(&mut *connection)
        .await?;
    if contact.groups.is_empty() {
        return Ok(());
    }
    QueryBuilder::new("INSERT INTO roster_groups (account, contact, name) ")
        .push_values(&contact.groups, |mut row, name| {
            row.push_bind(account)
                .push_bind(&contact.contact)
                .push_bind(name);
        })
        .build()
        .execute(connection)
        .await
        .map(drop)
}

async fn drop_request(
    connection: &mut SqliteConnection,
    account: &str,
    contact: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM subscription_requests WHERE account = ? AND contact = ?")
        .bind(account)
        .bind(contact)
        .execute(connection)
        .await
        .map(drop)
}

async fn advance(connection: &mut SqliteConnection, account: &str) -> Result<u64, sqlx::Error> {
    let version = sqlx::query_scalar(
        "INSERT INTO roster_versions (account, version) VALUES (?, 1)
         ON CONFLICT (account) DO UPDATE SET version = version + 1 RETURNING version",
    )
    .bind(account)
    .fetch_one(connection)
    .await?;
    Ok(unsigned(version))
}
