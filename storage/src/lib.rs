//! Facts, durable. A noun a file, its SQL inside; callers never see SQL and never hold a
//! transaction. Start at [`Storage`], then read `writer`.
//!
//! - Changes are plain structs implementing [`Write`]; [`Storage::write`] carries one out and
//!   returns when it is on disk. Changes of many callers share one transaction.
//! - Reads are methods of [`Storage`], beside the changes of their noun. They run on connections of
//!   their own and never wait for the writer.
//! - The schema is in `migrations/`, numbered, forward only.
//!
//! Knows no protocol: addresses are strings, payloads are bytes, times are handed in (milliseconds
//! since 1970 unless a name says otherwise). Nothing outside this crate may assume a single writer.

mod accept;
mod accounts;
mod archive;
mod authority;
mod barrier;
pub mod blobs;
mod blocked;
mod blocklist;
mod checkpoint;
mod fast;
mod health;
mod integer;
pub mod key_packages;
mod last_activity;
mod managed;
mod migrate;
mod offline;
mod open;
mod outbox;
mod pieces;
mod portable;
mod private_xml;
pub mod pubsub;
mod receipt;
pub mod rooms;
mod roster;
mod snapshot;
mod summary;
pub mod transparency;
mod trouble;
mod uploads;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};

pub use accept::{AcceptMessage, AcceptMessages, AcceptedMessage, ReceiveMessages};
pub use accounts::{
    Account, CreateAccount, Created, DeleteAccount, EnableAccount, HostSecret, KeptScramKeys,
    RegisterAccount, ScramHash, SetScramKeys,
};
pub use archive::{
    Archive, ArchiveFilter, ArchivePage, ArchivePolicy, ArchivePreferences, ArchiveRow, Archived,
    Paging, PurgeArchive, SetArchivePreferences, Side, TrimArchive, UnknownUid,
};
pub use authority::{
    Device, IssuedCertificate, PinAnchors, PinnedAnchors, PublishAnchors, PublishedAnchors,
    RecordCertificates, Recorded, RegisterDevice, Registered, RevocationList, RevokeDevice,
    RevokedCertificate, RevokedDevice, StoreRevocationList,
};
pub use barrier::Barrier;
pub use blocked::{BLOCKED_LIMIT, BlockPeer, Blocked, UnblockPeer};
pub use blocklist::{BlockContacts, ContactsBlocked, UnblockContacts};
pub use fast::{FastGenerations, FastKey, IssueFastToken, UseFastToken};
pub use last_activity::{LastActivity, NoteGone};
pub use managed::{
    AFTER_THE_END, Content, ForgetAcknowledged, ForgetSession, Form, Handled, KeepHandled,
    ManageSession, MoveOffline, Queued, RestoreSessions, RestoredSession, RestoredStanza,
    ResumeSession, SessionState, SuspendSession,
};
pub use offline::{DeleteOffline, OfflineMessage, StoreOffline, StoredOffline, TakeOffline};
pub use outbox::{
    Delivered, Enqueue, Enqueued, OUTBOX_LIMIT, OutboxRow, Outgoing, Queue, RemoveOutgoing,
};
pub use portable::{ImportAccount, PortableAccount, PortableNode};
pub use private_xml::{KeepPrivateXml, PrivateXml, PrivateXmlKept};
pub use receipt::{ForgetQueues, Once, OutboxQueue, Receipt, Receive, RenewOutboxQueue, Settled};
pub use roster::{
    ChangeSubscription, Contact, ContactSet, RemoveContact, RemovedContact, Roster, SetContact,
    Subscription, SubscriptionChanged, SubscriptionRequest, SubscriptionState, UpdateRequest,
};
pub use snapshot::UPGRADE_COPIES;
pub use summary::{AccountSummary, Totals};
pub use trouble::Trouble;
pub use uploads::{
    ExpireUploads, ForgetUpload, PromiseUpload, Promised, StoreUpload, UPLOADS_AT_ONCE, Upload,
    UploadId,
};
pub use writer::{Error, QUEUE_LIMIT, Write};

