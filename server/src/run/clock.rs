//! Watches the time of day: set by hand or by a machine that slept, it leaps, and what is stamped,
//! issued and judged by it leaps along. Timers do not: they go by a clock that is never set.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use comity_net::stop::Stop;
use tracing::warn;

use crate::home::Clock;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// What slewing and a busy machine do not make of it.
const LEAP: Duration = Duration::from_secs(60);

pub(super) async fn watch(clock: Arc<dyn Clock>, mut stop: Stop) {
    let (mut wall, mut steady) = (clock.wall(), Instant::now());
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.wait() => return,
        }
        let (now, passed) = (clock.wall(), steady.elapsed());
        say(leap(wall, now, passed));
        (wall, steady) = (now, Instant::now());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leap {
    No,
    Forward(u64),
    Back(u64),
}

/// How far the clock is from where the time that has passed would have brought it.
fn leap(before: SystemTime, now: SystemTime, passed: Duration) -> Leap {
    let expected = before + passed;
    match now.duration_since(expected) {
        Ok(ahead) if ahead > LEAP => Leap::Forward(ahead.as_secs()),
        Err(behind) if behind.duration() > LEAP => Leap::Back(behind.duration().as_secs()),
        _ => Leap::No,
    }
}

fn say(leap: Leap) {
    let todo = "see that the machine keeps time (`timedatectl`, `comity check`): certificates are \
                judged by it, and messages stamped";
    match leap {
        Leap::No => {}
        Leap::Forward(seconds) => warn!(seconds, "the clock has jumped forward; {todo}"),
        Leap::Back(seconds) => warn!(seconds, "the clock has jumped back; {todo}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_is_what_time_does_not_explain() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |moved: i64, passed, expected| {
            let by = Duration::from_secs(moved.unsigned_abs());
            let now = if moved < 0 { start - by } else { start + by };
            let found = leap(start, now, Duration::from_secs(passed));
            assert_eq!(found, expected, "{moved} in {passed}");
        };
        check(5, 5, Leap::No);
        check(65, 5, Leap::No);
        check(66, 5, Leap::Forward(61));
        check(-54, 5, Leap::No);
        check(-56, 5, Leap::Back(61));
        // A look that came late is no leap.
        check(3600, 3600, Leap::No);
    }
}
