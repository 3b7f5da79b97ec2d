//! An account with all that is kept for it, to be carried to another server and back. Devices of the
//! MLS extension, their rooms and what waits for other domains are not of it: they hang on keys that
//! stay where they are.

use sqlx::{Row, SqliteConnection};

use crate::integer::{rows, signed, unsigned};
use crate::pubsub::{Item, Node, NodeSubscription};
use crate::roster::insert_contact;
use crate::{
    Account, Archive, ArchivePreferences, BlockContacts, Contact, CreateAccount, Created,
    EnableAccount, Error, KeptScramKeys, OfflineMessage, PrivateXml, SetArchivePreferences,
    Storage, SubscriptionRequest, Write, archive,
};

/// What of an account is read at once; its messages are read in pages.
#[derive(Clone, PartialEq, Eq)]
pub struct PortableAccount {
    pub account: Account,
    pub keys: Vec<KeptScramKeys>,
    pub contacts: Vec<Contact>,
    pub requests: Vec<SubscriptionRequest>,
    pub private: Vec<PrivateXml>,
    pub nodes: Vec<PortableNode>,
    pub blocked: Vec<String>,
    pub preferences: Option<ArchivePreferences>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortableNode {
    pub node: Node,
    /// Oldest first.
    pub items: Vec<Item>,
    pub affiliations: Vec<(String, String)>,
    pub subscriptions: Vec<NodeSubscription>,
}

impl Storage {
    /// `None`: there is no such account.
    pub async fn portable_account(&self, account: &str) -> Result<Option<PortableAccount>, Error> {
        let Some(found) = self.account(account).await? else {
            return Ok(None);
        };
        let mut nodes = Vec::new();
        for node in self.pubsub_nodes(account).await? {
            let mut items = self.pubsub_items(account, &node.node, usize::MAX).await?;
            items.reverse();
            nodes.push(PortableNode {
                items,
                affiliations: self.pubsub_affiliations(account, &node.node).await?,
                subscriptions: self.pubsub_subscriptions(account, &node.node).await?,
                node,
            });
        }
        Ok(Some(PortableAccount {
            account: found,
            keys: self.scram_keys(account).await?,
            contacts: self.roster(account).await?.contacts,
            requests: self.subscription_requests(account).await?,
            private: self.all_private_xml(account).await?,
            nodes,
            blocked: self.blocklist(account).await?,
            preferences: self.archive_preferences(account).await?,
        }))
    }

    async fn all_private_xml(&self, account: &str) -> Result<Vec<PrivateXml>, Error> {
        let found = sqlx::query(
            "SELECT ns, name, payload, updated FROM private_xml WHERE account = ?
             ORDER BY ns, name",
        )
        .bind(account)
        .fetch_all(&mut *self.read().await?)
        .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| PrivateXml {
            ns: row.get("ns"),
            name: row.get("name"),
            payload: row.get("payload"),
            updated: unsigned(row.get("updated")),
        };
        Ok(found.iter().map(read).collect())
    }
}

/// Makes an account with all that comes along; nothing is changed where it exists.
pub struct ImportAccount {
    pub account: PortableAccount,
    pub domain: String,
    /// What a node keeps, by the order of the nodes: its configuration says so in the caller's words.
    pub max_items: Vec<usize>,
    /// Oldest first; ids and publication places are given anew.
    pub offline: Vec<OfflineMessage>,
    pub archive: Vec<Archive>,
}

impl Write for ImportAccount {
    type Outcome = Created;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Created, sqlx::Error> {
        let all = &self.account;
        let create = CreateAccount {
            account: all.account.account.clone(),
            domain: self.domain.clone(),
            created: all.account.created,
            keys: all.keys.clone(),
        };
        if create.run(connection).await? == Created::Exists {
            return Ok(Created::Exists);
        }
        let account = create.account;
        let enabled = all.account.enabled;
        let enable = EnableAccount {
            account: account.clone(),
            enabled,
        };
        enable.run(connection).await?;
        for contact in &all.contacts {
            insert_contact(connection, &account, contact).await?;
        }
        self.requests(connection, &account).await?;
        self.private(connection, &account).await?;
        for (node, max_items) in all.nodes.iter().zip(&self.max_items) {
            self.node(connection, node, *max_items).await?;
        }
        let block = BlockContacts {
            account: account.clone(),
            jids: all.blocked.clone(),
            limit: usize::MAX,
        };
        block.run(connection).await?;
        if let Some(preferences) = all.preferences.clone() {
            let set = SetArchivePreferences {
                account: account.clone(),
                preferences,
            };
            set.run(connection).await?;
        }
        for message in &self.offline {
            sqlx::query("INSERT INTO offline (account, stanza, received) VALUES (?, ?, ?)")
                .bind(&account)
                .bind(&message.stanza)
                .bind(signed(message.received))
                .execute(&mut *connection)
                .await?;
        }
        archive::insert(connection, &self.archive.iter().collect::<Vec<_>>()).await?;
        Ok(Created::Created)
    }
}

impl ImportAccount {
    async fn requests(
        &self,
        connection: &mut SqliteConnection,
        account: &str,
    ) -> Result<(), sqlx::Error> {
        for request in &self.account.requests {
            sqlx::query(
                "INSERT INTO subscription_requests (account, contact, stanza, received)
                 VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(account)
            .bind(&request.contact)
            .bind(&request.stanza)
            .bind(signed(request.received))
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn private(
        &self,
        connection: &mut SqliteConnection,
        account: &str,
    ) -> Result<(), sqlx::Error> {
        for element in &self.account.private {
            sqlx::query(
                "INSERT INTO private_xml (account, ns, name, payload, updated)
                 VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(account)
            .bind(&element.ns)
            .bind(&element.name)
            .bind(&element.payload)
            .bind(signed(element.updated))
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn node(
        &self,
        connection: &mut SqliteConnection,
        node: &PortableNode,
        max_items: usize,
    ) -> Result<(), sqlx::Error> {
        let (account, created) = (&self.account.account.account, self.account.account.created);
        let name = &node.node.node;
        sqlx::query(
            "INSERT INTO pubsub_nodes (account, node, config, max_items, created)
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(account)
        .bind(name)
        .bind(&node.node.config)
        .bind(rows(max_items))
        .bind(signed(created))
        .execute(&mut *connection)
        .await?;
        for item in &node.items {
            let bytes = u64::try_from(item.payload.len() + item.id.len()).unwrap_or(u64::MAX);
            sqlx::query(
                "INSERT INTO pubsub_items
                   (account, node, item, publisher, payload, bytes, published)
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(account)
            .bind(name)
            .bind(&item.id)
            .bind(&item.publisher)
            .bind(&item.payload)
            .bind(signed(bytes))
            .bind(signed(item.published))
            .execute(&mut *connection)
            .await?;
        }
        for (jid, affiliation) in &node.affiliations {
            sqlx::query(
                "INSERT INTO pubsub_affiliations (account, node, jid, affiliation)
                 VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(account)
            .bind(name)
            .bind(jid)
            .bind(affiliation)
            .execute(&mut *connection)
            .await?;
        }
        for one in &node.subscriptions {
            sqlx::query(
                "INSERT INTO pubsub_subscriptions (account, node, jid, pending)
                 VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(account)
            .bind(name)
            .bind(&one.jid)
            .bind(one.pending)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
