use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use comity_conf::Conf;
use comity_storage::{CreateAccount, Storage};

use super::*;

const PASSPHRASE: &str = "correct horse battery staple";

/// A folder of a test's own, with two data directories in it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("comity-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn conf(&self, directory: &str) -> Conf {
        let mut conf = Conf::default();
        conf.server.domains = vec!["a.example".to_owned()];
        conf.server.data_dir = self.0.join(directory);
        conf
    }

    fn file(&self) -> PathBuf {
        self.0.join("a.backup")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A data directory with an account, a key of its own mode, and what is of no use elsewhere.
async fn furnish(conf: &Conf) -> Storage {
    let data = &conf.server.data_dir;
    fs::create_dir_all(data.join("ca/a.example")).unwrap();
    let key = data.join("ca/a.example/root.key");
    fs::write(&key, "secret").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(data.join("ca/a.example/root.pem"), "public").unwrap();
    fs::write(data.join("comity.lock"), "1\n").unwrap();
    fs::write(data.join("comity.db.schema-3"), "old").unwrap();
    let storage = Storage::open(&conf.database()).await.unwrap();
    let account = CreateAccount {
        account: "alice@a.example".to_owned(),
        domain: "a.example".to_owned(),
        created: 1,
        keys: Vec::new(),
    };
    storage.write(account).await.unwrap();
    storage
}

async fn saved(place: &Place) -> Manifest {
    let conf = place.conf("old");
    let storage = furnish(&conf).await;
    // The storage is open: as with a server that runs.
    let manifest = save(&conf, &place.file(), PASSPHRASE.to_owned(), 7)
        .await
        .unwrap();
    storage.close().await;
    manifest
}

async fn restored(place: &Place, conf: &Conf) -> Result<Manifest, BackupError> {
    restore(conf, &place.file(), PASSPHRASE.to_owned()).await
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_backed_up_is_there_again_with_its_modes() {
    let place = Place::new("backup");
    let manifest = saved(&place).await;
    let files: Vec<&str> = manifest
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(files, ["ca/a.example/root.key", "ca/a.example/root.pem"]);
    assert_eq!((manifest.made, manifest.schema), (7, Storage::schema()));
    assert_eq!(names(&place.0), ["a.backup", "old"], "nothing is left over");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.file()), 0o600);
    let sealed = fs::read(place.file()).unwrap();
    let shows = |secret: &[u8]| sealed.windows(secret.len()).any(|part| part == secret);
    assert!(!shows(b"alice@a.example") && !shows(b"root.key"));

    let conf = place.conf("new");
    assert_eq!(restored(&place, &conf).await.unwrap(), manifest);
    let data = &conf.server.data_dir;
    assert_eq!(names(data), ["ca", "comity.db", "comity.lock"]);
    assert_eq!(mode(data), 0o700);
    let key = data.join("ca/a.example/root.key");
    assert_eq!(fs::read(&key).unwrap(), b"secret");
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&conf.database()), 0o600);
    let storage = Storage::open(&conf.database()).await.unwrap();
    assert!(storage.account_exists("alice@a.example").await.unwrap());
    storage.close().await;
}

#[tokio::test]
async fn nothing_is_written_over() {
    let place = Place::new("backup-over");
    saved(&place).await;
    let old = place.conf("old");
    let again = save(&old, &place.file(), PASSPHRASE.to_owned(), 8).await;
    assert!(matches!(again, Err(BackupError::Exists(_))));
    let inside = old.server.data_dir.join("inside.backup");
    let inside = save(&old, &inside, PASSPHRASE.to_owned(), 8).await;
    assert!(matches!(inside, Err(BackupError::Inside(_))));
    let before = names(&old.server.data_dir);
    let refused = restored(&place, &old).await.unwrap_err();
    assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
    assert_eq!(names(&old.server.data_dir), before);
    let nothing = place.conf("nothing");
    let nothing = save(&nothing, &place.0.join("b"), PASSPHRASE.to_owned(), 8).await;
    assert!(matches!(nothing, Err(BackupError::Nothing(_))));
}

#[tokio::test]
async fn what_is_wrong_is_found_before_anything_is_written() {
    let place = Place::new("backup-wrong");
    saved(&place).await;
    let conf = place.conf("new");
    let data = &conf.server.data_dir;
    let wrong = restore(&conf, &place.file(), "wrong".to_owned()).await;
    assert!(matches!(wrong, Err(BackupError::Closed(_))));
    let mut elsewhere = conf.clone();
    elsewhere.server.domains = vec!["b.example".to_owned()];
    let refused = restored(&place, &elsewhere).await.unwrap_err();
    assert!(
        matches!(refused, BackupError::NotServed { .. }),
        "{refused}"
    );
    let mut bytes = fs::read(place.file()).unwrap();
    let end = bytes.len() - 40;
    bytes[end] ^= 1;
    fs::write(place.file(), &bytes).unwrap();
    let damaged = restored(&place, &conf).await.unwrap_err();
    assert!(matches!(damaged, BackupError::Closed(_)), "{damaged}");
    fs::write(
        place.file(),
        "something else, and long enough to have a header in it",
    )
    .unwrap();
    let none = restored(&place, &conf).await.unwrap_err();
    assert!(matches!(none, BackupError::NoBackup(_)), "{none}");
    assert!(!data.exists());
}

#[test]
fn names_lead_nowhere_else() {
    for name in ["fast.key", "ca/a.example/root.key", "tls/ca.pem"] {
        assert!(proper(name), "{name}");
    }
    for name in [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "./x",
        "comity.lock",
        "admin.sock",
        MARK,
    ] {
        assert!(!proper(name), "{name}");
    }
}

#[test]
fn what_is_no_manifest_of_ours_is_refused() {
    let manifest = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = Manifest {
            made: 1,
            version: "0".to_owned(),
            schema: 1,
            domains: vec!["a.example".to_owned()],
            database: 1,
            files: vec![Stored {
                name: "fast.key".to_owned(),
                mode: 0o600,
                bytes: 1,
            }],
        };
        change(&mut manifest);
        restore::plausible(&manifest)
    };
    manifest(&|_| {}).unwrap();
    manifest(&|manifest| manifest.files[0].name = "../x".to_owned()).unwrap_err();
    manifest(&|manifest| manifest.files[0].mode = 0o4755).unwrap_err();
    manifest(&|manifest| manifest.files[0].bytes = FILE_BYTES + 1).unwrap_err();
    let many = |manifest: &mut Manifest| {
        manifest.files = vec![manifest.files[0].clone(); FILES + 1];
    };
    manifest(&many).unwrap_err();
}
