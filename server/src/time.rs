//! Points in time as XMPP writes them (XEP-0082).

const DAY_MS: u64 = 24 * 3600 * 1000;

/// `2002-09-10T23:08:25.123Z`.
pub(crate) fn stamp(ms: u64) -> String {
    let (year, month, day) = date(ms / DAY_MS);
    let in_day = ms % DAY_MS;
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// `2002-09-10`, of seconds since 1970.
pub(crate) fn day(seconds: u64) -> String {
    let (year, month, day) = date(seconds / (24 * 3600));
    format!("{year:04}-{month:02}-{day:02}")
}

/// The proleptic Gregorian date of a day since 1970-01-01. Years are counted from March, so that
/// the leap day comes last, in cycles of 400 years.
fn date(day: u64) -> (u64, u64, u64) {
    // From 0000-03-01.
    let day = day + 719_468;
    let cycle = day / 146_097;
    let of_cycle = day % 146_097;
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (cycle * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{day, stamp};

    #[test]
    fn stamps() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(stamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(stamp(1_031_699_305_000), "2002-09-10T23:08:25.000Z");
        assert_eq!(day(951_868_799), "2000-02-29");
        assert_eq!(stamp(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
