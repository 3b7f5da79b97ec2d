//! A ratchet tree as it travels: DEFLATE (RFC 1951), since most of what leaves say of themselves
//! they all say, and a third of each certificate is what every certificate of its CA has.

use std::fmt;

use bytes::Bytes;
use comity_xmpp::element::Element;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::limits;
use crate::read::{Attributes as _, Malformed, attr_opt, blob, bytes};

/// How hard it is tried. What is left in a tree is mostly keys and signatures, in which nothing is
/// found however long one looks; so less than zlib's default reaches the same.
const LEVEL: u32 = 4;
/// Trees below this stay as they are: nothing is to be gained.
const SMALLEST: usize = 256;
/// Octets that come out at a time, so that what is announced costs nothing before it is there.
const STEP: usize = 64 * 1024;

/// A ratchet tree, as RFC 9420 §12.4.3.3 encodes it or packed.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    /// As they travel.
    pub octets: Bytes,
    /// How many octets come out of them; none: they are the tree.
    pub inflated: Option<u64>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.octets.len();
        write!(f, "Tree({octets} octets, inflated: {:?})", self.inflated)
    }
}

/// Why what is packed is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("the packed tree says that it has {0} octets, and at most {max} are taken", max = limits::OBJECT_BYTES)]
    TooLarge(u64),
    #[error("the packed tree has more octets than the {0} that it says")]
    More(u64),
    #[error("the packed tree ends before the {0} octets that it says")]
    Fewer(u64),
    #[error("the packed tree is not DEFLATE, or something follows it")]
    Corrupt,
}

impl Tree {
    /// A tree as RFC 9420 encodes it.
    #[must_use]
    pub fn plain(octets: impl Into<Bytes>) -> Self {
        Self {
            octets: octets.into(),
            inflated: None,
        }
    }

    /// A tree packed, if it becomes smaller by that.
    #[must_use]
    pub fn pack(tree: impl Into<Bytes>) -> Self {
        let tree = tree.into();
        if tree.len() < SMALLEST {
            return Self::plain(tree);
        }
        match deflate(&tree) {
            Some(octets) if octets.len() < tree.len() => Self {
                octets: octets.into(),
                inflated: Some(tree.len() as u64),
            },
            _ => Self::plain(tree),
        }
    }

    /// The tree as RFC 9420 encodes it: never more octets than it says, nor than
    /// [`limits::OBJECT_BYTES`].
    pub fn open(&self) -> Result<Bytes, TreeError> {
        match self.inflated {
            None => Ok(self.octets.clone()),
            Some(size) => inflate(&self.octets, size).map(Bytes::from),
        }
    }

    pub(super) fn to_element(&self) -> Element {
        blob(comity_xmpp::ns::MLS_ROOM, "tree", &self.octets)
            .put_opt("inflated", self.inflated.as_ref())
    }

    pub(super) fn from_element(element: &Element) -> Result<Self, Malformed> {
        let inflated = attr_opt(element, "inflated")?;
        if inflated.is_some_and(|size| size == 0 || size > limits::OBJECT_BYTES as u64) {
            return Err(Malformed::new(
                element,
                format!("1 to {} octets in attribute inflated", limits::OBJECT_BYTES),
                element.attr("inflated").unwrap_or_default(),
            ));
        }
        Ok(Self {
            octets: bytes(element, limits::OBJECT_BYTES)?,
            inflated,
        })
    }
}

/// None: it did not become smaller.
fn deflate(octets: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(octets.len());
    let mut compress = Compress::new(Compression::new(LEVEL), false);
    match compress.compress_vec(octets, &mut packed, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => {
            packed.shrink_to_fit();
            Some(packed)
        }
        // No room is left: it is no shorter than what it stands for.
        _ => None,
    }
}

