//! Large MLS objects beside the stanzas that name them: a tree, a Welcome, a commit, a GroupInfo of
//! more than [`INLINE_BYTES`] is put out of its stanza, which names it by SHA-256 and size, and
//! travels in chunks by IQs of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use comity_xmpp::element::{Element, Node};
use comity_xmpp::ns::MLS_ROOM as NS;
use comity_xmpp::stanza::IqType;

use crate::limits;
use crate::read::{
    Attributes as _, Malformed, attr, blob as octets, bytes, expect, expect_iq, name_in, unknown,
};
use crate::room::{Hash, payload_hash};

/// Octets of an object that travels inside its stanza. Four such objects, which is what a bundle
/// has, fit into one of 256 KiB.
pub const INLINE_BYTES: usize = 32 * 1024;
/// Octets of a chunk; the last one of an object may be shorter.
pub const CHUNK_BYTES: usize = 48 * 1024;
/// Elements that hold one MLS object each.
const HOLDERS: [&str; 5] = ["message", "welcome", "group-info", "tree", "payload"];
/// How deep they lie at most in a payload: of a Welcome in a fan-out.
const DEPTH: usize = 3;

/// An object that a stanza names instead of holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named {
    /// SHA-256.
    pub hash: Hash,
    /// Octets.
    pub size: u64,
}

impl Named {
    #[must_use]
    pub fn of(object: &[u8]) -> Self {
        Self {
            hash: payload_hash(object),
            size: object.len() as u64,
        }
    }

    fn to_element(self) -> Element {
        Element::new(NS, "blob")
            .put("hash", &self.hash)
            .put("size", &self.size)
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        let named = Self {
            hash: attr(element, "hash")?,
            size: attr(element, "size")?,
        };
        if named.size == 0 || named.size > limits::OBJECT_BYTES as u64 {
            return Err(Malformed::new(
                element,
                format!("a size of 1 to {}", limits::OBJECT_BYTES),
                named.size.to_string(),
            ));
        }
        Ok(named)
    }

    /// How many octets the chunk at an offset has; none where no chunk begins.
    #[must_use]
    pub fn chunk(&self, offset: u64) -> Option<usize> {
        let chunk = CHUNK_BYTES as u64;
        (offset < self.size && offset.is_multiple_of(chunk))
            .then(|| usize::try_from(chunk.min(self.size - offset)).unwrap_or(CHUNK_BYTES))
    }
}

/// Puts the large objects out of a payload and gives them.
pub fn put_out(payload: &mut Element) -> Vec<(Named, Bytes)> {
    let mut out = Vec::new();
    visit(payload, DEPTH, &mut |element| {
        // Base64 of what may stay is no longer than this.
        if !holds(element) || element.text().len() < INLINE_BYTES.div_ceil(3) * 4 {
            return;
        }
        let object = match bytes(element, limits::OBJECT_BYTES) {
            Ok(object) if object.len() > INLINE_BYTES => object,
            _ => return,
        };
        let named = Named::of(&object);
        element.children = vec![Node::Element(named.to_element())];
        out.push((named, object));
    });
    out
}

/// What a payload names, each once. At most [`limits::BLOBS`].
pub fn named(payload: &Element) -> Result<Vec<Named>, Malformed> {
    let mut found: Vec<Named> = Vec::new();
    collect(payload, DEPTH, &mut found)?;
    Ok(found)
}

fn collect(element: &Element, depth: usize, found: &mut Vec<Named>) -> Result<(), Malformed> {
    for child in element.elements() {
        if child.is(NS, "blob") && holds(element) {
            let named = Named::from_element(child)?;
            if found.contains(&named) {
                continue;
            }
            if found.len() == limits::BLOBS {
                return Err(Malformed::new(
                    element,
                    format!("at most {} <blob/> in a stanza", limits::BLOBS),
                    "more",
                ));
            }
            found.push(named);
        } else if depth > 0 {
            collect(child, depth - 1, found)?;
        }
    }
    Ok(())
}

/// Puts objects back in their places. What `get` does not have stays named, and reads as malformed.
pub fn put_in(payload: &mut Element, get: &mut dyn FnMut(&Named) -> Option<Bytes>) {
    visit(payload, DEPTH, &mut |element| {
        if !holds(element) {
            return;
        }
        let named = the_one_named(element);
        if let Some(object) = named.and_then(|named| get(&named)) {
            element.children = vec![Node::Text(STANDARD.encode(&object))];
        }
    });
}

