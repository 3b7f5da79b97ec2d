//! What is over goes, and disk and storage say the same again: after a crash, a restored backup, the
//! end of an account.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use comity_storage::{ExpireUploads, ForgetUpload, UPLOADS_AT_ONCE, UploadId};

use super::{PART, Uploads, unhex};
use crate::home::Home;
use crate::module::http_upload::{OPEN_MS, UNUSED_MS};

/// What is younger is let alone: somebody may have begun to write it anew.
const YOUNG: Duration = Duration::from_secs(60);

/// Once over everything.
pub(crate) async fn sweep(home: &Home) {
    let now = home.now_ms();
    let retention = u64::try_from(home.uploads.rules.retention.as_millis()).unwrap_or(u64::MAX);
    let expired = async {
        loop {
            let expire = ExpireUploads {
                stored_before: now.saturating_sub(retention),
                promised_before: now.saturating_sub(OPEN_MS + UNUSED_MS),
            };
            if home.storage.write(expire).await? == 0 {
                break;
            }
        }
        forget_lost(home).await?;
        remove_unknown(home).await
    };
    if let Err(error) = expired.await {
        tracing::warn!(%error, "uploaded files cannot be looked through; it is tried again");
    }
}

/// What is known, and not there.
async fn forget_lost(home: &Home) -> Result<(), comity_storage::Error> {
    let mut after = [0; 16];
    loop {
        let ids = home.storage.uploads_after(&after).await?;
        let Some(last) = ids.last() else {
            return Ok(());
        };
        after = *last;
        for id in ids {
            let there = tokio::fs::try_exists(home.uploads.path(&id)).await;
            // A disk that is not mounted has nothing either: all of it would be forgotten.
            if there.is_ok_and(|there| !there) && home.uploads.folder.exists() {
                home.storage.write(ForgetUpload { id }).await?;
            }
        }
    }
}

/// What is there, and not known.
async fn remove_unknown(home: &Home) -> Result<(), comity_storage::Error> {
    for first in 0..=u8::MAX {
        let folder = home.uploads.folder.join(format!("{first:02x}"));
        let found = tokio::task::spawn_blocking(move || old_files(&folder)).await;
        for some in found.unwrap_or_default().chunks(UPLOADS_AT_ONCE) {
            let ids: Vec<UploadId> = some.iter().map(|(id, _)| *id).collect();
            let known = home.storage.uploads_known(&ids).await?;
            let known: HashSet<UploadId> = known.into_iter().collect();
            for (id, path) in some {
                let part = path.extension().is_some();
                if part || !known.contains(id) {
                    remove(&home.uploads, id, path).await;
                }
            }
        }
    }
    Ok(())
}

async fn remove(uploads: &Uploads, id: &UploadId, path: &Path) {
    if uploads.receiving().contains(id) {
        return;
    }
    if let Err(error) = tokio::fs::remove_file(path).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "an uploaded file cannot be removed");
    }
}

/// Files of ours in one folder; whatever else lies there is not ours.
fn old_files(folder: &Path) -> Vec<(UploadId, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let young = SystemTime::now() - YOUNG;
    let ours = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let id = unhex(name.strip_suffix(PART).unwrap_or(&name))?;
        let about = entry.metadata().ok()?;
        let old = about.modified().is_ok_and(|modified| modified < young);
        (about.is_file() && old).then(|| (id, entry.path()))
    });
    ours.collect()
}
