//! What a person does with files: sends them, and fetches what was sent.

use std::path::{Path, PathBuf};

use comity_mls_engine::MessageId;
use comity_xmpp::jid::{BareJid, Jid};

use super::{Desk, Failed, Outcome};
use crate::files;

impl Desk {
    /// A path as people type it: `~/` is their folder.
    pub(crate) async fn send_file(&self, room: &BareJid, path: &Path) -> Outcome<MessageId> {
        let path = at_home(path);
        let sent = files::send(&self.chat, &self.connection, room, &path).await;
        sent.map_err(Failed::new)
    }

    pub(crate) async fn send_plain_file(&self, to: Jid, path: &Path) -> Outcome {
        let path = at_home(path);
        let sent = files::send_plain(&self.chat, &self.connection, to, &path).await;
        sent.map_err(Failed::new)
    }

    /// Of a message, or of the newest that brought a file from somebody else.
    pub(crate) async fn save_file(
        &self,
        room: &BareJid,
        id: Option<&str>,
        folder: &Path,
    ) -> Outcome {
        let timeline = self.timeline(room).await?;
        let own = self.chat.account().as_str();
        let found = timeline.newest(|standing| match id {
            Some(id) => standing.id.0.to_string().starts_with(id),
            None => standing.file.is_some() && standing.by != own,
        });
        let file = found.and_then(|standing| standing.file.clone());
        let file = file.ok_or_else(|| {
            Failed::new(match id {
                Some(id) => format!("no file was sent here lately as {id}"),
                None => "no file was sent here lately".to_owned(),
            })
        })?;
        let saved = files::save(&self.connection, &file, &at_home(folder)).await;
        let path = saved.map_err(Failed::new)?;
        self.print(&format!("saved {} ({})", path.display(), file.words()));
        Ok(())
    }
}

/// Where files go that nobody has named a place for.
pub(crate) fn downloads() -> PathBuf {
    let usual = at_home(Path::new("~/Downloads"));
    match usual.is_dir() {
        true => usual,
        false => PathBuf::from("."),
    }
}

fn at_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.to_owned(),
    }
}
