//! Characters that are allowed only beside certain others (RFC 5892 appendix A).

use icu_properties::CodePointMapData;
use icu_properties::props::{CanonicalCombiningClass, JoiningType, Script};

/// Is the character at this place of the text allowed there?
pub(super) fn allows(text: &str, at: usize, c: char) -> bool {
    let before = text[..at].chars().next_back();
    let after = text[at + c.len_utf8()..].chars().next();
    match c {
        // A.1
        '\u{200c}' => {
            before.is_some_and(is_virama) || joins(&text[..at], &text[at + c.len_utf8()..])
        }
        // A.2
        '\u{200d}' => before.is_some_and(is_virama),
        // A.3: between two `l`, as in Catalan.
        '\u{b7}' => before == Some('l') && after == Some('l'),
        // A.4
        '\u{375}' => after.is_some_and(|c| script(c) == Script::Greek),
        // A.5, A.6
        '\u{5f3}' | '\u{5f4}' => before.is_some_and(|c| script(c) == Script::Hebrew),
        // A.7
        '\u{30fb}' => text
            .chars()
            .any(|c| [Script::Hiragana, Script::Katakana, Script::Han].contains(&script(c))),
        // A.8, A.9: digits of one kind only.
        '\u{660}'..='\u{669}' => !text.contains(|c| ('\u{6f0}'..='\u{6f9}').contains(&c)),
        '\u{6f0}'..='\u{6f9}' => !text.contains(|c| ('\u{660}'..='\u{669}').contains(&c)),
        _ => false,
    }
}

/// A.1: `(L|D) T* ZWNJ T* (R|D)`.
fn joins(before: &str, after: &str) -> bool {
    let type_ = |c| CodePointMapData::<JoiningType>::new().get(c);
    let firm = |c: &char| type_(*c) != JoiningType::Transparent;
    let left = before.chars().rev().find(firm).map(type_);
    let right = after.chars().find(firm).map(type_);
    matches!(
        left,
        Some(JoiningType::LeftJoining | JoiningType::DualJoining)
    ) && matches!(
        right,
        Some(JoiningType::RightJoining | JoiningType::DualJoining)
    )
}

fn is_virama(c: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass::Virama
}

fn script(c: char) -> Script {
    CodePointMapData::<Script>::new().get(c)
}
