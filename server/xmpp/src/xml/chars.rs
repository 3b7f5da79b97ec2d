//! Which characters XML 1.0 (fifth edition) and Namespaces in XML 1.0 allow where.

/// XML 1.0 §2.2 `Char`; surrogates cannot occur in a `char`.
pub(super) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// The same for a whole text, byte by byte: the only offenders are the controls below U+0020 and
/// U+FFFE and U+FFFF, whose UTF-8 starts with EF BF.
pub(super) fn all_chars(text: &str) -> bool {
    let bytes = text.as_bytes();
    let control = |b: u8| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r');
    if bytes.iter().any(|&b| control(b)) {
        return false;
    }
    // EF is rare: it starts the last tenth of the basic plane.
    if !bytes.contains(&0xef) {
        return true;
    }
    !bytes
        .windows(3)
        .any(|w| w[0] == 0xef && w[1] == 0xbf && w[2] >= 0xbe)
}

/// XML 1.0 §2.3 `S`.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Namespaces in XML §3 `NCName`: a name without a colon.
pub(super) fn is_nc_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

fn is_name_start(c: char) -> bool {
    matches!(c,
        'a'..='z' | 'A'..='Z' | '_'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
        | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c,
            '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_check_agrees_with_the_character_check() {
        for c in (0..0x3_0000).filter_map(char::from_u32) {
            let text = format!("a{c}b");
            assert_eq!(all_chars(&text), is_char(c), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn names() {
        for good in [
            "a",
            "_",
            "a-b",
            "a.1",
            "\u{e9}t\u{e9}",
            "\u{3c0}",
            "a\u{b7}",
        ] {
            assert!(is_nc_name(good), "{good:?}");
        }
        for bad in [
            "", "1a", "-a", ".a", "a:b", "a b", "\u{d7}", "a\u{37e}", "\u{b7}", "a/",
        ] {
            assert!(!is_nc_name(bad), "{bad:?}");
        }
    }
}
