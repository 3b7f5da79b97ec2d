//! `comity init DOMAIN`: a configuration, a data directory, a first account, and what else there is
//! to do.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use clap::Args;
use comity_conf::Conf;
use comity_storage::{CreateAccount, Created, Storage};
use comity_xmpp::jid::BareJid;

use crate::check::records;
use crate::home::{Clock, SystemClock, millis};
use crate::passwords::{self, Passwords};

const DATA_DIR: &str = "comity-data";

#[derive(Debug, Args)]
pub struct Init {
    /// The domain to serve, as in alice@DOMAIN.
    pub domain: String,
    /// The configuration to write. One that is there and names no domain yet is written anew.
    #[arg(long, short, value_name = "FILE", default_value = "homeserver.toml")]
    pub output: PathBuf,
    /// Where its data will lie; relative to the configuration. Default comity-data.
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// Write every key there is, commented out, and not only what matters at first.
    #[arg(long)]
    pub all: bool,
    /// The name of the first account.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub admin: String,
    /// Make no account.
    #[arg(long, conflicts_with = "admin")]
    pub no_admin: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{domain} is no domain: {why}")]
    Domain { domain: String, why: String },
    #[error("--admin {name}: {why}")]
    Admin { name: String, why: String },
    #[error("{} exists already; name another file with --output", .0.display())]
    Exists(PathBuf),
    #[error("{} cannot be written: {source}", file.display())]
    Unwritable { file: PathBuf, source: io::Error },
    #[error(transparent)]
    Conf(#[from] comity_conf::Error),
    #[error("the database {} cannot be used: {source}", file.display())]
    Storage {
        file: PathBuf,
        source: comity_storage::Error,
    },
    #[error("no password can be made: {0}")]
    Password(String),
}

/// Writes the configuration, makes directory and account, and prints the next steps.
///
/// # Errors
/// When the domain is none, or a file exists or cannot be written. What was written stays.
pub async fn init(init: &Init) -> Result<(), InitError> {
    print!("{}", carry_out(init).await?);
    Ok(())
}

async fn carry_out(init: &Init) -> Result<String, InitError> {
    let domain = domain(&init.domain)?;
    let admin = match init.no_admin {
        true => None,
        false => Some(admin(&init.admin, &domain)?),
    };
    let before = Before::of(&init.output)?;
    let data_dir = init.data_dir.clone().or(before.data_dir);
    let data_dir = data_dir.unwrap_or_else(|| DATA_DIR.into());
    let text = match init.all {
        true => Conf::starter_with_all(&domain, &data_dir),
        false => Conf::starter(&domain, &data_dir, admin.as_ref().map(BareJid::as_str)),
    };
    write(&init.output, &text, before.exists)?;
    let conf = Conf::load(&init.output)?;
    let data_dir = &conf.server.data_dir;
    create_private(data_dir).map_err(|source| unwritable(data_dir, source))?;
    let first = match &admin {
        Some(admin) => first_account(&conf, admin).await?,
        None => First::None,
    };
    hand_over(data_dir).map_err(|source| unwritable(data_dir, source))?;
    Ok(next_steps(&conf, &domain, &init.output, &first))
}

/// What stands in the file's place.
#[derive(Default)]
struct Before {
    exists: bool,
    data_dir: Option<PathBuf>,
}

impl Before {
    /// A file that says nothing but where its data lies, as a package brings it, may be replaced.
    fn of(file: &Path) -> Result<Self, InitError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(unwritable(file, source)),
        };
        let mut conf = Conf::parse(&text, file)?;
        let data_dir =
            std::mem::replace(&mut conf.server.data_dir, Conf::default().server.data_dir);
        if conf != Conf::default() {
            return Err(InitError::Exists(file.to_owned()));
        }
        Ok(Self {
            exists: true,
            data_dir: Some(data_dir),
        })
    }
}

fn domain(text: &str) -> Result<String, InitError> {
    let refused = |why: String| InitError::Domain {
        domain: text.to_owned(),
        why,
    };
    let jid = BareJid::parse(text).map_err(|error| refused(error.to_string()))?;
    match jid.local() {
        None => Ok(jid.domain().to_owned()),
        Some(_) => Err(refused("it names an account".to_owned())),
    }
}

fn admin(name: &str, domain: &str) -> Result<BareJid, InitError> {
    let refused = |why: String| InitError::Admin {
        name: name.to_owned(),
        why,
    };
    let jid = BareJid::parse(&format!("{name}@{domain}"));
    let jid = jid.map_err(|error| refused(error.to_string()))?;
    match jid.local() {
        Some(local) if local.starts_with('~') => Err(refused(
            "names that begin with ~ are kept for rooms".to_owned(),
        )),
        Some(_) => Ok(jid),
        None => Err(refused("it is no name of an account".to_owned())),
    }
}

fn write(file: &Path, text: &str, replace: bool) -> Result<(), InitError> {
    let unwritable = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(file.to_owned()),
        _ => unwritable(file, source),
    };
    let mut options = std::fs::File::options();
    options.write(true).truncate(true);
    let options = match replace {
        true => &mut options,
        false => options.create_new(true),
    };
    let mut opened = options.open(file).map_err(unwritable)?;
    opened.write_all(text.as_bytes()).map_err(unwritable)
}

fn create_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// What came of the first account.
enum First {
    None,
    Made { jid: BareJid, password: String },
    Exists(BareJid),
}

