//! Large objects, named by their SHA-256 and kept once, in chunks. Who writes here has computed the
//! hash; what comes in pieces is hashed by the caller once it is whole ([`SealBlob`]).

use sqlx::{Row, SqliteConnection};

use crate::integer::{signed, unsigned};
use crate::rooms::Digest;
use crate::{Error, Storage, Write};

/// Octets of a chunk.
pub const CHUNK: usize = 48 * 1024;
/// Objects in rows of their own up to here; larger ones are blobs.
pub const INLINE: usize = 32 * 1024;
/// The owner of what is whole.
const WHOLE: &str = "";

/// The next chunk of an object that comes in pieces.
#[derive(Clone, Debug)]
pub struct PutChunk {
    pub hash: Digest,
    /// Whose it is until it is whole: pieces of several owners are not mixed.
    pub owner: String,
    pub size: u64,
    pub offset: u64,
    pub octets: Vec<u8>,
    /// Milliseconds since 1970.
    pub now: u64,
    /// Octets of this owner's incomplete objects.
    pub most: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// What is held, this chunk with it if it was the next one.
    Held(Held),
    /// The owner has too much here that is incomplete.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Octets, from the beginning.
    pub octets: u64,
    /// It is whole, and its hash is right.
    pub whole: bool,
}

impl Write for PutChunk {
    type Outcome = Put;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Put, sqlx::Error> {
        let before = held(connection, &self.hash, &self.owner).await?;
        match before {
            Some(held) if held.whole || held.octets != self.offset => return Ok(Put::Held(held)),
            Some(_) => {}
            None if self.offset > 0 => {
                let nothing = Held {
                    octets: 0,
                    whole: false,
                };
                return Ok(Put::Held(nothing));
            }
            None if !self.begin(connection).await? => return Ok(Put::Full),
            None => {}
        }
        insert_chunk(
            connection,
            &self.hash,
            &self.owner,
            self.offset,
            &self.octets,
        )
        .await?;
        let octets = self.offset + self.octets.len() as u64;
        sqlx::query("UPDATE blobs SET held = ?, stored = ? WHERE hash = ? AND owner = ?")
            .bind(signed(octets))
            .bind(signed(self.now))
            .bind(&self.hash[..])
            .bind(&self.owner)
            .execute(connection)
            .await?;
        Ok(Put::Held(Held {
            octets,
            whole: false,
        }))
    }
}

impl PutChunk {
    async fn begin(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(
            "INSERT INTO blobs (hash, owner, size, held, stored) SELECT ?1, ?2, ?3, 0, ?4
             WHERE ?3 + COALESCE((SELECT SUM(size) FROM blobs WHERE owner = ?2), 0) <= ?5",
        )
        .bind(&self.hash[..])
        .bind(&self.owner)
        .bind(signed(self.size))
        .bind(signed(self.now))
        .bind(signed(self.most))
        .execute(connection)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

/// An owner's object has all its octets: it becomes everybody's if they are the right ones, and goes
/// otherwise.
#[derive(Clone, Debug)]
pub struct SealBlob {
    pub hash: Digest,
    pub owner: String,
    pub right: bool,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Write for SealBlob {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let known = held(connection, &self.hash, WHOLE).await?.is_some();
        if self.right && !known {
            for statement in [
                "UPDATE blob_chunks SET owner = '' WHERE hash = ? AND owner = ?",
                "UPDATE blobs SET owner = '' WHERE hash = ? AND owner = ? AND held = size",
            ] {
                sqlx::query(statement)
                    .bind(&self.hash[..])
                    .bind(&self.owner)
                    .execute(&mut *connection)
                    .await?;
            }
            return touch(connection, &self.hash, self.now).await;
        }
        drop_blob(connection, &self.hash, &self.owner).await
    }
}

/// Objects that are whole and whose hashes were computed here.
#[derive(Clone, Debug)]
pub struct PutBlobs {
    pub blobs: Vec<(Digest, Vec<u8>)>,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Write for PutBlobs {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for (hash, octets) in &self.blobs {
            put(connection, hash, octets, self.now).await?;
        }
        Ok(())
    }
}

/// Stores a whole object, unless it is here.
pub(crate) async fn put(
    connection: &mut SqliteConnection,
    hash: &Digest,
    octets: &[u8],
    now: u64,
) -> Result<(), sqlx::Error> {
    if held(connection, hash, WHOLE).await?.is_some() {
        return touch(connection, hash, now).await;
    }
    for (number, chunk) in octets.chunks(CHUNK).enumerate() {
        insert_chunk(connection, hash, WHOLE, (number * CHUNK) as u64, chunk).await?;
    }
    sqlx::query("INSERT INTO blobs (hash, owner, size, held, stored) VALUES (?1, '', ?2, ?2, ?3)")
        .bind(&hash[..])
        .bind(signed(octets.len() as u64))
        .bind(signed(now))
        .execute(connection)
        .await?;
    Ok(())
}

/// A whole object.
pub(crate) async fn get(
    connection: &mut SqliteConnection,
    hash: &Digest,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    match held(connection, hash, WHOLE).await? {
        Some(_) => gather(connection, hash, WHOLE).await.map(Some),
        None => Ok(None),
    }
}

async fn gather(
    connection: &mut SqliteConnection,
    hash: &Digest,
    owner: &str,
) -> Result<Vec<u8>, sqlx::Error> {
    let chunks: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT octets FROM blob_chunks WHERE hash = ? AND owner = ? ORDER BY number",
    )
    .bind(&hash[..])
    .bind(owner)
    .fetch_all(connection)
    .await?;
    Ok(chunks.concat())
}

async fn held(
    connection: &mut SqliteConnection,
    hash: &Digest,
    owner: &str,
) -> Result<Option<Held>, sqlx::Error> {
    // What is whole comes first.
    let row = sqlx::query(
        "SELECT held, owner FROM blobs WHERE hash = ? AND owner IN ('', ?) ORDER BY owner LIMIT 1",
    )
    .bind(&hash[..])
    .bind(owner)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Held {
            octets: unsigned(row.try_get("held")?),
            whole: row.try_get::<String, _>("owner")?.is_empty(),
        })
    })
    .transpose()
}

