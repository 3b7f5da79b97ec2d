//! `comity check [PEER]`

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use comity_conf::Conf;
use comity_net::dns::Dns;

use crate::check::{self, Ground};
use crate::home::{Clock, SystemClock};

// The group that clap would make bears the name of the subcommand's own.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Check {
    /// Another domain: looks at the way to it instead.
    pub peer: Option<String>,
    /// For programs: an array of objects.
    #[arg(long)]
    pub json: bool,
    /// Whose clock ours is compared with (SNTP).
    #[arg(long, value_name = "HOST", default_value = "pool.ntp.org")]
    pub time_server: String,
}

/// Prints what is found. The exit status is 0 only when all is well, 1 for faults, 2 for advice
/// alone.
pub async fn check(conf: Conf, arguments: &Check) -> ExitCode {
    let ground = Ground {
        lookup: Arc::new(Dns::asking(&conf.server.nameservers)),
        conf,
        now: SystemClock.wall(),
        time_server: arguments.time_server.clone(),
    };
    let found = check::check(&ground, arguments.peer.as_deref()).await;
    if arguments.json {
        // Plain structs of strings always have a JSON form.
        println!(
            "{}",
            serde_json::to_string_pretty(&found).unwrap_or_default()
        );
    } else {
        print!("{}", check::describe(&found));
    }
    ExitCode::from(check::status(&found))
}
