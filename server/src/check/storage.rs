//! Is what the server remembers there, whole, and nobody else's?

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use comity_storage::Storage;

use super::{Findings, Ground};

const CHECK: &str = "storage";

pub(super) async fn check(ground: &Ground, running: bool, found: &mut Findings) {
    let directory = &ground.conf.server.data_dir;
    let about = directory.display().to_string();
    let metadata = match std::fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = "it does not exist: the server makes it at its first start";
            return found.advice(CHECK, &about, what, "comity serve --config FILE");
        }
        Err(error) => {
            let todo = "run this as the user that the server runs as";
            return found.fault(CHECK, &about, error.to_string(), todo);
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        found.ok(CHECK, &about, "it is its owner's alone");
    } else {
        let what = format!("others may look in (mode {mode:03o}): keys lie there");
        found.fault(CHECK, &about, what, format!("chmod 700 {about}"));
    }
    database(&ground.conf.database(), running, found).await;
}

async fn database(path: &Path, running: bool, found: &mut Findings) {
    let about = path.display().to_string();
    if !path.exists() {
        let what = "it does not exist: the server makes it at its first start";
        return found.advice(CHECK, &about, what, "comity serve --config FILE");
    }
    match Storage::examine(path).await {
        Ok(broken) if broken.is_empty() => found.ok(CHECK, &about, "it is whole"),
        Ok(broken) => found.fault(
            CHECK,
            &about,
            format!("it is damaged: {}", broken.join("; ")),
            "stop the server, keep a copy of the file, and put the last backup back",
        ),
        Err(error) => {
            let todo = if running {
                "run this as the user that the server runs as"
            } else {
                "see that the file is the server's, and of no newer version of it"
            };
            found.fault(CHECK, &about, error.to_string(), todo);
        }
    }
}
