//! A stream header as an element of its own, where a transport carries one element at a time
//! (RFC 7395 §3.4).

use super::{Header, address, version};
use crate::element::Element;
use crate::error::{StreamCondition, StreamError};
use crate::ns;

impl Header {
    /// Reads `<open/>`. What follows it states its namespaces itself, so that none are declared
    /// here but the one of a client's stanzas.
    ///
    /// # Errors
    /// As for a header: addresses and a version that are none.
    pub fn from_open(open: &Element) -> Result<Self, StreamError> {
        let from = open.attr("from");
        let to = open.attr("to");
        Ok(Self {
            from: from
                .map(|from| address(from, StreamCondition::InvalidFrom, "from"))
                .transpose()?,
            to: to
                .map(|to| address(to, StreamCondition::HostUnknown, "to"))
                .transpose()?,
            id: open.attr("id").map(str::to_owned),
            version: open.attr("version").map(version).transpose()?,
            lang: open.lang().map(str::to_owned),
            content_ns: ns::CLIENT.to_owned(),
            prefixes: Vec::new(),
        })
    }

    /// Writes `<open/>`.
    #[must_use]
    pub fn to_open(&self) -> Element {
        let version = self
            .version
            .map(|(major, minor)| format!("{major}.{minor}"));
        let address =
            |jid: &Option<crate::jid::Jid>| jid.as_ref().map(|jid| jid.as_str().to_owned());
        let mut open = Element::new(ns::FRAMING, "open")
            .with_attr_opt("from", address(&self.from))
            .with_attr_opt("to", address(&self.to))
            .with_attr_opt("id", self.id.clone())
            .with_attr_opt("version", version);
        if let Some(lang) = &self.lang {
            open.set_lang(lang);
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_is_read_as_it_was_written() {
        let mut header = Header::of(ns::CLIENT);
        header.id = Some("x".to_owned());
        header.lang = Some("de".to_owned());
        assert_eq!(Header::from_open(&header.to_open()), Ok(header));
    }

    #[test]
    fn faults_have_their_conditions() {
        for (name, value, condition) in [
            ("to", "a@@b", StreamCondition::HostUnknown),
            ("from", "@", StreamCondition::InvalidFrom),
            ("version", "1", StreamCondition::UnsupportedVersion),
        ] {
            let open = Element::new(ns::FRAMING, "open").with_attr(name, value);
            assert_eq!(Header::from_open(&open).unwrap_err().condition, condition);
        }
    }
}
