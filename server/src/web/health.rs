//! `/health` and `/ready`, for who watches over processes and balances load. Both say as much to
//! everybody as that somebody is there, and why to nobody: `comity check` and the log do.

use std::time::Duration;

use comity_net::http::{Response, StatusCode, explain};
use comity_storage::Barrier;

use super::{Route, Visit};

/// The process lives: it answers.
pub(super) const HEALTH: Route = Route::get("/health", |_| {
    Box::pin(std::future::ready(explain(StatusCode::OK, "alive")))
});

/// It takes work: what is written becomes durable, and it does not stop.
pub(super) const READY: Route = Route::get("/ready", |visit| Box::pin(ready(visit)));

/// Whoever waits longer for the storage is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

async fn ready(visit: Visit) -> Response {
    if visit.streams.stopping() {
        return explain(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    if visit.home.storage.trouble().is_some() {
        // The storage has said why.
        return explain(StatusCode::SERVICE_UNAVAILABLE, "not ready");
    }
    let written = visit.home.storage.write(Barrier);
    match tokio::time::timeout(PATIENCE, written).await {
        Ok(Ok(())) => explain(StatusCode::OK, "ready"),
        Ok(Err(fault)) => {
            tracing::warn!(%fault, "not ready: the storage does not take anything in");
            explain(StatusCode::SERVICE_UNAVAILABLE, "not ready")
        }
        Err(_) => {
            tracing::warn!("not ready: the storage takes its time");
            explain(StatusCode::SERVICE_UNAVAILABLE, "not ready")
        }
    }
}
