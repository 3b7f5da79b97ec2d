//! Whose chat it is: what the command line says, and what is asked for.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use comity_xmpp::jid::BareJid;

use super::args::Who;
use super::{Failed, Outcome};
use crate::agent::Opening;
use crate::connection::Options;
use crate::stream::Login;
use crate::token::Place;

pub(super) fn opening(who: &Who) -> Outcome<Opening> {
    let password = match &who.password_file {
        Some(path) => first_line(path)?,
        None => ask(&format!("Password of {}: ", who.account))?,
    };
    let passphrase = match &who.passphrase_file {
        Some(path) => first_line(path)?,
        None => password.clone(),
    };
    let folder = match &who.data {
        Some(folder) => folder.clone(),
        None => default_folder(&who.account)?,
    };
    Ok(Opening {
        connection: Options {
            login: Login {
                account: who.account.clone(),
                password,
                resource: None,
            },
            endpoint: who.endpoint().map_err(Failed::new)?,
            extra_roots: who.extra_roots.clone(),
            proxy: who.proxy.clone(),
        },
        folder,
        passphrase,
        device_name: who.device_name.clone(),
        token: token(who)?,
        keep_history: who
            .keep_days
            .map(|days| std::time::Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
    })
}

fn token(who: &Who) -> Outcome<Option<Place>> {
    let (Some(module), Some(label)) = (&who.token_module, &who.token_label) else {
        return Ok(None);
    };
    let pin = who.token_pin_file.as_deref().map(first_line).transpose()?;
    Ok(Some(Place {
        module: module.clone(),
        label: label.clone(),
        pin,
    }))
}

fn default_folder(account: &BareJid) -> Outcome<PathBuf> {
    let home = std::env::var_os("HOME").ok_or_else(|| Failed::new("say --data, or set HOME"))?;
    Ok(PathBuf::from(home)
        .join(".local/share/comity-chat")
        .join(account.as_str()))
}

fn first_line(path: &Path) -> Outcome<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failed::new(format!("{}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Asks on the terminal, without showing what is typed.
fn ask(question: &str) -> Outcome<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Failed::new(
            "no terminal to ask for the password: give --password-file",
        ));
    }
    rpassword::prompt_password(question).map_err(Failed::new)
}
