//! The terminal client: see [`comity_client::terminal`].

use std::process::ExitCode;

use clap::Parser;
use comity_client::terminal::{self, args::Cli, clean::clean};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("COMITY_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match terminal::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("comity-chat: {}", clean(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
