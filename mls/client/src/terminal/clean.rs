//! What others wrote, before it comes near a terminal: names, messages, reasons.

/// The text with everything replaced that would move the cursor, colour the screen, answer in the
/// person's name (ECMA-48 sequences begin with a control character) or let text run backwards over
/// what stands beside it (UAX #9).
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if is_unfit(c) { '\u{fffd}' } else { c })
        .collect()
}

fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Marks, embeddings, overrides and isolates of direction.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Other ends of a line.
            | '\u{2028}' | '\u{2029}'
            // Annotations and tags, which are not seen.
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        for hostile in [
            "\u{1b}[2J",
            "\u{1b}]0;title\u{7}",
            "\u{1b}P+q544e\u{1b}\\",
            "\u{9b}31m",
            "\u{9d}52;c;aGk=\u{9c}",
            "line\r\nalice: I agree",
            "back\u{8}\u{8}\u{8}",
            "\u{202e}dekcart\u{202c}",
            "\u{2066}a\u{2069}",
            "one\u{2028}two",
            "\u{e0041}\u{e007f}",
            "\u{0}\u{7f}",
        ] {
            let cleaned = clean(hostile);
            assert!(!cleaned.chars().any(is_unfit), "{cleaned:?}");
            assert!(cleaned.contains('\u{fffd}'));
        }
        for harmless in [
            "grüße, 你好, שלום, नमस्ते",
            "👩\u{200d}👩\u{200d}👧",
            "a\u{301}",
            "~room@a.example",
        ] {
            assert_eq!(clean(harmless), harmless);
        }
    }
}