fn inflate(packed: &[u8], size: u64) -> Result<Vec<u8>, TreeError> {
    let most = usize::try_from(size)
        .ok()
        .filter(|most| *most <= limits::OBJECT_BYTES)
        .ok_or(TreeError::TooLarge(size))?;
    let mut decompress = Decompress::new(false);
    let mut out = Vec::new();
    let mut taken = 0;
    loop {
        // One octet more than announced, so that what has more is seen to have more.
        let room = STEP.min(most + 1 - out.len());
        out.reserve(room);
        let (read, written) = (decompress.total_in(), out.len());
        let rest = packed.get(taken..).unwrap_or_default();
        let status = decompress
            .decompress_vec(rest, &mut out, FlushDecompress::None)
            .map_err(|_| TreeError::Corrupt)?;
        let advanced = decompress.total_in() - read;
        taken += usize::try_from(advanced).unwrap_or(usize::MAX);
        if out.len() > most {
            return Err(TreeError::More(size));
        }
        if status == Status::StreamEnd {
            break;
        }
        if advanced == 0 && out.len() == written {
            return Err(TreeError::Fewer(size));
        }
    }
    match (out.len() == most, taken == packed.len()) {
        (true, true) => Ok(out),
        (false, _) => Err(TreeError::Fewer(size)),
        (true, false) => Err(TreeError::Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(octets: usize) -> Vec<u8> {
        (0..octets).map(|n| (n % 23) as u8).collect()
    }

    fn packed(tree: &[u8]) -> Tree {
        let tree = Tree::pack(tree.to_vec());
        assert!(tree.inflated.is_some());
        tree
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        for octets in [SMALLEST, 1_000, STEP - 1, STEP, STEP + 1, 3 * STEP] {
            let tree = some(octets);
            let packed = packed(&tree);
            assert!(packed.octets.len() < tree.len() / 2);
            assert_eq!(packed.open().unwrap(), tree);
        }
        let empty = vec![0; 1_000_000];
        assert_eq!(packed(&empty).open().unwrap(), empty);
    }

    #[test]
    fn what_gains_nothing_stays_as_it_is() {
        let mut random = vec![0; 4_096];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).unwrap();
        for tree in [some(SMALLEST - 1), random] {
            let kept = Tree::pack(tree.clone());
            assert_eq!((kept.inflated, kept.open().unwrap()), (None, tree.into()));
        }
    }

    /// Two million octets in some thousand: no more comes out than is announced, and no more
    /// is announced than is taken.
    #[test]
    fn a_bomb_does_not_go_off() {
        let octets = 2_000_000;
        let bomb = packed(&vec![0; octets]);
        assert!(bomb.octets.len() < 10_000, "{bomb:?}");
        let says = |inflated| Tree {
            inflated: Some(inflated),
            ..bomb.clone()
        };
        assert_eq!(says(1).open(), Err(TreeError::More(1)));
        assert_eq!(says(100_000).open(), Err(TreeError::More(100_000)));
        let one_less = octets as u64 - 1;
        assert_eq!(says(one_less).open(), Err(TreeError::More(one_less)));
        for too_large in [limits::OBJECT_BYTES as u64 + 1, u64::MAX] {
            let refused = says(too_large);
            assert_eq!(refused.open(), Err(TreeError::TooLarge(too_large)));
            Tree::from_element(&refused.to_element()).unwrap_err();
        }
        Tree::from_element(&says(0).to_element()).unwrap_err();
    }

    #[test]
    fn what_is_spoiled_is_refused() {
        let good = packed(&some(100_000));
        let with = |octets: Vec<u8>, inflated| Tree {
            octets: octets.into(),
            inflated,
        };
        let says = good.inflated;
        let whole = good.octets.to_vec();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            with(whole[..cut].to_vec(), says).open().unwrap_err();
        }
        let more = [&whole[..], b"more"].concat();
        assert_eq!(with(more, says).open(), Err(TreeError::Corrupt));
        assert_eq!(
            with(whole, Some(100_001)).open(),
            Err(TreeError::Fewer(100_001))
        );
        let nothing = with(vec![0xff; 1_000], says);
        assert_eq!(nothing.open(), Err(TreeError::Corrupt));
    }

    #[test]
    fn elements_say_whether_it_is_packed() {
        for tree in [Tree::plain(&b"tree"[..]), packed(&some(1_000))] {
            assert_eq!(Tree::from_element(&tree.to_element()), Ok(tree));
        }
    }
}
