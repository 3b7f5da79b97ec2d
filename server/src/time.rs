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

/// Reads a point in time, in milliseconds since 1970; what lies before 1970 is 1970.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T')?;
    let mut numbers = date.splitn(3, '-');
    let mut next = |digits: usize| number(numbers.next()?, digits);
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if !(1..=12).contains(&month) || !(1..=length(year, month)).contains(&day) {
        return None;
    }
    let at = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at(at);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut numbers = time.splitn(3, ':').map(|text| number(text, 2));
    let (hours, minutes, seconds) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let of_day = ((hours * 60 + minutes) * 60 + seconds) * 1000 + millis_of(fraction)?;
    let ahead = zone_ms(zone)?;
    if year < 1970 {
        return Some(0);
    }
    Some((days(year, month, day) * DAY_MS + of_day).saturating_add_signed(-ahead))
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let right = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| text.parse().ok()).flatten()
}

/// Of any length; what is finer than a millisecond is left out.
fn millis_of(fraction: &str) -> Option<u64> {
    let right = (1..=32).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    let millis: String = fraction.chars().chain("00".chars()).take(3).collect();
    right.then(|| millis.parse().ok()).flatten()
}

/// How far a place's clocks are ahead.
fn zone_ms(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, zone) = match zone.split_at_checked(1)? {
        ("+", zone) => (1, zone),
        (_, zone) => (-1, zone),
    };
    let (hours, minutes) = zone.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    let ahead = i64::try_from((hours * 60 + minutes) * 60_000).ok()?;
    (hours <= 14 && minutes <= 59).then_some(sign * ahead)
}

fn length(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Since 1970-01-01, of no day before it: [`date`] the other way round.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let since = year / 400 * 146_097 + year % 400 * 365 + year % 400 / 4 - year % 400 / 100;
    since + of_year - 719_468
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
    use super::{day, parse, stamp};

    #[test]
    fn stamps() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(stamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(stamp(1_031_699_305_000), "2002-09-10T23:08:25.000Z");
        assert_eq!(day(951_868_799), "2000-02-29");
        assert_eq!(stamp(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn points_in_time_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-28T23:59:59.999Z", 951_782_399_999),
            ("2000-02-29T00:00:00.000Z", 951_782_400_000),
            ("2002-09-10T23:08:25Z", 1_031_699_305_000),
            ("2002-09-11T01:08:25.5+02:00", 1_031_699_305_500),
            ("2002-09-10T18:08:25.123456-05:00", 1_031_699_305_123),
            ("1969-07-21T02:56:15Z", 0),
            ("1970-01-01T00:00:00+01:00", 0),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ] {
            assert_eq!(parse(text), Some(ms), "{text}");
        }
        for ms in (0..400).map(|n| n * 123 * 3_600_000 + 7) {
            assert_eq!(parse(&stamp(ms)), Some(ms));
        }
        for text in [
            "",
            "T",
            "2002-09-10",
            "2002-09-10T23:08:25",
            "2002-13-10T23:08:25Z",
            "2001-02-29T23:08:25Z",
            "2002-09-10T24:08:25Z",
            "2002-09-10T23:08:25.Z",
            "2002-09-10T23:08:25+2:00",
            "2002-09-10T23:08:25+15:00",
            "02002-09-10T23:08:25Z",
            "2002-9-10T23:08:25Z",
            "+002-09-10T23:08:25Z",
            "2002-09-10T23:08Z",
            "x\u{e9}02-09-10T23:08:25Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
