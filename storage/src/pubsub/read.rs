//! Reading nodes, items and relations.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::{Item, Node, NodeSubscription};
use crate::integer::{rows, unsigned};
use crate::{Error, Storage};

impl Storage {
    /// One node's configuration; `None`: there is no such node.
    pub async fn pubsub_node(&self, account: &str, node: &str) -> Result<Option<Node>, Error> {
        let row =
            sqlx::query("SELECT node, config FROM pubsub_nodes WHERE account = ? AND node = ?")
                .bind(account)
                .bind(node)
                .fetch_optional(&mut *self.read().await?)
                .await?;
        Ok(row.map(|row| read_node(&row)))
    }

    /// All nodes of an account, by name.
    pub async fn pubsub_nodes(&self, account: &str) -> Result<Vec<Node>, Error> {
        let found =
            sqlx::query("SELECT node, config FROM pubsub_nodes WHERE account = ? ORDER BY node")
                .bind(account)
                .fetch_all(&mut *self.read().await?)
                .await?;
        Ok(found.iter().map(read_node).collect())
    }

    /// The newest items of a node, newest first, at most `limit`.
    pub async fn pubsub_items(
        &self,
        account: &str,
        node: &str,
        limit: usize,
    ) -> Result<Vec<Item>, Error> {
        let found = sqlx::query(
            "SELECT place, item, publisher, payload, published FROM pubsub_items
             WHERE account = ? AND node = ? ORDER BY place DESC LIMIT ?",
        )
        .bind(account)
        .bind(node)
        .bind(rows(limit))
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found.iter().map(read_item).collect())
    }

    /// The items with these ids, as far as there are any, oldest first.
    pub async fn pubsub_items_named(
        &self,
        account: &str,
        node: &str,
        ids: &[String],
    ) -> Result<Vec<Item>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT place, item, publisher, payload, published FROM pubsub_items WHERE account = ",
        );
        query
            .push_bind(account)
            .push(" AND node = ")
            .push_bind(node);
        query.push(" AND item IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(id);
        }
        list.push_unseparated(") ORDER BY place");
        let found = query.build().fetch_all(&mut *self.read().await?).await?;
        Ok(found.iter().map(read_item).collect())
    }

    /// How an entity stands to a node, by its bare JID, if in any way.
    pub async fn pubsub_affiliation(
        &self,
        account: &str,
        node: &str,
        jid: &str,
    ) -> Result<Option<String>, Error> {
        Ok(sqlx::query_scalar(
            "SELECT affiliation FROM pubsub_affiliations
             WHERE account = ? AND node = ? AND jid = ?",
        )
        .bind(account)
        .bind(node)
        .bind(jid)
        .fetch_optional(&mut *self.read().await?)
        .await?)
    }

    /// Everybody with an affiliation, by JID.
    pub async fn pubsub_affiliations(
        &self,
        account: &str,
        node: &str,
    ) -> Result<Vec<(String, String)>, Error> {
        let found = sqlx::query(
            "SELECT jid, affiliation FROM pubsub_affiliations
             WHERE account = ? AND node = ? ORDER BY jid",
        )
        .bind(account)
        .bind(node)
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found
            .iter()
            .map(|row| (row.get("jid"), row.get("affiliation")))
            .collect())
    }

    /// Who has subscribed to a node, by JID.
    pub async fn pubsub_subscriptions(
        &self,
        account: &str,
        node: &str,
    ) -> Result<Vec<NodeSubscription>, Error> {
        let found = sqlx::query(
            "SELECT jid, pending FROM pubsub_subscriptions
             WHERE account = ? AND node = ? ORDER BY jid",
        )
        .bind(account)
        .bind(node)
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(found
            .iter()
            .map(|row| NodeSubscription {
                jid: row.get("jid"),
                pending: row.get("pending"),
            })
            .collect())
    }
}

fn read_node(row: &SqliteRow) -> Node {
    Node {
        node: row.get("node"),
        config: row.get("config"),
    }
}

fn read_item(row: &SqliteRow) -> Item {
    Item {
        place: row.get("place"),
        id: row.get("item"),
        publisher: row.get("publisher"),
        payload: row.get("payload"),
        published: unsigned(row.get("published")),
    }
}
