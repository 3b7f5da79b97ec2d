//! What was answered is there after the process was killed, whole and in order.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use comity_storage::{CreateAccount, Enqueue, Outgoing, Storage, StoreOffline, StoredOffline};

use super::account_of;

/// Set in the child: the database to write to.
const CHILD: &str = "COMITY_STORAGE_CHILD";
const WRITERS: u64 = 8;
const ROUNDS: u64 = 10;

/// Each round kills the writing process at another moment and opens what it left.
#[test]
fn whatever_was_answered_survives_kill_9() {
    let directory = Directory::new("kill");
    let database = directory.0.join("killed.db");
    let mut answered = vec![0; usize::try_from(WRITERS).unwrap()];
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "durability::child_writes_until_killed",
                "--exact",
                "--nocapture",
            ])
            .env(CHILD, &database)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Between its first answers and deep in the flood.
        let wanted = 3 + round * round * 7;
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child writes on").unwrap();
            seen += u64::from(note(&line, &mut answered));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had answered before the signal reached it.
        for line in lines.map_while(Result::ok) {
            note(&line, &mut answered);
        }
        check(&database, &answered);
    }
}

/// Writer and count of an answer; false for the test harness's own words.
fn note(line: &str, answered: &mut [u64]) -> bool {
    let Some((writer, count)) = line
        .strip_prefix("stored ")
        .and_then(|rest| rest.split_once(' '))
    else {
        return false;
    };
    // A last line may be cut off by the signal; then it says less, never more.
    let (Ok(writer), Ok(count)) = (writer.parse::<usize>(), count.parse::<u64>()) else {
        return false;
    };
    answered[writer] = answered[writer].max(count);
    true
}

#[tokio::main]
async fn check(database: &Path, answered: &[u64]) {
    let storage = Storage::open(database).await.unwrap();
    for (writer, answered) in (0..WRITERS).zip(answered) {
        let account = account(writer);
        let stored = storage.offline(&account, 0, usize::MAX).await.unwrap();
        let count = u64::try_from(stored.len()).unwrap();
        assert!(
            count >= *answered,
            "{account} was told of {answered}, {count} are there"
        );
        for (number, message) in (0..).zip(&stored) {
            assert_eq!(message.received, number, "{account}");
        }
        // The two changes of a round are separate; the second is never there without the first.
        let sent = storage.outbox_length(&destination(writer)).await.unwrap();
        assert!(
            sent == count || sent + 1 == count,
            "{account}: {count} stored, {sent} sent"
        );
    }
    storage.close().await;
}

/// Not a test of its own: the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_killed() {
    let Some(database) = std::env::var_os(CHILD) else {
        return;
    };
    let storage = Storage::open(Path::new(&database)).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(storage.clone(), writer));
    }
    writers.join_all().await;
}

async fn write(storage: Storage, writer: u64) {
    let made: CreateAccount = account_of(&account(writer));
    storage.write(made).await.unwrap();
    let mut number = storage.offline_count(&account(writer)).await.unwrap();
    // A round cut in two is finished first.
    if storage.outbox_length(&destination(writer)).await.unwrap() < number {
        storage.write(Enqueue(outgoing(writer))).await.unwrap();
    }
    loop {
        let message = StoreOffline {
            account: account(writer),
            stanza: vec![b'x'; 600],
            received: number,
            limit: usize::MAX,
        };
        // Handed in together: in order, mostly in one transaction.
        let stored = storage.submit(message);
        let sent = storage.submit(Enqueue(outgoing(writer)));
        assert_eq!(stored.await.unwrap(), StoredOffline::Stored);
        number += 1;
        let line = format!("stored {writer} {number}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        sent.await.unwrap();
    }
}

fn account(writer: u64) -> String {
    format!("writer{writer}@a.example")
}

fn destination(writer: u64) -> String {
    format!("b{writer}.example")
}

fn outgoing(writer: u64) -> Outgoing {
    Outgoing {
        destination: destination(writer),
        stanza: vec![b'y'; 100],
        created: 0,
        expires: 1,
    }
}

/// What is closed is opened again with everything in it, and for nobody else to read.
#[tokio::test]
async fn a_database_outlives_its_process() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Directory::new("reopen");
    let database = directory.0.join("comity.db");
    let storage = Storage::open(&database).await.unwrap();
    storage.write(account_of("alice@a.example")).await.unwrap();
    storage.close().await;
    let mode = std::fs::metadata(&database).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let storage = Storage::open(&database).await.unwrap();
    assert!(storage.account_exists("alice@a.example").await.unwrap());
    storage.close().await;
}

/// The write-ahead log is emptied while the writer is at work, and shrinks again.
#[tokio::test]
async fn the_log_does_not_grow_with_what_is_written() {
    let directory = Directory::new("log");
    let database = directory.0.join("comity.db");
    let log = directory.0.join("comity.db-wal");
    let size = || std::fs::metadata(&log).map_or(0, |log| log.len());
    let storage = Storage::open(&database).await.unwrap();
    let mut largest = 0;
    for number in 0..60 {
        let row = Outgoing {
            stanza: vec![b'x'; 1 << 20],
            ..outgoing(number)
        };
        storage.write(Enqueue(row)).await.unwrap();
        largest = largest.max(size());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(largest < 45 << 20, "{largest} octets of log for 60 MiB");
    // Some more commits: one starts the log anew, and it is cut.
    for number in 0..8 {
        storage.write(Enqueue(outgoing(number))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert!(size() < 4 << 20, "{} octets of log stay", size());
    storage.close().await;
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("comity-battery-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
