//! `--json`: what programs read.

use clap::Args;

#[derive(Clone, Copy, Debug, Args)]
pub struct Json {
    /// For programs: JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn print(value: &impl serde::Serialize) {
    // Plain structs of strings and numbers always have a JSON form.
    println!(
        "{}",
        serde_json::to_string_pretty(value).unwrap_or_default()
    );
}