/// A domain's durable memory. Cheap to clone; the last clone dropped closes it, [`Storage::close`]
/// does so and waits.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    writer: writer::Handle,
    readers: SqlitePool,
    reads: AtomicU64,
    health: health::Health,
    /// Only for `:memory:`: removed when the last clone is gone.
    _scratch: Option<open::Scratch>,
}

impl Storage {
    /// Opens or creates the database and brings its schema up to date. `:memory:` gives an empty
    /// one that vanishes with the last clone, for tests.
    ///
    /// # Errors
    /// [`Error::NewerSchema`] when a newer version has written it, else [`Error::Database`].
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let opened = open::open(path).await?;
        let checkpoints = checkpoint::start(opened.checkpointer, opened.path);
        let health = health::Health::default();
        Ok(Self {
            inner: Arc::new(Inner {
                writer: writer::start(opened.writer, checkpoints, health.clone()),
                health,
                readers: opened.readers,
                reads: AtomicU64::new(0),
                _scratch: opened.scratch,
            }),
        })
    }

    /// Looks through a database without changing anything, beside a server that uses it: what
    /// SQLite finds wrong, nothing if it is whole.
    ///
    /// # Errors
    /// [`Error::NewerSchema`], or [`Error::Database`] when it cannot be read at all.
    pub async fn examine(path: &Path) -> Result<Vec<String>, Error> {
        open::examine(path).await
    }

    /// The newest schema that this version knows.
    #[must_use]
    pub fn schema() -> i64 {
        migrate::known()
    }

    /// Copies a database, as it is at one moment, into a file that does not exist, and looks through
    /// the copy; a server may use the database meanwhile. The version of its schema.
    ///
    /// # Errors
    /// [`Error::NewerSchema`], [`Error::Damaged`], or [`Error::Database`] when it cannot be read or
    /// the copy cannot be written.
    pub async fn snapshot(path: &Path, to: &Path) -> Result<i64, Error> {
        snapshot::snapshot(path, to).await
    }

    /// Looks through a database that nobody uses, more closely than [`Storage::examine`]. The
    /// version of its schema.
    ///
    /// # Errors
    /// As [`Storage::snapshot`].
    pub async fn verify(path: &Path) -> Result<i64, Error> {
        snapshot::verify(path).await
    }

    /// Carries out one change: all of it or nothing, durable when this returns. Changes handed in
    /// by many callers share a transaction; each caller gets its own outcome. Waits while
    /// [`QUEUE_LIMIT`] changes are waiting already.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Panicked`] when this change failed and nothing of it was
    /// kept; [`Error::Closed`] after [`Storage::close`].
    pub async fn write<W: Write>(&self, change: W) -> Result<W::Outcome, Error> {
        self.inner.writer.write(change).await
    }

    /// Hands a change in now, and gives its outcome later, so that a caller can keep its changes
    /// in order without waiting for each: changes are carried out in the order of these calls,
    /// whether or not the answers are awaited.
    ///
    /// # Errors
    /// As [`Storage::write`], and [`Error::Full`], with nothing done, when [`QUEUE_LIMIT`] changes
    /// are waiting.
    pub fn submit<W: Write>(
        &self,
        change: W,
    ) -> impl Future<Output = Result<W::Outcome, Error>> + Send + 'static {
        self.inner.writer.submit(change)
    }

    /// Carries out what was handed in, then closes every connection. Later changes and reads give
    /// [`Error::Closed`].
    pub async fn close(&self) {
        // The writer last: whoever closes last folds the write-ahead log into the file.
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// What keeps changes from being written at this moment: a full disk, say. It is over by itself
    /// once something could be written, which is tried again and again.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.inner.health.trouble()
    }

    /// How many reads there were so far: what a question costs, without a clock.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.inner.reads.load(Ordering::Relaxed)
    }

    /// A connection for reading; never waits for the writer, and cannot write.
    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>, Error> {
        self.inner.reads.fetch_add(1, Ordering::Relaxed);
        match self.inner.readers.acquire().await {
            Err(sqlx::Error::PoolClosed) => Err(Error::Closed),
            other => Ok(other?),
        }
    }
}
