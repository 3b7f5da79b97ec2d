//! Files: sealed before they leave (XEP-0448), carried by HTTP upload (XEP-0363), named in a message
//! with the key that opens them, and opened where somebody asks for them.
//!
//! The server sees an octet count that says little, and nothing else: name, kind and key travel
//! inside the room's encryption.

pub mod attachment;
pub mod http;
pub mod place;
pub mod seal;
pub mod slot;

use std::path::{Path, PathBuf};

use comity_xmpp::jid::{BareJid, Jid};

use crate::act::Act;
use crate::agent::Chat;
use crate::connection::Options;
use attachment::Attachment;
use comity_mls_engine::MessageId;
use http::Web;

/// Octets of a file that is sent or fetched; servers mostly allow less.
pub const MAX_FILE: u64 = 2 * 1024 * 1024 * 1024;

/// Why a file was not sent, or not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    #[error("{}: {why}", path.display())]
    Local { path: PathBuf, why: std::io::Error },
    #[error("{}: only files can be sent", .0.display())]
    NoFile(PathBuf),
    #[error("it has {size} octets, and {most} are the most")]
    TooLarge { size: u64, most: u64 },
    #[error("your server takes in no files (it has no HTTP upload, XEP-0363): ask its operator")]
    NoUpload,
    #[error("your server takes in no file of {size} octets: {most} are the most")]
    ServerTooLarge { size: u64, most: u64 },
    #[error("your server has no room for it: {0}")]
    Full(String),
    #[error("your server keeps no place for it: {0}")]
    Refused(String),
    #[error("{0}")]
    Web(#[from] http::WebError),
    #[error("what was fetched is not what was sent ({0}): it is not kept")]
    Forged(&'static str),
    #[error("{} has too many files of this name", .0.display())]
    Taken(PathBuf),
    #[error("it cannot be sealed or opened: {0}")]
    Crypto(#[from] openssl::error::ErrorStack),
    #[error(transparent)]
    Chat(#[from] crate::agent::ChatError),
}

pub(crate) fn local(path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_owned();
    move |why| FileError::Local { path, why }
}

/// Seals a file, uploads it, and sends a message to the room that opens it.
///
/// # Errors
/// What is wrong, and with whom.
pub async fn send(
    chat: &Chat,
    options: &Options,
    room: &BareJid,
    path: &Path,
) -> Result<MessageId, FileError> {
    let from = path.to_owned();
    let sealed = blocking(move || seal::seal(&from)).await?;
    let slot = slot::ask(chat, "sealed", sealed.octets, attachment::SEALED_TYPE).await?;
    let web = Web::new(options)?;
    web.put(&slot, sealed.path(), sealed.octets).await?;
    let file = Attachment {
        url: slot.get.clone(),
        ..sealed.attachment.clone()
    };
    let act = Act::File(Box::new(file));
    Ok(chat.send(room, &act, None).await?)
}

/// Uploads a file as it is, and sends its link to somebody whose client knows no rooms (XEP-0066).
///
/// # Errors
/// What is wrong, and with whom.
pub async fn send_plain(
    chat: &Chat,
    options: &Options,
    to: Jid,
    path: &Path,
) -> Result<(), FileError> {
    let about = std::fs::metadata(path).map_err(local(path))?;
    if !about.is_file() {
        return Err(FileError::NoFile(path.to_owned()));
    }
    let name = place::name_of(path);
    let kind = attachment::media_type(&name);
    let slot = slot::ask(chat, &name, about.len(), kind).await?;
    Web::new(options)?.put(&slot, path, about.len()).await?;
    Ok(chat.send_link(to, &slot.get).await?)
}

/// Fetches a file and opens it into a folder, under a name that is free there.
///
/// # Errors
/// What is wrong, and with whom; nothing of it is left then.
pub async fn save(
    options: &Options,
    file: &Attachment,
    folder: &Path,
) -> Result<PathBuf, FileError> {
    if file.size > MAX_FILE {
        let (size, most) = (file.size, MAX_FILE);
        return Err(FileError::TooLarge { size, most });
    }
    let sealed = place::Passing::in_folder(folder)?;
    let most = seal::most_octets(file.size);
    Web::new(options)?
        .get(&file.url, sealed.path(), most)
        .await?;
    let (file, folder) = (file.clone(), folder.to_owned());
    blocking(move || {
        let open = place::Passing::in_folder(&folder)?;
        seal::open(&file, sealed.path(), open.path())?;
        open.settle(&folder, &file.name)
    })
    .await
}

/// Off the threads that carry the session.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(FileError::Chat(crate::agent::ChatError::Ended)))
}
