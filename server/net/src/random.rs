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
    bytes::<16>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
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
    }

    #[test]
    fn up_to_reaches_both_ends_and_no_further() {
        let drawn: Vec<u32> = (0..200).map(|_| up_to(1)).collect();
        assert!(drawn.contains(&0) && drawn.contains(&1) && drawn.iter().all(|d| *d <= 1));
        assert_eq!(up_to(0), 0);
    }
}
