//! A QR code in a terminal, two rows of modules to a line.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// The lines of the code, dark on light whatever the terminal's colours are: modules are drawn as
/// blocks, light ones too. None if the text is longer than a QR code holds.
#[must_use]
pub fn lines(text: &str) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let drawn = code
        .render::<Dense1x2>()
        // A dark terminal is the common one: what is light is drawn ("Dark" is the drawn block).
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    Some(drawn.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_and_its_finders_are_there() {
        let lines = lines("xmpp:~room@a.example?mls-code;epoch=3;code=012345").unwrap();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert_eq!(lines.len(), width.div_ceil(2));
        let fits = |c: char| [' ', '█', '▀', '▄'].contains(&c);
        assert!(lines.iter().all(|line| line.chars().all(fits)));
        // Four light modules around, then the dark side of a finder, seven modules wide.
        let row: Vec<char> = lines[2].chars().collect();
        assert_eq!(row[..4], ['█'; 4]);
        assert_eq!(row[4..11], [' ', '▄', '▄', '▄', '▄', '▄', ' ']);
        assert!(lines_of_too_much().is_none());
    }

    fn lines_of_too_much() -> Option<Vec<String>> {
        lines(&"x".repeat(8_000))
    }
}
