//! PRECIS (RFC 8264): the profiles UsernameCaseMapped and OpaqueString (RFC 8265), on the Unicode
//! of today rather than that of a registry frozen years ago, so that new scripts and emoji are
//! known.
//!
//! The rules are applied in the order of RFC 8264 §7, and the string class is judged at the end,
//! on what the mappings have made.

mod bidi;
mod class;
mod context;

use std::borrow::Cow;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

pub(crate) use class::{Class, allows};

/// RFC 8264 §7: the rules are applied again until the result no longer changes, at most this
/// often.
const ENFORCEMENTS: usize = 4;

/// RFC 8265 §3.3. None for what is no user name.
pub(crate) fn username_case_mapped(text: &str) -> Option<Cow<'_, str>> {
    settle(text, |text| {
        let mapped = map_width(text).to_lowercase();
        let normal = compose(&mapped).into_owned();
        let right = bidi::satisfied(&normal) && allows(Class::Identifier, &normal);
        (right && !normal.is_empty()).then_some(normal)
    })
}

/// RFC 8265 §4.2. None for what is no password and no other opaque string.
pub(crate) fn opaque_string(text: &str) -> Option<Cow<'_, str>> {
    settle(text, |text| {
        let mapped: String = text
            .chars()
            .map(|c| if class::is_space(c) { ' ' } else { c })
            .collect();
        let normal = compose(&mapped).into_owned();
        (allows(Class::Freeform, &normal) && !normal.is_empty()).then_some(normal)
    })
}

/// RFC 8264 §7: enforcement must be idempotent; where one round is not, more rounds are tried and
/// what never settles is refused.
fn settle(text: &str, enforce: impl Fn(&str) -> Option<String>) -> Option<Cow<'_, str>> {
    let mut current = Cow::Borrowed(text);
    for _ in 0..ENFORCEMENTS {
        let next = enforce(&current)?;
        if next == current {
            return Some(current);
        }
        current = Cow::Owned(next);
    }
    None
}

/// RFC 8264 §5.2.1: full-width and half-width forms become the ordinary ones. All of them stand in
/// one block but the ideographic space, and none of those that a user name may become has any
/// other decomposition.
fn map_width(text: &str) -> Cow<'_, str> {
    const FORMS: std::ops::RangeInclusive<char> = '\u{ff01}'..='\u{ffee}';
    if !text.contains(|c| FORMS.contains(&c)) {
        return Cow::Borrowed(text);
    }
    let nfkd = DecomposingNormalizerBorrowed::new_nfkd();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if FORMS.contains(&c) {
            out.push_str(&nfkd.normalize(c.encode_utf8(&mut [0; 4])));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn compose(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}