async fn insert_chunk(
    connection: &mut SqliteConnection,
    hash: &Digest,
    owner: &str,
    offset: u64,
    octets: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO blob_chunks (hash, owner, number, octets) VALUES (?, ?, ?, ?)")
        .bind(&hash[..])
        .bind(owner)
        .bind(signed(offset / CHUNK as u64))
        .bind(octets)
        .execute(connection)
        .await?;
    Ok(())
}

async fn touch(
    connection: &mut SqliteConnection,
    hash: &Digest,
    now: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE blobs SET stored = MAX(stored, ?) WHERE hash = ? AND owner = ''")
        .bind(signed(now))
        .bind(&hash[..])
        .execute(connection)
        .await?;
    Ok(())
}

async fn drop_blob(
    connection: &mut SqliteConnection,
    hash: &[u8],
    owner: &str,
) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM blob_chunks WHERE hash = ? AND owner = ?",
        "DELETE FROM blobs WHERE hash = ? AND owner = ?",
    ] {
        sqlx::query(statement)
            .bind(hash)
            .bind(owner)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Blobs that one purge looks at.
const PURGED: u32 = 64;

/// Lets go of what is older than `before` and no longer named: neither by an entry that is still
/// held nor by a Welcome that somebody waits for.
pub(crate) async fn purge(
    connection: &mut SqliteConnection,
    before: u64,
) -> Result<u64, sqlx::Error> {
    let found = sqlx::query(
        "SELECT hash, owner FROM blobs WHERE stored < ? AND (owner <> '' OR (
           NOT EXISTS (SELECT 1 FROM room_log WHERE digest = blobs.hash AND blob = 1
                       AND payload IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM welcomes WHERE welcome_blob = blobs.hash
                       AND welcome_blob IS NOT NULL AND welcome IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM welcomes WHERE tree_blob = blobs.hash
                       AND tree_blob IS NOT NULL AND welcome IS NOT NULL))) LIMIT ?",
    )
    .bind(signed(before))
    .bind(i64::from(PURGED))
    .fetch_all(&mut *connection)
    .await?;
    for row in &found {
        let hash: Vec<u8> = row.try_get("hash")?;
        let owner: String = row.try_get("owner")?;
        drop_blob(connection, &hash, &owner).await?;
    }
    Ok(found.len() as u64)
}

impl Storage {
    /// How much of an object is here: whole, or what this owner has sent of it.
    pub async fn blob_held(&self, hash: &Digest, owner: &str) -> Result<Option<Held>, Error> {
        let mut connection = self.read().await?;
        Ok(held(&mut connection, hash, owner).await?)
    }

    /// A whole object.
    pub async fn blob(&self, hash: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let mut connection = self.read().await?;
        Ok(get(&mut connection, hash).await?)
    }

    /// What an owner has sent of an object.
    pub async fn blob_of(&self, hash: &Digest, owner: &str) -> Result<Vec<u8>, Error> {
        let mut connection = self.read().await?;
        Ok(gather(&mut connection, hash, owner).await?)
    }

    /// One chunk of a whole object.
    pub async fn blob_chunk(&self, hash: &Digest, offset: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut connection = self.read().await?;
        Ok(sqlx::query_scalar(
            "SELECT octets FROM blob_chunks WHERE hash = ? AND owner = '' AND number = ?",
        )
        .bind(&hash[..])
        .bind(signed(offset / CHUNK as u64))
        .fetch_optional(&mut *connection)
        .await?)
    }
}

#[cfg(test)]
mod tests;
