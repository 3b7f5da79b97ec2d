//! Durations as people write them: `"30s"`, `"5min"`, `"90d"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// Unit and its milliseconds, the largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("min", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).ok_or_else(|| {
        de::Error::custom(format!(
            "\"{text}\" is no duration: expected a whole number and one of d, h, min, s, ms, \
             as in \"90d\" or \"30s\""
        ))
    })
}

pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&write(*duration))
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(*millis)
        .map(Duration::from_millis)
}

/// In the largest unit that loses nothing.
pub(crate) fn write(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (name, size) = UNITS
        .iter()
        .find(|(_, size)| millis > 0 && millis.is_multiple_of(*size))
        .unwrap_or(&("s", 1000));
    format!("{}{name}", millis / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let check = |text, seconds| {
            let parsed = parse(text).map(|duration| duration.as_secs());
            assert_eq!(parsed, Some(seconds), "{text}");
        };
        check("30s", 30);
        check("5 min", 300);
        check("2h", 7200);
        check("90d", 90 * 86400);
        check("1500ms", 1);
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "s",
            "5",
            "5m",
            "-5s",
            "1.5h",
            "5s5s",
            "5 s ",
            "999999999999999d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["30s", "5min", "2h", "90d", "1500ms", "0s"] {
            assert_eq!(parse(text).map(write).as_deref(), Some(text));
        }
    }
}
