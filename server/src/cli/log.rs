//! Where the server's log goes: standard error, as a service manager expects.

use std::io::{IsTerminal, stderr};

use comity_conf::{LogFormat, Server};
use tracing_subscriber::EnvFilter;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("server.log = {log:?} is no level and no list of target=level: {why}")]
    Filter { log: String, why: String },
    #[error("the log was set up already")]
    Twice,
}

/// Starts logging as `[server]` asks.
///
/// # Errors
/// When `log` is not understood.
pub fn start(server: &Server) -> Result<(), LogError> {
    let filter = EnvFilter::builder()
        .parse(&server.log)
        .map_err(|error| LogError::Filter {
            log: server.log.clone(),
            why: error.to_string(),
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    match server.log_format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|_| LogError::Twice)
}