async fn first_account(conf: &Conf, admin: &BareJid) -> Result<First, InitError> {
    let file = conf.database();
    let failed = |source| InitError::Storage {
        file: file.clone(),
        source,
    };
    let password = passwords::generate();
    let keys = Passwords::new(conf.accounts.scram_iterations);
    let keys = keys.keys(&password).await;
    let keys = keys.map_err(|error| InitError::Password(error.to_string()))?;
    let storage = Storage::open(&file).await.map_err(failed)?;
    let change = CreateAccount {
        account: admin.to_string(),
        domain: admin.domain().to_owned(),
        created: millis(SystemClock.wall()),
        keys,
    };
    let created = storage.write(change).await.map_err(failed);
    storage.close().await;
    Ok(match created? {
        Created::Created => First::Made {
            jid: admin.clone(),
            password,
        },
        Created::Exists => First::Exists(admin.clone()),
    })
}

/// Root makes the files of a directory that belongs to the server's user: they are that user's.
fn hand_over(directory: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(directory)?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let of = entry.metadata()?;
        if (of.uid(), of.gid()) != (owner.uid(), owner.gid()) {
            chown(entry.path(), Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}

fn unwritable(file: &Path, source: io::Error) -> InitError {
    InitError::Unwritable {
        file: file.to_owned(),
        source,
    }
}

fn next_steps(conf: &Conf, domain: &str, file: &Path, first: &First) -> String {
    let data_dir = conf.server.data_dir.display();
    let file = file.display();
    let records = records(conf, domain).join("\n     ");
    let account = account(first, domain, &file.to_string());
    format!(
        "Wrote {file}; the server's data lies in {data_dir}.

1. DNS: the address of this machine for {domain} (A, AAAA), and these records:

     {records}

2. A certificate that clients and other domains believe. If port 80 of {domain} is this machine's,
   write into {file} under [tls]:

     acme = \"letsencrypt\"

   Other ways, and certificates that are there already, are explained there. Until then the server
   uses one of its own making.

3. Start the server:

     comity serve --config {file}

4. {account}
5. See whether others find all this, and what to do where they do not:

     comity check --config {file}
"
    )
}

fn account(first: &First, domain: &str, file: &str) -> String {
    match first {
        First::None => format!(
            "The first account, while the server runs:

     comity user add alice@{domain} --config {file}
"
        ),
        First::Exists(jid) => format!(
            "The account {jid} was there before, and keeps its password. Others, while the server runs:

     comity user add alice@{domain} --config {file}
"
        ),
        First::Made { jid, password } => format!(
            "Log in as {jid} with this password, which is shown this once and kept nowhere:

     {password}

   Change it with your client, or with `comity user passwd`. Others, while the server runs:

     comity user add alice@{domain} --config {file}
"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("comity-init-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn arguments(folder: &Path) -> Init {
        Init {
            domain: "A.Example".to_owned(),
            output: folder.join("homeserver.toml"),
            data_dir: Some("data".into()),
            all: false,
            admin: "Admin".to_owned(),
            no_admin: false,
        }
    }

    async fn accounts(conf: &Conf) -> Vec<String> {
        let storage = Storage::open(&conf.database()).await.unwrap();
        let found = storage.accounts("a.example", "", 10).await.unwrap();
        storage.close().await;
        found.into_iter().map(|account| account.account).collect()
    }

    #[tokio::test]
    async fn writes_a_configuration_once_with_an_account() {
        let folder = folder("once");
        let arguments = arguments(&folder);
        let text = carry_out(&arguments).await.unwrap();
        let conf = Conf::load(&arguments.output).unwrap();
        assert_eq!(conf.server.domains, ["a.example"]);
        assert_eq!(conf.server.data_dir, folder.join("data"));
        assert_eq!(conf.contacts.admin, ["xmpp:admin@a.example"]);
        let mode = std::fs::metadata(&conf.server.data_dir).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o700);
        assert_eq!(accounts(&conf).await, ["admin@a.example"]);
        assert!(text.contains("Log in as admin@a.example"), "{text}");
        assert!(matches!(init(&arguments).await, Err(InitError::Exists(_))));
        // The account of another configuration in the same place stays as it is.
        let again = Init {
            output: folder.join("other.toml"),
            all: true,
            ..arguments
        };
        let text = carry_out(&again).await.unwrap();
        assert!(text.contains("admin@a.example was there before"), "{text}");
        assert!(std::fs::read_to_string(&again.output).unwrap().len() > 10_000);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn the_file_of_a_package_is_replaced_and_its_directory_used() {
        let folder = folder("package");
        let file = folder.join("homeserver.toml");
        let data_dir = folder.join("var");
        std::fs::write(&file, format!("[server]\ndata_dir = {data_dir:?}\n")).unwrap();
        let arguments = Init {
            data_dir: None,
            no_admin: true,
            ..arguments(&folder)
        };
        let text = carry_out(&arguments).await.unwrap();
        assert!(text.contains("The first account, while the server runs"));
        let conf = Conf::load(&file).unwrap();
        assert_eq!(conf.server.data_dir, data_dir);
        assert_eq!(conf.server.domains, ["a.example"]);
        assert!(data_dir.is_dir() && !conf.database().exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn refuses_what_is_no_domain() {
        for text in ["alice@a.example", "a.example/x", "", "a b"] {
            assert!(
                matches!(domain(text), Err(InitError::Domain { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_name_of_an_account() {
        for name in ["~room", "", "a b", "a@b", "a/b"] {
            assert!(
                matches!(admin(name, "a.example"), Err(InitError::Admin { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn names_every_record() {
        let file = Path::new("h.toml");
        let text = next_steps(&Conf::default(), "a.example", file, &First::None);
        for service in [
            "_xmpp-client",
            "_xmpps-client",
            "_xmpp-server",
            "_xmpps-server",
        ] {
            assert!(
                text.contains(&format!("{service}._tcp.a.example.")),
                "{service}"
            );
        }
        assert!(text.contains("comity user add alice@a.example --config h.toml"));
    }
}
