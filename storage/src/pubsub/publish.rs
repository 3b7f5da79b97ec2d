//! Publishing, retracting and purging items.

use sqlx::SqliteConnection;

use super::node::NodeCreated;
use crate::Write;
use crate::integer::{rows, signed, unsigned};

/// What a node is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    pub config: String,
    pub max_items: usize,
    pub created: u64,
    /// Nodes of one account.
    pub nodes_limit: usize,
}

/// What all items of an account may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub bytes: u64,
}

/// Publishes an item; makes the node if there is none (XEP-0060 §7.1.4).
pub struct Publish {
    pub account: String,
    pub node: String,
    /// The configuration that this was decided upon; `None`: there was no node.
    pub expected: Option<String>,
    /// With what a missing node is made.
    pub new: NewNode,
    /// Whether the item is kept, or only told.
    pub persist: bool,
    pub item: String,
    pub publisher: String,
    pub payload: Vec<u8>,
    pub published: u64,
    pub quota: Quota,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    Published {
        /// Items that gave way.
        evicted: Vec<String>,
    },
    NoAccount,
    /// The node, or its configuration, is another by now.
    Stale,
    /// The account has as many nodes as it may.
    TooManyNodes,
    /// The account keeps as much as it may.
    OverQuota,
}

impl Write for Publish {
    type Outcome = Published;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Published, sqlx::Error> {
        let found: Option<(String, i64)> = sqlx::query_as(
            "SELECT config, max_items FROM pubsub_nodes WHERE account = ? AND node = ?",
        )
        .bind(&self.account)
        .bind(&self.node)
        .fetch_optional(&mut *connection)
        .await?;
        if found.as_ref().map(|(config, _)| config) != self.expected.as_ref() {
            return Ok(Published::Stale);
        }
        // Before anything is written: an outcome is committed with its neighbours.
        if self.persist && self.would_hold(connection).await? > self.quota.bytes {
            return Ok(Published::OverQuota);
        }
        let max_items = match found {
            Some((_, max_items)) => usize::try_from(max_items).unwrap_or(0),
            None => match insert_node(connection, &self.account, &self.node, &self.new).await? {
                NodeCreated::Created => self.new.max_items,
                NodeCreated::Exists => return Ok(Published::Stale),
                NodeCreated::NoAccount => return Ok(Published::NoAccount),
                NodeCreated::Full => return Ok(Published::TooManyNodes),
            },
        };
        if !self.persist {
            return Ok(Published::Published {
                evicted: Vec::new(),
            });
        }
        self.insert(connection).await?;
        let evicted = evict(connection, &self.account, &self.node, max_items).await?;
        Ok(Published::Published { evicted })
    }
}

impl Publish {
    /// What the account keeps with this item in place of one of the same id. What eviction will
    /// take away is not counted off: an account at its limit deletes something first.
    async fn would_hold(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let held: i64 = sqlx::query_scalar(
            "SELECT COALESCE(SUM(bytes), 0)
                 - COALESCE((SELECT bytes FROM pubsub_items
                             WHERE account = ?1 AND node = ?2 AND item = ?3), 0)
             FROM pubsub_items WHERE account = ?1",
        )
        .bind(&self.account)
        .bind(&self.node)
        .bind(&self.item)
        .fetch_one(connection)
        .await?;
        Ok(unsigned(held).saturating_add(self.bytes()))
    }

    fn bytes(&self) -> u64 {
        u64::try_from(self.payload.len() + self.item.len()).unwrap_or(u64::MAX)
    }

    async fn insert(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM pubsub_items WHERE account = ? AND node = ? AND item = ?")
            .bind(&self.account)
            .bind(&self.node)
            .bind(&self.item)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "INSERT INTO pubsub_items (account, node, item, publisher, payload, bytes, published)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&self.account)
        .bind(&self.node)
        .bind(&self.item)
        .bind(&self.publisher)
        .bind(&self.payload)
        .bind(signed(self.bytes()))
        .bind(signed(self.published))
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Takes the oldest items away, as many as there are too many; their ids.
pub(super) async fn evict(
    connection: &mut SqliteConnection,
    account: &str,
    node: &str,
    max_items: usize,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "DELETE FROM pubsub_items WHERE place IN
         (SELECT place FROM pubsub_items WHERE account = ? AND node = ?
          ORDER BY place DESC LIMIT -1 OFFSET ?)
         RETURNING item",
    )
    .bind(account)
    .bind(node)
    .bind(rows(max_items))
    .fetch_all(connection)
    .await
}

pub(super) async fn insert_node(
    connection: &mut SqliteConnection,
    account: &str,
    node: &str,
    new: &NewNode,
) -> Result<NodeCreated, sqlx::Error> {
    let (exists, nodes, there): (i64, i64, i64) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM accounts WHERE account = ?1),
                (SELECT COUNT(*) FROM pubsub_nodes WHERE account = ?1),
                EXISTS (SELECT 1 FROM pubsub_nodes WHERE account = ?1 AND node = ?2)",
    )
    .bind(account)
    .bind(node)
    .fetch_one(&mut *connection)
    .await?;
    if exists == 0 {
        return Ok(NodeCreated::NoAccount);
    }
    if there != 0 {
        return Ok(NodeCreated::Exists);
    }
    if nodes >= rows(new.nodes_limit) {
        return Ok(NodeCreated::Full);
    }
    sqlx::query(
        "INSERT INTO pubsub_nodes (account, node, config, max_items, created)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(account)
    .bind(node)
    .bind(&new.config)
    .bind(rows(new.max_items))
    .bind(signed(new.created))
    .execute(connection)
    .await?;
    Ok(NodeCreated::Created)
}

/// Takes one item back.
pub struct Retract {
    pub account: String,
    pub node: String,
    pub item: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retracted {
    Retracted,
    NoItem,
    NoNode,
}

impl Write for Retract {
    type Outcome = Retracted;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Retracted, sqlx::Error> {
        let gone =
            sqlx::query("DELETE FROM pubsub_items WHERE account = ? AND node = ? AND item = ?")
                .bind(&self.account)
                .bind(&self.node)
                .bind(&self.item)
                .execute(&mut *connection)
                .await?
                .rows_affected();
        if gone > 0 {
            return Ok(Retracted::Retracted);
        }
        let there: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM pubsub_nodes WHERE account = ? AND node = ?")
                .bind(&self.account)
                .bind(&self.node)
                .fetch_optional(connection)
                .await?;
        Ok(match there {
            Some(_) => Retracted::NoItem,
            None => Retracted::NoNode,
        })
    }
}

/// Takes all items of a node away; false if there is no such node.
pub struct PurgeNode {
    pub account: String,
    pub node: String,
}

impl Write for PurgeNode {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        sqlx::query("DELETE FROM pubsub_items WHERE account = ? AND node = ?")
            .bind(&self.account)
            .bind(&self.node)
            .execute(&mut *connection)
            .await?;
        let there: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM pubsub_nodes WHERE account = ? AND node = ?")
                .bind(&self.account)
                .bind(&self.node)
                .fetch_optional(connection)
                .await?;
        Ok(there.is_some())
    }
}
