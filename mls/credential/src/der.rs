//! The few pieces of DER (X.690) this crate writes by itself.

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const UTF8_STRING: u8 = 0x0c;

/// Tag, length and the parts one after the other.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.push(length.to_le_bytes()[0]);
    } else {
        let bytes = length.to_be_bytes();
        let skip = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push(0x80 | (bytes.len() - skip).to_le_bytes()[0]);
        out.extend_from_slice(&bytes[skip..]);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        assert_eq!(tlv(0x04, &[&[1, 2]]), [4, 2, 1, 2]);
        assert_eq!(tlv(0x04, &[&[0; 127]])[..2], [4, 127]);
        assert_eq!(tlv(0x04, &[&[0; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(0x04, &[&[0; 100], &[0; 200]])[..4], [4, 0x82, 1, 44]);
    }
}
