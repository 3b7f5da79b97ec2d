//! The three parts of an address, each brought into its one canonical form (RFC 7622 §3).

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::JidError;
use crate::precis::{self, Class};

/// RFC 7622 §3.1: each part is at most 1023 octets.
pub(super) const PART_BYTES: usize = 1023;
/// Width mapping and composition only ever shrink a part to a third: more cannot become valid,
/// and the profiles need not look at it.
const RAW_BYTES: usize = 3 * PART_BYTES;
/// RFC 1035 §2.3.4, RFC 5890 §2.3.2.1.
const LABEL_BYTES: usize = 63;

pub(super) fn local(text: &str) -> Result<Cow<'_, str>, JidError> {
    const PART: &str = "localpart";
    check_raw(PART, text)?;
    if text.bytes().all(is_plain_local) {
        return check_length(PART, Cow::Borrowed(text));
    }
    let enforced = precis::username_case_mapped(text)
        .ok_or_else(|| fault(PART, "not a user name that PRECIS allows"))?;
    // RFC 7622 §3.3.1: judged after enforcement, since width mapping can make one of these.
    if enforced.bytes().any(|b| b"\"&'/:<>@".contains(&b)) {
        return Err(fault(PART, "holding one of \" & ' / : < > @"));
    }
    check_length(PART, enforced)
}

pub(super) fn resource(text: &str) -> Result<Cow<'_, str>, JidError> {
    const PART: &str = "resourcepart";
    check_raw(PART, text)?;
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return check_length(PART, Cow::Borrowed(text));
    }
    let enforced = precis::opaque_string(text)
        .ok_or_else(|| fault(PART, "holding a character that PRECIS forbids"))?;
    check_length(PART, enforced)
}

pub(super) fn domain(text: &str) -> Result<Cow<'_, str>, JidError> {
    const PART: &str = "domainpart";
    check_raw(PART, text)?;
    // RFC 7622 §3.2: a final dot, however it is written (RFC 3490 §3.1), is stripped before
    // anything else.
    let text = text
        .strip_suffix(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'])
        .unwrap_or(text);
    if is_plain_domain(text) {
        return check_length(PART, Cow::Borrowed(text));
    }
    if let Some(inside) = text.strip_prefix('[') {
        let address: Ipv6Addr = inside
            .strip_suffix(']')
            .and_then(|inside| inside.parse().ok())
            .ok_or_else(|| fault(PART, "an IP literal that is no IPv6 address"))?;
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    let (unicode, verdict) =
        Uts46::new().to_unicode(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
    verdict.map_err(|_| fault(PART, "not an internationalized domain name"))?;
    check_labels(&unicode)?;
    check_length(PART, unicode)
}

/// What [`Uts46`] lets through and IDNA2008 does not: symbols and the like (RFC 5892 §2; its
/// derived property is that of PRECIS's IdentifierClass once a label is mapped), and lengths.
fn check_labels(unicode: &str) -> Result<(), JidError> {
    const PART: &str = "domainpart";
    for label in unicode.split('.') {
        if label.is_empty() {
            return Err(fault(PART, "holding an empty label"));
        }
        if !label.is_ascii() && !precis::allows(Class::Identifier, label) {
            return Err(fault(PART, "holding a character that IDNA2008 forbids"));
        }
        let ascii = Uts46::new()
            .to_ascii(
                label.as_bytes(),
                AsciiDenyList::STD3,
                Hyphens::Check,
                DnsLength::Ignore,
            )
            .map_err(|_| fault(PART, "not an internationalized domain name"))?;
        if ascii.len() > LABEL_BYTES {
            return Err(fault(PART, "holding a label longer than 63 bytes"));
        }
    }
    // RFC 7622 §3.2: numbers alone are an IPv4 address or nothing; a resolver would make an address
    // of `1.2.3` too, and of another shape.
    if is_numeric(unicode) && unicode.parse::<Ipv4Addr>().is_err() {
        return Err(fault(PART, "made of numbers without being an IPv4 address"));
    }
    Ok(())
}

/// Lower-case letters, digits and inner hyphens, without the `--` that an A-label has.
fn is_plain_domain(text: &str) -> bool {
    text.split('.').all(|label| {
        (1..=LABEL_BYTES).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.get(2..4) != Some("--")
    }) && !is_numeric(text)
}

fn is_numeric(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// ASCII that UsernameCaseMapped leaves as it is and RFC 7622 §3.3.1 does not exclude.
fn is_plain_local(byte: u8) -> bool {
    (0x21..0x7f).contains(&byte) && !byte.is_ascii_uppercase() && !b"\"&'/:<>@".contains(&byte)
}

fn check_raw(part: &'static str, text: &str) -> Result<(), JidError> {
    match text.len() {
        0 => Err(fault(part, "empty")),
        1..=RAW_BYTES => Ok(()),
        _ => Err(fault(part, "longer than 1023 bytes")),
    }
}

fn check_length<'a>(part: &'static str, text: Cow<'a, str>) -> Result<Cow<'a, str>, JidError> {
    match text.len() {
        0 => Err(fault(part, "empty")),
        1..=PART_BYTES => Ok(text),
        _ => Err(fault(part, "longer than 1023 bytes")),
    }
}

fn fault(part: &'static str, fault: &'static str) -> JidError {
    JidError::Part { part, fault }
}
