//! `comity`: arguments, configuration, log, then [`comity::run`].

use std::process::ExitCode;

use clap::Parser;
use comity::Source;
use comity::cli::{
    Arguments, Command, backup, ca, check, config, device, generate, init, log, peer, portable,
    reload, room, serve, session, stats, top, user,
};

/// Of the system's own, what ten thousand sessions have held stays with the process when they are
/// gone; this gives it back by itself, and takes less time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = runtime.block_on(carry_out(arguments));
    // A prompt may still be waiting on a thread; nobody needs its answer.
    runtime.shutdown_background();
    match result {
        Ok(status) => status,
        Err(error) => fail(error.as_ref()),
    }
}

async fn carry_out(arguments: Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match arguments.command {
        Command::Serve(file) => {
            let loaded = file.loaded()?;
            let source = Source {
                log: log::start(&loaded.conf.server)?,
                read: Box::new(move || file.loaded()),
            };
            serve::serve(loaded, source).await?;
        }
        Command::Check { file, check } => return Ok(check::check(file.conf()?, &check).await),
        Command::Init(init) => init::init(&init).await?,
        Command::Reload(file) => reload::reload(&file.conf()?).await?,
        Command::Config { file, command } => {
            config::config(&file.loaded()?, file.config.as_deref(), &command)?;
        }
        Command::Backup { file, sealed } => backup::backup(&file.conf()?, sealed).await?,
        Command::Restore { file, sealed } => backup::restore(&file.conf()?, sealed).await?,
        Command::User { file, command } => user::user(&file.conf()?, command).await?,
        Command::Session { file, command } => session::session(&file.conf()?, command).await?,
        Command::Room { file, command } => room::room(&file.conf()?, command).await?,
        Command::Stats { file, json } => stats::stats(&file.conf()?, json).await?,
        Command::Top { file, top } => top::top(&file.conf()?, &top).await?,
        Command::Export { file, export } => portable::export(&file.conf()?, &export).await?,
        Command::Import { file, import } => portable::import(&file.conf()?, &import).await?,
        Command::Completions(shell) => generate::completions(&shell)?,
        Command::Man(man) => generate::man(&man)?,
        Command::Device { file, command } => device::device(&file.conf()?, command).await?,
        Command::Ca { file, command } => ca::ca(&file.conf()?, command).await?,
        Command::Peer { file, command } => peer::peer(&file.conf()?, command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("comity: {error}");
    ExitCode::FAILURE
}
