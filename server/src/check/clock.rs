//! Is our clock right? Certificates, stamps and epochs of tokens all hang on it.

use std::time::{Duration, SystemTime};

use comity_net::time_of_day::{self, Unknown};

use super::{Findings, Ground};

const CHECK: &str = "clock";
/// Signatures of name servers (RFC 8945) and tickets end at five minutes; a tenth of it is much.
const BAD: Duration = Duration::from_secs(30);
const POOR: Duration = Duration::from_secs(2);

pub(super) async fn check(ground: &Ground, found: &mut Findings) {
    let server = &ground.time_server;
    let asked = time_of_day::ask(&*ground.lookup, server).await;
    let off = match asked {
        Ok(theirs) => difference(theirs, SystemTime::now()),
        Err(why) => return unknown(server, &why, found),
    };
    let seconds = format!("{:.1} s", off.as_secs_f64());
    let todo = "run systemd-timesyncd, chrony or another that keeps it";
    if off >= BAD {
        let what = format!("it differs from {server}'s by {seconds}: certificates may be refused");
        found.fault(CHECK, "this machine", what, todo);
    } else if off >= POOR {
        let what = format!("it differs from {server}'s by {seconds}");
        found.advice(CHECK, "this machine", what, todo);
    } else {
        let what = format!("it agrees with {server}'s to {seconds}");
        found.ok(CHECK, "this machine", what);
    }
}

fn unknown(server: &str, why: &Unknown, found: &mut Findings) {
    let what = format!("it could not be compared with {server}'s: {why}");
    let todo = "let UDP to port 123 out, or name a server with --time-server";
    found.advice(CHECK, "this machine", what, todo);
}

fn difference(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other)
        .unwrap_or_else(|error| error.duration())
}
