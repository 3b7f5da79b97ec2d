//! Addresses (RFC 7622): localpart@domainpart/resourcepart, enforced by PRECIS and IDNA2008 when
//! parsed, so that equal addresses are equal strings.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

mod part;

/// Why a string is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JidError {
    #[error("the {part} of the address is {fault}")]
    Part {
        part: &'static str,
        fault: &'static str,
    },
}

/// Any address, with or without a resource. Cheap to clone.
#[derive(Clone)]
pub struct Jid {
    text: Arc<str>,
    /// Where the `@` stands, if there is one: never at the start.
    at: Option<NonZeroU16>,
    /// Where the `/` stands, if there is one: never at the start.
    slash: Option<NonZeroU16>,
    /// It ends before the `/`, and shares the text with the address that goes on.
    cut: bool,
}

/// An address without a resource: an account, a room or a domain.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BareJid(Jid);

impl Jid {
    /// Reads an address and brings it into its canonical form.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        // RFC 7622 §3.1: the first slash ends the bare address, and only then is the first at-sign
        // looked for, since a resource may hold either.
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(part::resource(resource)?)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(part::local(local)?), part::domain(domain)?),
            None => (None, part::domain(bare)?),
        };
        let changed = |part: &Cow<'_, str>| matches!(part, Cow::Owned(_));
        let stripped =
            text.len() != length(local.as_deref()) + domain.len() + length(resource.as_deref());
        if stripped || changed(&domain) || local.iter().chain(&resource).any(changed) {
            return Ok(Self::assemble(
                local.as_deref(),
                &domain,
                resource.as_deref(),
            ));
        }
        // Most addresses are canonical already, and each part is within its limit.
        Ok(Self {
            text: text.into(),
            at: local.and_then(|local| mark(local.len())),
            slash: resource.and_then(|_| mark(bare.len())),
            cut: false,
        })
    }

    /// Makes an address of parts as somebody typed them, each brought into its canonical form.
    pub fn from_parts(
        local: Option<&str>,
        domain: &str,
        resource: Option<&str>,
    ) -> Result<Self, JidError> {
        let local = local.map(part::local).transpose()?;
        let domain = part::domain(domain)?;
        let resource = resource.map(part::resource).transpose()?;
        Ok(Self::assemble(
            local.as_deref(),
            &domain,
            resource.as_deref(),
        ))
    }

    /// Joins parts that are canonical already.
    fn assemble(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        let mut text = String::with_capacity(length(local) + domain.len() + length(resource));
        let mut at = None;
        if let Some(local) = local {
            text.push_str(local);
            at = mark(text.len());
            text.push('@');
        }
        text.push_str(domain);
        let mut slash = None;
        if let Some(resource) = resource {
            slash = mark(text.len());
            text.push('/');
            text.push_str(resource);
        }
        Self {
            text: text.into(),
            at,
            slash,
            cut: false,
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        if self.cut {
            &self.text[..self.bare_end()]
        } else {
            &self.text
        }
    }

    #[must_use]
    pub fn local(&self) -> Option<&str> {
        self.at.map(|at| &self.text[..place(at)])
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        let start = self.at.map_or(0, |at| place(at) + 1);
        &self.text[start..self.bare_end()]
    }

    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        let slash = self.slash.filter(|_| !self.cut)?;
        Some(&self.text[place(slash) + 1..])
    }

    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.cut || self.slash.is_none()
    }

    /// Shares the text: it is asked of every stanza, many times.
    #[must_use]
    pub fn to_bare(&self) -> BareJid {
        BareJid(Self {
            cut: self.slash.is_some(),
            ..self.clone()
        })
    }

    fn bare_end(&self) -> usize {
        self.slash.map_or(self.text.len(), place)
    }
}

/// The marks follow from the text.
impl PartialEq for Jid {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Jid {}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Where a part ends that is as long; none has no length, and all are within their limits.
fn mark(length: usize) -> Option<NonZeroU16> {
    u16::try_from(length).ok().and_then(NonZeroU16::new)
}

fn place(mark: NonZeroU16) -> usize {
    usize::from(mark.get())
}

/// Bytes of a part with the mark that sets it apart.
fn length(part: Option<&str>) -> usize {
    part.map_or(0, |part| part.len() + 1)
}

impl BareJid {
    /// Parses an address and refuses one with a resource.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let jid = Jid::parse(text)?;
        if jid.is_bare() {
            Ok(Self(jid))
        } else {
            Err(JidError::Part {
                part: "resourcepart",
                fault: "not allowed here",
            })
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    #[must_use]
    pub fn local(&self) -> Option<&str> {
        self.0.local()
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    #[must_use]
    pub fn as_jid(&self) -> &Jid {
        &self.0
    }

    pub fn with_resource(&self, resource: &str) -> Result<Jid, JidError> {
        let resource = part::resource(resource)?;
        Ok(Jid::assemble(self.local(), self.domain(), Some(&resource)))
    }
}

impl From<BareJid> for Jid {
    fn from(bare: BareJid) -> Self {
        bare.0
    }
}

impl FromStr for Jid {
    type Err = JidError;
    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl FromStr for BareJid {
    type Err = JidError;
    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests;
