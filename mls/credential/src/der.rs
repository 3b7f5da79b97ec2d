//! The few pieces of DER (X.690) this crate writes by itself.

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const SET: u8 = 0x31;

/// Tag, length and the parts one after the other.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.push(length.to_le_bytes()[0]);
    } else {
        let bytes = length.to_be_bytes();
        let skip = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push(0x80 | (bytes.len() - skip).to_le_bytes()[0]);
        out.extend_from_slice(&bytes[skip..]);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// An INTEGER that is not negative, in its shortest form.
pub(crate) fn unsigned(number: u64) -> Vec<u8> {
    let octets = number.to_be_bytes();
    let skip = octets
        .iter()
        .take_while(|octet| **octet == 0)
        .count()
        .min(7);
    let octets = &octets[skip..];
    let sign: &[u8] = if octets[0] & 0x80 == 0 { &[] } else { &[0] };
    tlv(INTEGER, &[sign, octets])
}

/// A point in time as RFC 5280 §4.1.2.5 writes it: UTCTime until 2049, then GeneralizedTime, until
/// 9999. None beyond that.
pub(crate) fn time(seconds: u64) -> Option<Vec<u8>> {
    const DAY: u64 = 24 * 60 * 60;
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    match year {
        ..2050 => Some(tlv(0x17, &[format!("{:02}{rest}", year % 100).as_bytes()])),
        2050..10_000 => Some(tlv(0x18, &[format!("{year:04}{rest}").as_bytes()])),
        _ => None,
    }
}

/// The proleptic Gregorian date of a day since 1970-01-01. Years are counted from March, so that
/// the leap day comes last, in cycles of 400 years.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day.saturating_add(719_468);
    let (cycle, of_cycle) = (day / 146_097, day % 146_097);
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
    use super::*;

    #[test]
    fn numbers_have_one_sign_and_no_leading_zeros() {
        assert_eq!(unsigned(0), [2, 1, 0]);
        assert_eq!(unsigned(127), [2, 1, 127]);
        assert_eq!(unsigned(128), [2, 2, 0, 128]);
        assert_eq!(unsigned(u64::MAX)[..3], [2, 9, 0]);
    }

    #[test]
    fn times_are_as_openssl_writes_them() {
        for (at, tag, text) in [
            (0, 0x17, "700101000000Z"),
            (951_782_399, 0x17, "000228235959Z"),
            (2_524_607_999, 0x17, "491231235959Z"),
            (2_524_608_000, 0x18, "20500101000000Z"),
            (4_107_542_400, 0x18, "21000301000000Z"),
        ] {
            assert_eq!(time(at).unwrap(), tlv(tag, &[text.as_bytes()]), "{at}");
        }
        assert_eq!(time(u64::MAX), None);
    }

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        assert_eq!(tlv(0x04, &[&[1, 2]]), [4, 2, 1, 2]);
        assert_eq!(tlv(0x04, &[&[0; 127]])[..2], [4, 127]);
        assert_eq!(tlv(0x04, &[&[0; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(0x04, &[&[0; 100], &[0; 200]])[..4], [4, 0x82, 1, 44]);
    }
}
