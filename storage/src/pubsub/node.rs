//! Making, configuring and deleting nodes.

use sqlx::SqliteConnection;

use super::publish::{NewNode, insert_node};
use crate::Write;
use crate::integer::rows;

/// Makes a node.
pub struct CreateNode {
    pub account: String,
    pub node: String,
    pub new: NewNode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeCreated {
    Created,
    /// There is one of that name.
    Exists,
    NoAccount,
    /// The account has as many nodes as it may.
    Full,
}

impl Write for CreateNode {
    type Outcome = NodeCreated;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<NodeCreated, sqlx::Error> {
        insert_node(connection, &self.account, &self.node, &self.new).await
    }
}

/// Gives a node another configuration; items beyond what it keeps go.
pub struct ConfigureNode {
    pub account: String,
    pub node: String,
    /// The configuration that the change was decided upon.
    pub expected: String,
    pub config: String,
    pub max_items: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configured {
    Configured,
    NoNode,
    /// The configuration is another by now.
    Stale,
}

impl Write for ConfigureNode {
    type Outcome = Configured;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Configured, sqlx::Error> {
        let changed = sqlx::query(
            "UPDATE pubsub_nodes SET config = ?, max_items = ?
             WHERE account = ? AND node = ? AND config = ?",
        )
        .bind(&self.config)
        .bind(rows(self.max_items))
        .bind(&self.account)
        .bind(&self.node)
        .bind(&self.expected)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        if changed == 0 {
            let there: Option<i64> =
                sqlx::query_scalar("SELECT 1 FROM pubsub_nodes WHERE account = ? AND node = ?")
                    .bind(&self.account)
                    .bind(&self.node)
                    .fetch_optional(connection)
                    .await?;
            return Ok(match there {
                Some(_) => Configured::Stale,
                None => Configured::NoNode,
            });
        }
        super::publish::evict(connection, &self.account, &self.node, self.max_items).await?;
        Ok(Configured::Configured)
    }
}

/// Deletes a node with all that belongs to it; false if there was none.
pub struct DeleteNode {
    pub account: String,
    pub node: String,
}

impl Write for DeleteNode {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let deleted = sqlx::query("DELETE FROM pubsub_nodes WHERE account = ? AND node = ?")
            .bind(&self.account)
            .bind(&self.node)
            .execute(connection)
            .await?;
        Ok(deleted.rows_affected() > 0)
    }
}
