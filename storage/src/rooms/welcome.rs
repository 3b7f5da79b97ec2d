//! Welcomes, until whoever joins by them has them.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{DeviceId, Digest, Joiner, Welcome, fixed};
use crate::blobs;
use crate::integer::{rows, signed, unsigned};
use crate::{Error, Storage, Write};

/// Stores a Welcome for its joiners. Those that are known already are left as they are, whether they
/// have acknowledged it or not, so that a stanza that comes twice makes nobody join twice.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    welcome: &Welcome,
    now: u64,
) -> Result<(), sqlx::Error> {
    let message = Object::of(&welcome.welcome, &welcome.welcome_hash);
    let tree = Object::of(&welcome.tree, &welcome.tree_hash);
    for (object, octets) in [(&message, &welcome.welcome), (&tree, &welcome.tree)] {
        if let Some(hash) = object.blob {
            blobs::put(connection, hash, octets, now).await?;
        }
    }
    sqlx::query(
        "INSERT INTO welcomes (id, room, seq, head, epoch, sender, welcome, tree, stored,
         welcome_blob, tree_blob, tree_inflated)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&welcome.id[..])
    .bind(&welcome.room)
    .bind(signed(welcome.seq))
    .bind(&welcome.head[..])
    .bind(signed(welcome.epoch))
    .bind(&welcome.sender)
    .bind(message.row)
    .bind(tree.row)
    .bind(signed(now))
    .bind(message.blob.map(|hash| &hash[..]))
    .bind(tree.blob.map(|hash| &hash[..]))
    .bind(welcome.tree_inflated.map(signed))
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
            .bind(message.row)
            .bind(tree.row)
            .bind(&welcome.id[..])
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// What is written of an object into the Welcome's own row, and the blob it is otherwise.
struct Object<'a> {
    row: &'a [u8],
    blob: Option<&'a Digest>,
}

impl<'a> Object<'a> {
    fn of(octets: &'a [u8], hash: &'a Digest) -> Self {
        match octets.len() > blobs::INLINE {
            true => Self {
                row: &[],
                blob: Some(hash),
            },
            false => Self {
                row: octets,
                blob: None,
            },
        }
    }
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
                 w.welcome_blob, w.tree_blob, w.tree_inflated, j.account, j.domain, j.device,
                 j.key_package
                 FROM welcomes w JOIN welcome_joiners j ON j.id = w.id
                 WHERE w.id = ? AND j.account = ? AND j.device = ? AND w.welcome IS NOT NULL",
            )
            .bind(&id[..])
            .bind(account)
            .bind(&device[..])
            .fetch_optional(&mut *connection)
            .await?;
            if let Some(row) = row {
                let Some(mut welcome) = read(&mut connection, &row).await? else {
                    continue;
                };
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
             w.welcome_blob, w.tree_blob, w.tree_inflated, j.account, j.domain, j.device,
             j.key_package
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
                None => match read(&mut connection, row).await? {
                    Some(read) => welcome.insert(read),
                    None => return Ok(None),
                },
            };
            known.joiners.push(joiner(row)?);
        }
        Ok(welcome)
    }
}

/// None: what it brings was lost.
async fn read(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
) -> Result<Option<Welcome>, sqlx::Error> {
    let message = object(connection, row, "welcome", "welcome_blob").await?;
    let tree = object(connection, row, "tree", "tree_blob").await?;
    let (Some((welcome, welcome_hash)), Some((tree, tree_hash))) = (message, tree) else {
        return Ok(None);
    };
    Ok(Some(Welcome {
        id: fixed(row.try_get("id")?, "id")?,
        room: row.try_get("room")?,
        seq: unsigned(row.try_get("seq")?),
        head: fixed(row.try_get("head")?, "head")?,
        epoch: unsigned(row.try_get("epoch")?),
        sender: row.try_get("sender")?,
        joiners: Vec::new(),
        welcome,
        welcome_hash,
        tree,
        tree_hash,
        tree_inflated: row
            .try_get::<Option<i64>, _>("tree_inflated")?
            .map(unsigned),
    }))
}

/// An object and, if it is a blob, its hash.
async fn object(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    column: &str,
    blob: &'static str,
) -> Result<Option<(Vec<u8>, Digest)>, sqlx::Error> {
    let named: Option<Vec<u8>> = row.try_get(blob)?;
    let Some(hash) = named else {
        return Ok(Some((row.try_get(column)?, [0; 32])));
    };
    let hash = fixed(&hash, blob)?;
    let octets = blobs::get(connection, &hash).await?;
    Ok(octets.map(|octets| (octets, hash)))
}

fn joiner(row: &SqliteRow) -> Result<Joiner, sqlx::Error> {
    Ok(Joiner {
        account: row.try_get("account")?,
        domain: row.try_get("domain")?,
        device: fixed(row.try_get("device")?, "device")?,
        key_package: row.try_get("key_package")?,
    })
}
