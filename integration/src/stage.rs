//! What most plays begin with: domains that know each other, in a folder of their own.

use std::path::{Path, PathBuf};

use crate::home::{Home, Options};
use crate::person::{Outcome, Person};

pub const PASSWORD: &str = "wherefore art thou";

/// Running homes. The folder goes when the play has succeeded, and stays for a look otherwise.
pub struct Stage {
    pub homes: Vec<Home>,
    folder: PathBuf,
}

impl Stage {
    /// Starts a home for each domain, on addresses of their own.
    ///
    /// # Panics
    /// When a server does not start.
    #[must_use]
    pub fn set(play: &str, domains: &[&str]) -> Self {
        Self::set_with(play, domains, "")
    }

    /// The same, with further lines for every home's configuration.
    ///
    /// # Panics
    /// When a server does not start.
    #[must_use]
    pub fn set_with(play: &str, domains: &[&str], extra: &str) -> Self {
        let homes: Vec<&[&str]> = domains.chunks(1).collect();
        Self::set_hosting(play, &homes, extra)
    }

    /// Homes that serve several domains each, the first of which names the home.
    ///
    /// # Panics
    /// When a server does not start.
    #[must_use]
    pub fn set_hosting(play: &str, homes: &[&[&str]], extra: &str) -> Self {
        let options = homes.iter().map(|domains| {
            let mut options = Options::new(domains[0], crate::address());
            options.also = domains[1..].iter().map(|also| (*also).to_owned()).collect();
            extra.clone_into(&mut options.extra);
            options
        });
        Self::set_options(play, options)
    }

    /// Homes of which the play says everything.
    ///
    /// # Panics
    /// When a server does not start.
    #[must_use]
    pub fn set_options(play: &str, homes: impl IntoIterator<Item = Options>) -> Self {
        let folder = std::env::temp_dir().join(format!("comity-{play}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let homes = homes.into_iter().map(|options| {
            let own = folder.join(&options.domain);
            Home::new(options, &own).expect("a folder can be made")
        });
        let mut homes: Vec<Home> = homes.collect();
        Home::start_together(&mut homes).expect("the servers start");
        Self { homes, folder }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes an account at the n-th home and logs its first device in.
    pub async fn person(&self, home: usize, local: &str) -> Outcome<Person> {
        let jid = format!("{local}@{}", self.homes[home].domain());
        self.person_at(home, &jid).await
    }

    /// The same for an account at any domain of the home.
    pub async fn person_at(&self, home: usize, jid: &str) -> Outcome<Person> {
        let home = &self.homes[home];
        home.add_account(jid, PASSWORD)
            .map_err(|error| crate::person::Fault {
                who: jid.to_owned(),
                what: error.to_string(),
            })?;
        let folder = self.folder.join(jid);
        let mut person = Person::login_as(home, jid, PASSWORD, "device", &folder).await?;
        person.enrolled().await?;
        Ok(person)
    }

    #[must_use]
    pub fn device_folder(&self, home: &Home, local: &str) -> PathBuf {
        self.folder.join(format!("{local}@{}", home.domain()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.homes.clear();
        if std::thread::panicking() {
            eprintln!("what the servers wrote is in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
