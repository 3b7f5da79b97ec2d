//! Welcomes, until whoever joins by them has them.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{DeviceId, Joiner, Welcome, fixed};
use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

/// Stores a Welcome for its joiners. Those that are known already are left as they are, whether they
/// have acknowledged it or not, so that a stanza that comes twice makes nobody join twice.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    welcome: &Welcome,
    now: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO welcomes (id, room, seq, head, epoch, sender, welcome, tree, stored)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&welcome.id[..])
    .bind(&welcome.room)
    .bind(signed(welcome.seq))
    .bind(&welcome.head[..])
    .bind(signed(welcome.epoch))
    .bind(&welcome.sender)
    .bind(&welcome.welcome)
    .bind(&welcome.tree)
    .bind(signed(now))
    .execute(&mut *connection)
    .await?;
    let mut new = 0;
    for joiner in &welcome.joiners {
        new += sqlx::query(
            "INSERT INTO welcome_joiners (id, account, device, domain, key_package)
             VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&welcome.id[..])
        .bind(&joiner.account)
        .bind(&joiner.device[..])
        .bind(&joiner.domain)
        .bind(&joiner.key_package)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    if new > 0 {
        // Joiners of another domain of ours may be done with it already.
        sqlx::query("UPDATE welcomes SET welcome = ?, tree = ? WHERE id = ? AND welcome IS NULL")
            .bind(&welcome.welcome)
            .bind(&welcome.tree)
            .bind(&welcome.id[..])
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Lets go of a Welcome nobody waits for any more. Its row stays for a while: see [`insert`].
pub(super) async fn release(
    connection: &mut SqliteConnection,
    id: &[u8; 16],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE welcomes SET welcome = NULL, tree = NULL WHERE id = ? AND NOT EXISTS
         (SELECT 1 FROM welcome_joiners WHERE id = welcomes.id AND acknowledged = 0)",
    )
    .bind(&id[..])
    .execute(connection)
    .await?;
    Ok(())
}

/// A device has joined by a Welcome, or can never use it. `true` if it was waiting for it.
#[derive(Clone, Debug)]
pub struct AcknowledgeWelcome {
    pub id: [u8; 16],
    pub account: String,
    pub device: DeviceId,
}

impl Write for AcknowledgeWelcome {
    type Outcome = bool;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(
            "UPDATE welcome_joiners SET acknowledged = 1
             WHERE id = ? AND account = ? AND device = ? AND acknowledged = 0",
        )
        .bind(&self.id[..])
        .bind(&self.account)
        .bind(&self.device[..])
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        release(connection, &self.id).await?;
        Ok(true)
    }
}

impl Storage {
    /// The Welcomes a device waits for, oldest first, each with this device as its only joiner.
    /// Those in `sent` are left out.
    pub async fn welcomes_for(
        &self,
        account: &str,
        device: DeviceId,
        sent: &[[u8; 16]],
        limit: usize,
    ) -> Result<Vec<Welcome>, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query(
            "SELECT w.id FROM welcome_joiners j JOIN welcomes w ON w.id = j.id
             WHERE j.account = ? AND j.device = ? AND j.acknowledged = 0
             AND w.welcome IS NOT NULL ORDER BY w.stored, w.room, w.seq LIMIT ?",
        )
        .bind(account)
        .bind(&device[..])
        .bind(rows(sent.len().saturating_add(limit)))
        .fetch_all(&mut *connection)
        .await?;
        let mut welcomes = Vec::new();
        for row in found {
            let id: [u8; 16] = fixed(row.try_get("id")?, "id")?;
            if welcomes.len() == limit || sent.contains(&id) {
                continue;
            }
            let row = sqlx::query(
                "SELECT w.id, w.room, w.seq, w.head, w.epoch, w.sender, w.welcome, w.tree,
                 j.account, j.domain, j.device, j.key_package
                 FROM welcomes w JOIN welcome_joiners j ON j.id = w.id
                 WHERE w.id = ? AND j.account = ? AND j.device = ? AND w.welcome IS NOT NULL",
            )
            .bind(&id[..])
            .bind(account)
            .bind(&device[..])
            .fetch_optional(&mut *connection)
            .await?;
            if let Some(row) = row {
                let mut welcome = read(&row)?;
                welcome.joiners.push(joiner(&row)?);
                welcomes.push(welcome);
            }
        }
        Ok(welcomes)
    }

    /// The Welcome of an entry, with those of a domain's joiners for whom the domain has not
    /// acknowledged it.
    pub async fn welcome_for_domain(
        &self,
        room: &str,
        seq: u64,
        domain: &str,
    ) -> Result<Option<Welcome>, Error> {
        let mut connection = self.read().await?;
        let found = sqlx::query(
            "SELECT w.id, w.room, w.seq, w.head, w.epoch, w.sender, w.welcome, w.tree,
             j.account, j.domain, j.device, j.key_package
             FROM welcomes w JOIN welcome_joiners j ON j.id = w.id
             WHERE w.room = ? AND w.seq = ? AND j.domain = ? AND j.acknowledged = 0
             AND w.welcome IS NOT NULL",
        )
        .bind(room)
        .bind(signed(seq))
        .bind(domain)
        .fetch_all(&mut *connection)
        .await?;
        let mut welcome: Option<Welcome> = None;
        for row in &found {
            let known = match &mut welcome {
                Some(welcome) => welcome,
                None => welcome.insert(read(row)?),
            };
            known.joiners.push(joiner(row)?);
        }
        Ok(welcome)
    }
}

fn read(row: &SqliteRow) -> Result<Welcome, sqlx::Error> {
    Ok(Welcome {
        id: fixed(row.try_get("id")?, "id")?,
        room: row.try_get("room")?,
        seq: unsigned(row.try_get("seq")?),
        head: fixed(row.try_get("head")?, "head")?,
        epoch: unsigned(row.try_get("epoch")?),
        sender: row.try_get("sender")?,
        joiners: Vec::new(),
        welcome: row.try_get("welcome")?,
        tree: row.try_get("tree")?,
    })
}

fn joiner(row: &SqliteRow) -> Result<Joiner, sqlx::Error> {
    Ok(Joiner {
        account: row.try_get("account")?,
        domain: row.try_get("domain")?,
        device: fixed(row.try_get("device")?, "device")?,
        key_package: row.try_get("key_package")?,
    })
}
