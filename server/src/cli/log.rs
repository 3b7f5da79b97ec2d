//! Where the server's log goes: standard error, as a service manager expects, or the journal itself.

use std::io::{IsTerminal, stderr};

use comity_conf::{LogFormat, Server};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry, reload};

/// Of a journal's fields, so that they are nobody else's.
const PREFIX: &str = "COMITY";

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("server.log = {log:?} is no level and no list of target=level: {why}")]
    Filter { log: String, why: String },
    #[error(
        "server.log_format = \"journald\": no journal is here ({0}); write \"text\" or \"json\""
    )]
    Journal(std::io::Error),
    #[error("the log was set up already")]
    Twice,
}

/// # Errors
/// When `log` is not understood.
pub(crate) fn check(server: &Server) -> Result<(), LogError> {
    filter(server).map(drop)
}

fn filter(server: &Server) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(&server.log)
        .map_err(|error| LogError::Filter {
            log: server.log.clone(),
            why: error.to_string(),
        })
}

/// Has it log otherwise from now on.
pub type Relog = Box<crate::run::reload::Log>;

/// Starts logging as `[server]` asks; gives what changes that.
///
/// # Errors
/// When `log` is not understood, or the journal is not there.
pub fn start(server: &Server) -> Result<Relog, LogError> {
    let (reloading, handle) = reload::Layer::new(filter(server)?);
    let registry = registry().with(reloading);
    match server.log_format {
        LogFormat::Text => {
            let text = fmt::layer().with_writer(stderr);
            registry
                .with(text.with_ansi(stderr().is_terminal()))
                .try_init()
        }
        LogFormat::Json => registry
            .with(fmt::layer().json().with_writer(stderr))
            .try_init(),
        LogFormat::Journald => {
            let journal = tracing_journald::layer().map_err(LogError::Journal)?;
            let journal = journal
                .with_field_prefix(Some(PREFIX.to_owned()))
                .with_syslog_identifier("comity".to_owned());
            registry.with(journal).try_init()
        }
    }
    .map_err(|_| LogError::Twice)?;
    Ok(Box::new(move |server| {
        let filter = filter(server).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}
