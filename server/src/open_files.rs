//! How many files, and so connections, the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Takes as many as the system allows: the usual 1,024 are there for programs that know no better
/// than select(2), and a server that has used them up can take nobody in.
pub(crate) fn raise() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(files) => info!(files, "so many files and connections may be open"),
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
}