fn the_one_named(element: &Element) -> Option<Named> {
    let mut elements = element.elements();
    match (elements.next(), elements.next()) {
        (Some(child), None) if child.is(NS, "blob") => Named::from_element(child).ok(),
        _ => None,
    }
}

fn visit(element: &mut Element, depth: usize, act: &mut dyn FnMut(&mut Element)) {
    act(element);
    if depth == 0 {
        return;
    }
    for child in &mut element.children {
        if let Node::Element(child) = child {
            visit(child, depth - 1, act);
        }
    }
}

fn holds(element: &Element) -> bool {
    element.ns == NS && HOLDERS.contains(&element.name.as_str())
}

/// What is asked of a domain about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// IQ get, by anybody who knows the hash: the chunk at an offset.
    Get { named: Named, offset: u64 },
    /// IQ get, by a device of the domain: how much of it has come.
    Held { named: Named },
    /// IQ set, by a device of the domain: the next chunk.
    Put {
        named: Named,
        offset: u64,
        octets: Bytes,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Chunk {
        named: Named,
        offset: u64,
        octets: Bytes,
    },
    /// The octets up to here are held; all of them where it is the object's size.
    Held { named: Named, next: u64 },
}

impl Request {
    #[must_use]
    pub fn iq_type(&self) -> IqType {
        match self {
            Self::Get { .. } | Self::Held { .. } => IqType::Get,
            Self::Put { .. } => IqType::Set,
        }
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        match self {
            Self::Get { named, offset } => about("chunk", *named).put("offset", offset),
            Self::Held { named } => about("held", *named),
            Self::Put {
                named,
                offset,
                octets,
            } => chunk(*named, *offset, octets),
        }
    }

    pub fn from_iq(iq: IqType, element: &Element) -> Result<Self, Malformed> {
        let named = Named::from_element(element)?;
        let request = match name_in(element, NS) {
            Some("held") => Self::Held { named },
            Some("chunk") if iq == IqType::Get => Self::Get {
                named,
                offset: offset(element, named)?,
            },
            Some("chunk") => {
                let (offset, octets) = read_chunk(element, named)?;
                Self::Put {
                    named,
                    offset,
                    octets,
                }
            }
            _ => return Err(unknown(element, NS, "chunk, held")),
        };
        expect_iq(element, request.iq_type(), iq)?;
        Ok(request)
    }
}

impl Answer {
    #[must_use]
    pub fn to_element(&self) -> Element {
        match self {
            Self::Chunk {
                named,
                offset,
                octets,
            } => chunk(*named, *offset, octets),
            Self::Held { named, next } => about("held", *named).put("next", next),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        let named = Named::from_element(element)?;
        if name_in(element, NS) == Some("chunk") {
            let (offset, octets) = read_chunk(element, named)?;
            return Ok(Self::Chunk {
                named,
                offset,
                octets,
            });
        }
        expect(element, NS, "held")?;
        Ok(Self::Held {
            named,
            next: attr(element, "next")?,
        })
    }
}

fn about(name: &str, named: Named) -> Element {
    Element::new(NS, name)
        .put("hash", &named.hash)
        .put("size", &named.size)
}

fn chunk(named: Named, offset: u64, held: &[u8]) -> Element {
    let Element { children, .. } = octets(NS, "chunk", held);
    let mut element = about("chunk", named).put("offset", &offset);
    element.children = children;
    element
}

fn offset(element: &Element, named: Named) -> Result<u64, Malformed> {
    let offset = attr(element, "offset")?;
    match named.chunk(offset) {
        Some(_) => Ok(offset),
        None => Err(Malformed::new(
            element,
            format!("an offset below the size, in steps of {CHUNK_BYTES}"),
            offset.to_string(),
        )),
    }
}

fn read_chunk(element: &Element, named: Named) -> Result<(u64, Bytes), Malformed> {
    let offset = offset(element, named)?;
    let octets = bytes(element, CHUNK_BYTES)?;
    let expected = named.chunk(offset).unwrap_or_default();
    if octets.len() != expected {
        return Err(Malformed::new(
            element,
            format!("{expected} octets at this offset"),
            format!("{} octets", octets.len()),
        ));
    }
    Ok((offset, octets))
}

#[cfg(test)]
mod tests;
