//! A program of the operator's publishes the TXT record of dns-01.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::AcmeError;

/// How long it may take; zones can be slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// What it has published.
pub(super) struct Published {
    program: PathBuf,
    record: String,
    value: String,
}

pub(super) async fn publish(
    program: &Path,
    record: &str,
    value: &str,
) -> Result<Published, AcmeError> {
    let published = Published {
        program: program.to_owned(),
        record: record.to_owned(),
        value: value.to_owned(),
    };
    published.run("set").await?;
    Ok(published)
}

impl Published {
    pub(super) async fn withdraw(self) {
        if let Err(error) = self.run("unset").await {
            tracing::warn!(%error, record = self.record, "a record of ACME stays in the DNS");
        }
    }

    async fn run(&self, verb: &str) -> Result<(), AcmeError> {
        let fault = |why: String| AcmeError::Hook {
            program: self.program.clone(),
            why,
        };
        let running = Command::new(&self.program)
            .args([verb, &self.record, &self.value])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ended = tokio::time::timeout(PATIENCE, running).await;
        let output = ended
            .map_err(|_| fault(format!("it has not ended after {} s", PATIENCE.as_secs())))?
            .map_err(|error| fault(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(300).collect();
        Err(fault(format!("{verb}: {}: {said}", output.status)))
    }
}
