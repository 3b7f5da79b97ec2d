//! Who stands in which relation to a node: affiliations and subscriptions.

use sqlx::SqliteConnection;

use crate::Write;

/// Sets affiliations; `None` takes one away. All of them or none: false if there is no such node,
/// or it would have more than `limit`.
pub struct Affiliate {
    pub account: String,
    pub node: String,
    pub affiliations: Vec<(String, Option<String>)>,
    pub limit: usize,
}

impl Write for Affiliate {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let Some(held) = held(connection, &self.account, &self.node, COUNT_AFFILIATIONS).await?
        else {
            return Ok(false);
        };
        if held + self.affiliations.len() > self.limit {
            return Ok(false);
        }
        for (jid, affiliation) in &self.affiliations {
            match affiliation {
                Some(affiliation) => {
                    sqlx::query(
                        "INSERT INTO pubsub_affiliations (account, node, jid, affiliation)
                         VALUES (?, ?, ?, ?)
                         ON CONFLICT DO UPDATE SET affiliation = excluded.affiliation",
                    )
                    .bind(&self.account)
                    .bind(&self.node)
                    .bind(jid)
                    .bind(affiliation)
                    .execute(&mut *connection)
                    .await?;
                }
                None => {
                    sqlx::query(
                        "DELETE FROM pubsub_affiliations
                         WHERE account = ? AND node = ? AND jid = ?",
                    )
                    .bind(&self.account)
                    .bind(&self.node)
                    .bind(jid)
                    .execute(&mut *connection)
                    .await?;
                }
            }
        }
        Ok(true)
    }
}

/// Subscribes an entity, or settles a subscription that was pending; false if there is no such
/// node, or it has `limit` subscriptions.
pub struct Subscribe {
    pub account: String,
    pub node: String,
    pub jid: String,
    pub pending: bool,
    pub limit: usize,
}

impl Write for Subscribe {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        match held(connection, &self.account, &self.node, COUNT_SUBSCRIPTIONS).await? {
            Some(held) if held < self.limit => {}
            _ => return Ok(false),
        }
        sqlx::query(
            "INSERT INTO pubsub_subscriptions (account, node, jid, pending) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET pending = MIN(pending, excluded.pending)",
        )
        .bind(&self.account)
        .bind(&self.node)
        .bind(&self.jid)
        .bind(self.pending)
        .execute(connection)
        .await?;
        Ok(true)
    }
}

/// Ends a subscription; false if there was none.
pub struct Unsubscribe {
    pub account: String,
    pub node: String,
    pub jid: String,
}

impl Write for Unsubscribe {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let ended = sqlx::query(
            "DELETE FROM pubsub_subscriptions WHERE account = ? AND node = ? AND jid = ?",
        )
        .bind(&self.account)
        .bind(&self.node)
        .bind(&self.jid)
        .execute(connection)
        .await?;
        Ok(ended.rows_affected() > 0)
    }
}

const COUNT_AFFILIATIONS: &str = "SELECT (SELECT COUNT(*) FROM pubsub_affiliations a
     WHERE a.account = n.account AND a.node = n.node)
     FROM pubsub_nodes n WHERE account = ? AND node = ?";
const COUNT_SUBSCRIPTIONS: &str = "SELECT (SELECT COUNT(*) FROM pubsub_subscriptions s
     WHERE s.account = n.account AND s.node = n.node)
     FROM pubsub_nodes n WHERE account = ? AND node = ?";

/// How many of a kind a node has; `None`: there is no such node.
async fn held(
    connection: &mut SqliteConnection,
    account: &str,
    node: &str,
    count: &'static str,
) -> Result<Option<usize>, sqlx::Error> {
    let held: Option<i64> = sqlx::query_scalar(count)
        .bind(account)
        .bind(node)
        .fetch_optional(connection)
        .await?;
    Ok(held.map(|held| usize::try_from(held).unwrap_or(usize::MAX)))
}
