//! Facts, durable. A noun a file, its SQL inside; callers never see SQL and never hold a
//! transaction. Start at [`Storage`] and [`writer`].
//!
//! Knows no protocol: addresses are strings, payloads are bytes. Nothing outside this crate may
//! assume a single writer.

mod writer;

use std::path::Path;

use sqlx::SqliteConnection;

pub use writer::{Error, Write};

/// A domain's durable memory. Cheap to clone.
#[derive(Clone)]
pub struct Storage {}

impl Storage {
    /// Opens or creates the database and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let _ = path;
        todo!()
    }

    /// Carries out one change: all of it or nothing, durable when this returns. Changes handed in
    /// by many callers share a transaction; each caller gets its own outcome.
    pub async fn write<W: Write>(&self, change: W) -> Result<W::Outcome, Error> {
        let _ = change;
        todo!()
    }

    /// Hands a change in now and gives the outcome later, so that a caller can keep its changes in
    /// order without waiting for each: changes are carried out in the order of these calls.
    pub async fn submit<W: Write>(
        &self,
        change: W,
    ) -> impl Future<Output = Result<W::Outcome, Error>> + Send + 'static {
        let _ = change;
        async { todo!() }
    }

    /// A connection for reading; never waits for the writer.
    pub(crate) async fn read(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, Error> {
        todo!()
    }
}

#[allow(dead_code)]
fn unused(_: &SqliteConnection) {}
