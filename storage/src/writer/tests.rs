use std::path::Path;

use sqlx::SqliteConnection;

use super::{Error, QUEUE_LIMIT, Write};
use crate::Storage;

/// Adds a row to a table of the test's own, unless `number` is there; odd ways to fail.
struct Put {
    number: i64,
    way: Way,
}

#[derive(PartialEq)]
enum Way {
    Well,
    BadSql,
    Panic,
}

impl Write for Put {
    /// How many rows there were before; `None` when the number was taken.
    type Outcome = Option<i64>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error> {
        sqlx::query("CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)")
            .execute(&mut *connection)
            .await?;
        let before = sqlx::query_scalar("SELECT COUNT(*) FROM numbers")
            .fetch_one(&mut *connection)
            .await?;
        let put = sqlx::query("INSERT INTO numbers VALUES (?) ON CONFLICT DO NOTHING")
            .bind(self.number)
            .execute(&mut *connection)
            .await?;
        match self.way {
            Way::Well => {}
            Way::BadSql => {
                sqlx::query("INSERT INTO nowhere VALUES (1)")
                    .execute(&mut *connection)
                    .await?;
            }
            Way::Panic => panic!("as the test wants"),
        }
        Ok((put.rows_affected() == 1).then_some(before))
    }
}

fn put(number: i64, way: Way) -> Put {
    Put { number, way }
}

async fn numbers(storage: &Storage) -> Vec<i64> {
    sqlx::query_scalar("SELECT number FROM numbers ORDER BY number")
        .fetch_all(&mut *storage.read().await.unwrap())
        .await
        .unwrap()
}

async fn empty() -> Storage {
    Storage::open(Path::new(":memory:")).await.unwrap()
}

#[tokio::test]
async fn concurrent_callers_get_their_own_outcomes_in_order_of_their_calls() {
    let storage = empty().await;
    let answers: Vec<_> = (0..1000)
        .map(|i| storage.submit(put(i / 2, Way::Well)))
        .collect();
    for (i, answer) in (0..).zip(answers) {
        let expected = (i % 2 == 0).then_some(i / 2);
        assert_eq!(answer.await.unwrap(), expected, "change {i}");
    }
}

#[tokio::test]
async fn a_failing_change_leaves_its_neighbours_alone() {
    let storage = empty().await;
    let answers = [
        storage.submit(put(1, Way::Well)),
        storage.submit(put(2, Way::BadSql)),
        storage.submit(put(3, Way::Well)),
        storage.submit(put(4, Way::Panic)),
        storage.submit(put(5, Way::Well)),
    ];
    let mut told = Vec::new();
    for answer in answers {
        told.push(answer.await);
    }
    assert!(matches!(told[0], Ok(Some(0))));
    assert!(matches!(told[1], Err(Error::Database(_))));
    assert!(matches!(told[2], Ok(Some(1))));
    assert!(matches!(told[3], Err(Error::Panicked)));
    assert!(matches!(told[4], Ok(Some(2))));
    assert_eq!(numbers(&storage).await, [1, 3, 5]);
}

