//! The Bidi Rule (RFC 5893 §2), which a user name with a right-to-left character must satisfy
//! (RFC 8265 §3.3.2).

use icu_properties::CodePointMapData;
use icu_properties::props::BidiClass as B;

pub(super) fn satisfied(text: &str) -> bool {
    if text.is_ascii() {
        return true;
    }
    let class = |c| CodePointMapData::<B>::new().get(c);
    let has = |wanted: B| text.chars().any(|c| class(c) == wanted);
    let right_to_left = [B::RightToLeft, B::ArabicLetter, B::ArabicNumber];
    if !right_to_left.into_iter().any(has) {
        return true;
    }
    let first = text.chars().next().map(class);
    // Conditions 3 and 6: marks at the end do not count.
    let last = text
        .chars()
        .rev()
        .map(class)
        .find(|class| *class != B::NonspacingMark);
    let neutral = [
        B::EuropeanSeparator,
        B::CommonSeparator,
        B::EuropeanTerminator,
        B::OtherNeutral,
        B::BoundaryNeutral,
        B::NonspacingMark,
        B::EuropeanNumber,
    ];
    match first {
        // Conditions 2 to 4.
        Some(B::RightToLeft | B::ArabicLetter) => {
            text.chars()
                .map(class)
                .all(|class| right_to_left.contains(&class) || neutral.contains(&class))
                && last
                    .is_some_and(|last| right_to_left.contains(&last) || last == B::EuropeanNumber)
                && !(has(B::EuropeanNumber) && has(B::ArabicNumber))
        }
        // Conditions 5 and 6 leave no room for a right-to-left character; condition 1 no other
        // beginning.
        _ => false,
    }
}
