//! The XML declaration before a stream's first tag (XML 1.0 §2.8, RFC 6120 §11.5).

use crate::error::{StreamCondition, StreamError};

/// `bytes` is everything from `<?xml` to `?>`.
pub(super) fn check(bytes: &[u8]) -> Result<(), StreamError> {
    let inside = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.strip_prefix("<?xml"))
        .and_then(|text| text.strip_suffix("?>"))
        .ok_or_else(ill)?;
    let (version, rest) = pseudo_attribute(inside, "version")?.ok_or_else(ill)?;
    // XML 1.0 §2.8: a 1.0 processor reads any 1.x as if it were 1.0.
    let minor = version.strip_prefix("1.").ok_or_else(ill)?;
    if minor.is_empty() || !minor.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ill());
    }
    let rest = match pseudo_attribute(rest, "encoding")? {
        None => rest,
        Some((encoding, rest)) => {
            let named = encoding.starts_with(|c: char| c.is_ascii_alphabetic())
                && encoding
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !named {
                return Err(ill());
            }
            // RFC 6120 §4.9.3.22.
            if !encoding.eq_ignore_ascii_case("utf-8") {
                return Err(StreamError::new(
                    StreamCondition::UnsupportedEncoding,
                    "XMPP is written in UTF-8 only",
                ));
            }
            rest
        }
    };
    let rest = match pseudo_attribute(rest, "standalone")? {
        None => rest,
        Some(("yes" | "no", rest)) => rest,
        Some(_) => return Err(ill()),
    };
    if rest.trim_start_matches(SPACE).is_empty() {
        Ok(())
    } else {
        Err(ill())
    }
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// `S name S? '=' S? quoted`: the value and what follows, or None if another name stands there.
fn pseudo_attribute<'t>(
    text: &'t str,
    name: &str,
) -> Result<Option<(&'t str, &'t str)>, StreamError> {
    let trimmed = text.trim_start_matches(SPACE);
    let Some(rest) = trimmed.strip_prefix(name) else {
        return Ok(None);
    };
    if trimmed.len() == text.len() {
        return Err(ill());
    }
    let rest = rest
        .trim_start_matches(SPACE)
        .strip_prefix('=')
        .ok_or_else(ill)?
        .trim_start_matches(SPACE);
    let quote = rest
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"'))
        .ok_or_else(ill)?;
    rest[1..].split_once(quote).map(Some).ok_or_else(ill)
}

fn ill() -> StreamError {
    StreamError::not_well_formed("the XML declaration; send <?xml version='1.0'?> or none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations() {
        for good in [
            "<?xml version='1.0'?>",
            "<?xml version=\"1.0\" encoding='UTF-8'?>",
            "<?xml  version = '1.1'\n encoding = \"utf-8\" standalone='yes' ?>",
            "<?xml version='1.0' standalone='no'?>",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, condition) in [
            ("<?xml?>", StreamCondition::NotWellFormed),
            ("<?xml version='2.0'?>", StreamCondition::NotWellFormed),
            ("<?xml version='1.'?>", StreamCondition::NotWellFormed),
            ("<?xml version=1.0?>", StreamCondition::NotWellFormed),
            ("<?xml version='1.0\"?>", StreamCondition::NotWellFormed),
            (
                "<?xml version='1.0'encoding='UTF-8'?>",
                StreamCondition::NotWellFormed,
            ),
            (
                "<?xml encoding='UTF-8' version='1.0'?>",
                StreamCondition::NotWellFormed,
            ),
            (
                "<?xml version='1.0' standalone='YES'?>",
                StreamCondition::NotWellFormed,
            ),
            (
                "<?xml version='1.0' valid='no'?>",
                StreamCondition::NotWellFormed,
            ),
            (
                "<?xml version='1.0' encoding=' UTF-8'?>",
                StreamCondition::NotWellFormed,
            ),
            (
                "<?xml version='1.0' encoding='UTF-16'?>",
                StreamCondition::UnsupportedEncoding,
            ),
        ] {
            assert_eq!(
                check(bad.as_bytes()).map_err(|e| e.condition),
                Err(condition),
                "{bad}"
            );
        }
    }
}
