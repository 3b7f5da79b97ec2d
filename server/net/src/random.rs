//! The one place that draws randomness for streams: identifiers, nonces, jitter.

use ring::rand::{SecureRandom, SystemRandom};

/// Fills an array from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give: nothing secure can be done without it.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut drawn = [0; N];
    SystemRandom::new()
        .fill(&mut drawn)
        .expect("the operating system gives randomness");
    drawn
}

/// An identifier nobody can guess: 128 bits in hexadecimal.
#[must_use]
pub fn id() -> String {
    hexadecimal(&bytes::<16>())
}

/// An identifier of that moment (milliseconds since 1970): 48 bits of time, then 80 that nobody can
/// guess. Such identifiers sort by time, as those of RFC 9562 §5.7.
#[must_use]
pub fn id_at(moment: u64) -> String {
    let mut octets = bytes::<16>();
    octets[..6].copy_from_slice(&moment.to_be_bytes()[2..]);
    hexadecimal(&octets)
}

fn hexadecimal(octets: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    octets
        .iter()
        .flat_map(|octet| [digit(octet >> 4), digit(octet & 15)])
        .collect()
}

/// A number from 0 to `most`, both included.
#[must_use]
pub fn up_to(most: u32) -> u32 {
    let wide = u64::from_le_bytes(bytes());
    // The bias of the remainder is below 2^-32: fine for an order of targets and for jitter.
    u32::try_from(wide % (u64::from(most) + 1)).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_long_and_differ() {
        assert_eq!(id().len(), 32);
        assert_ne!(id(), id());
        assert_eq!(hexadecimal(&[0, 0x9f, 0xa0]), "009fa0");
    }

    #[test]
    fn identifiers_of_moments_sort_by_them() {
        let (one, other) = (id_at(0x0102_0304_0506), id_at(0x0102_0304_0507));
        assert!(one.starts_with("010203040506") && one.len() == 32);
        assert!(one < other);
        assert_ne!(id_at(1), id_at(1));
    }

    #[test]
    fn up_to_reaches_both_ends_and_no_further() {
        let drawn: Vec<u32> = (0..200).map(|_| up_to(1)).collect();
        assert!(drawn.contains(&0) && drawn.contains(&1) && drawn.iter().all(|d| *d <= 1));
        assert_eq!(up_to(0), 0);
    }
}
