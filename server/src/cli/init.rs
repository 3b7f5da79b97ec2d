//! `comity init DOMAIN`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use comity_conf::Conf;
use comity_xmpp::jid::BareJid;

use crate::check::records;

#[derive(Debug, Args)]
pub struct Init {
    /// The domain to serve, as in alice@DOMAIN.
    pub domain: String,
    /// The configuration to write.
    #[arg(long, short, value_name = "FILE", default_value = "homeserver.toml")]
    pub output: PathBuf,
    /// Where its data will lie; relative to the configuration.
    #[arg(long, value_name = "DIRECTORY", default_value = "comity-data")]
    pub data_dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{domain} is no domain: {why}")]
    Domain { domain: String, why: String },
    #[error("{} exists already; name another file with --output", .0.display())]
    Exists(PathBuf),
    #[error("{} cannot be written: {source}", file.display())]
    Unwritable { file: PathBuf, source: io::Error },
}

/// Writes the configuration and prints the next steps.
///
/// # Errors
/// When the domain is none, or the file exists or cannot be written.
pub fn init(init: &Init) -> Result<(), InitError> {
    let domain = domain(&init.domain)?;
    let text = Conf::starter(&domain, &init.data_dir);
    write_new(&init.output, &text)?;
    let conf = Conf::default();
    print!("{}", next_steps(&conf, &domain, &init.output));
    Ok(())
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

fn write_new(file: &Path, text: &str) -> Result<(), InitError> {
    let unwritable = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(file.to_owned()),
        _ => InitError::Unwritable {
            file: file.to_owned(),
            source,
        },
    };
    let mut opened = std::fs::File::create_new(file).map_err(unwritable)?;
    opened.write_all(text.as_bytes()).map_err(unwritable)
}

fn next_steps(conf: &Conf, domain: &str, file: &Path) -> String {
    let file = file.display();
    let records = records(conf, domain).join("\n     ");
    format!(
        "Wrote {file}.

1. DNS: the address of this machine for {domain} (A, AAAA), and these records:

     {records}

2. A certificate that clients and other domains believe. If port 80 of {domain} is this machine's,
   write into {file} under [tls]:

     acme = \"letsencrypt\"

   Other ways, and certificates that are there already, are explained there. Until then the server
   uses one of its own making.

3. Start the server:

     comity serve --config {file}

4. The first account, while the server runs:

     comity user add alice@{domain} --config {file}

5. See whether others find all this, and what to do where they do not:

     comity check --config {file}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_configuration_once() {
        let directory = std::env::temp_dir().join(format!("comity-init-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let arguments = Init {
            domain: "A.Example".to_owned(),
            output: directory.join("homeserver.toml"),
            data_dir: "data".into(),
        };
        init(&arguments).unwrap();
        let conf = Conf::load(&arguments.output).unwrap();
        assert_eq!(conf.server.domains, ["a.example"]);
        assert_eq!(conf.server.data_dir, directory.join("data"));
        assert!(matches!(init(&arguments), Err(InitError::Exists(_))));
        std::fs::remove_dir_all(&directory).unwrap();
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
    fn names_every_record() {
        let text = next_steps(&Conf::default(), "a.example", Path::new("h.toml"));
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