#[tokio::test]
async fn an_outcome_is_on_disk_when_it_is_told() {
    let storage = empty().await;
    for number in 0..20 {
        storage.write(put(number, Way::Well)).await.unwrap();
        assert!(numbers(&storage).await.contains(&number));
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_has_its_change_carried_out() {
    let storage = empty().await;
    drop(storage.submit(put(1, Way::Well)));
    storage.write(put(2, Way::Well)).await.unwrap();
    assert_eq!(numbers(&storage).await, [1, 2]);
}

#[tokio::test]
async fn a_full_queue_refuses_and_does_nothing() {
    // One thread, and no await in between: the writer cannot take anything off the queue.
    let storage = empty().await;
    let limit = i64::try_from(QUEUE_LIMIT).unwrap();
    let answers: Vec<_> = (0..limit + 3)
        .map(|number| storage.submit(put(number, Way::Well)))
        .collect();
    let mut refused = 0;
    for answer in answers {
        refused += usize::from(matches!(answer.await, Err(Error::Full)));
    }
    assert_eq!(refused, 3);
    assert_eq!(numbers(&storage).await.len(), QUEUE_LIMIT);
}

#[tokio::test]
async fn closing_finishes_what_was_handed_in() {
    let storage = empty().await;
    let answers: Vec<_> = (0..500)
        .map(|number| storage.submit(put(number, Way::Well)))
        .collect();
    storage.close().await;
    for answer in answers {
        answer.await.unwrap();
    }
    let late = storage.write(put(1000, Way::Well)).await;
    assert!(matches!(late, Err(Error::Closed)));
    assert!(matches!(storage.read().await, Err(Error::Closed)));
    // Closing twice is closing.
    storage.close().await;
}

/// Makes SQLite end the transaction by itself, as it may when the disk is full or fails.
struct EndsIt;

impl Write for EndsIt {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query("CREATE TABLE ends (x UNIQUE)")
            .execute(&mut *connection)
            .await?;
        sqlx::query("INSERT OR ROLLBACK INTO ends VALUES (1), (1)")
            .execute(connection)
            .await
            .map(drop)
    }
}

#[tokio::test]
async fn a_transaction_that_sqlite_ends_takes_nobody_with_it() {
    let storage = empty().await;
    let answers = (
        storage.submit(put(1, Way::Well)),
        storage.submit(EndsIt),
        storage.submit(put(2, Way::Well)),
    );
    assert_eq!(answers.0.await.unwrap(), Some(0));
    assert!(matches!(answers.1.await, Err(Error::Database(_))));
    assert_eq!(answers.2.await.unwrap(), Some(1));
    assert_eq!(numbers(&storage).await, [1, 2]);
}

struct Miscounts;

impl Write for Miscounts {
    type Outcome = ();

    async fn run(&self, _: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn run_many(_: &[&Self], _: &mut SqliteConnection) -> Result<Vec<()>, sqlx::Error> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_kind_that_miscounts_is_run_one_by_one() {
    let storage = empty().await;
    let answers = [storage.submit(Miscounts), storage.submit(Miscounts)];
    for answer in answers {
        answer.await.unwrap();
    }
}

/// Fills the database up to a bound of pages, as a disk has one; 0: takes the bound away.
struct Room {
    pages: i64,
    bytes: i64,
}

impl Write for Room {
    type Outcome = ();

    async fn run(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let pages = match self.pages {
            0 => i64::from(u32::MAX - 1),
            pages => pages,
        };
        let bound = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(bound).execute(&mut *connection).await?;
        sqlx::query("CREATE TABLE IF NOT EXISTS ballast (bytes BLOB)")
            .execute(&mut *connection)
            .await?;
        sqlx::query("INSERT INTO ballast VALUES (zeroblob(?))")
            .bind(self.bytes)
            .execute(connection)
            .await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_refuses_everybody_and_is_over_by_itself() {
    let storage = empty().await;
    let bound = |bytes| Room { pages: 400, bytes };
    storage.write(bound(1)).await.unwrap();
    assert_eq!(storage.trouble(), None);
    let answers: Vec<_> = (0..20).map(|_| storage.submit(bound(10 << 20))).collect();
    for answer in answers {
        let refused = answer.await.unwrap_err();
        assert!(matches!(refused, Error::NoRoom), "{refused}");
    }
    assert_eq!(storage.trouble(), Some(crate::Trouble::Full));
    // Room again: what is handed in next is kept.
    let (pages, bytes) = (0, 10 << 20);
    storage.write(Room { pages, bytes }).await.unwrap();
    assert_eq!(storage.trouble(), None);
}

#[tokio::test]
async fn a_server_that_refuses_everything_tries_again() {
    let storage = empty().await;
    let pages = 400;
    let full = Room {
        pages,
        bytes: 10 << 20,
    };
    storage.write(full).await.unwrap_err();
    assert_eq!(storage.trouble(), Some(crate::Trouble::Full));
    // Nobody hands anything in; a page that is there already can be written.
    for _ in 0..100 {
        tokio::time::sleep(super::TRIAL / 10).await;
        if storage.trouble().is_none() {
            return;
        }
    }
    panic!("nobody tried");
}
