//! The string classes (RFC 8264 §4) and the property of a code point they are made of (§8, §9).

use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::props::{
    DefaultIgnorableCodePoint, GeneralCategory, HangulSyllableType, NoncharacterCodePoint,
};
use icu_properties::{CodePointMapData, CodePointSetData};

use super::context;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Names: letters and digits, and all of ASCII that can be seen.
    Identifier,
    /// Nearly everything that can be seen, and spaces.
    Freeform,
}

/// RFC 8264 §8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Property {
    Valid,
    /// `FREE_PVAL`, which is `ID_DIS` too.
    FreeformOnly,
    /// `CONTEXTJ` and `CONTEXTO`.
    Context,
    /// Disallowed or unassigned.
    Disallowed,
}

/// Does the string consist of what its class allows, each where it is allowed?
pub(crate) fn allows(class: Class, text: &str) -> bool {
    text.char_indices().all(|(at, c)| match property(c) {
        Property::Valid => true,
        Property::FreeformOnly => class == Class::Freeform,
        Property::Context => context::allows(text, at, c),
        Property::Disallowed => false,
    })
}

/// RFC 8264 §9.14: Zs, but for the space itself.
pub(super) fn is_space(c: char) -> bool {
    category(c) == GeneralCategory::SpaceSeparator
}

fn property(c: char) -> Property {
    if let Some(exception) = exception(c) {
        return exception;
    }
    // RFC 8264 §9.11: all of ASCII that can be seen; its space is one like others.
    if c.is_ascii_graphic() {
        return Property::Valid;
    }
    match c {
        '\u{200c}' | '\u{200d}' => return Property::Context,
        _ if is_old_jamo(c) || is_ignorable(c) => return Property::Disallowed,
        _ => {}
    }
    use GeneralCategory as G;
    match category(c) {
        // Unassigned, controls, and what has no place anywhere.
        G::Unassigned | G::Control | G::Surrogate | G::PrivateUse | G::Format => {
            Property::Disallowed
        }
        _ if has_compatibility_form(c) => Property::FreeformOnly,
        G::LowercaseLetter
        | G::UppercaseLetter
        | G::OtherLetter
        | G::DecimalNumber
        | G::ModifierLetter
        | G::NonspacingMark
        | G::SpacingMark => Property::Valid,
        G::TitlecaseLetter
        | G::LetterNumber
        | G::OtherNumber
        | G::EnclosingMark
        | G::SpaceSeparator
        | G::MathSymbol
        | G::CurrencySymbol
        | G::ModifierSymbol
        | G::OtherSymbol
        | G::ConnectorPunctuation
        | G::DashPunctuation
        | G::OpenPunctuation
        | G::ClosePunctuation
        | G::InitialPunctuation
        | G::FinalPunctuation
        | G::OtherPunctuation => Property::FreeformOnly,
        // Line and paragraph separators.
        _ => Property::Disallowed,
    }
}

/// RFC 8264 §9.6, which is RFC 5892 §2.6.
fn exception(c: char) -> Option<Property> {
    Some(match c {
        '\u{df}' | '\u{3c2}' | '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '\u{3007}' => Property::Valid,
        '\u{b7}' | '\u{375}' | '\u{5f3}' | '\u{5f4}' | '\u{30fb}' => Property::Context,
        '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}' => Property::Context,
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => {
            Property::Disallowed
        }
        _ => return None,
    })
}

/// RFC 8264 §9.9.
fn is_old_jamo(c: char) -> bool {
    use HangulSyllableType as H;
    let type_ = CodePointMapData::<HangulSyllableType>::new().get(c);
    [H::LeadingJamo, H::VowelJamo, H::TrailingJamo].contains(&type_)
}

/// RFC 8264 §9.13.
fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(c)
}

/// RFC 8264 §9.17: `toNFKC(cp) != cp`. NFKC of one character is its NFKD composed, and what does
/// not decompose at all is the usual case.
fn has_compatibility_form(c: char) -> bool {
    let mut buffer = [0; 4];
    let text: &str = c.encode_utf8(&mut buffer);
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd().normalize(text);
    decomposed != text && super::compose(&decomposed) != text
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}
