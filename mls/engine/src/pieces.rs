//! A group's state as mls-rs writes it, in pieces that change at different times.
//!
//! What is looked up in the tree is most of it, some megabytes in a room of ten thousand, and changes
//! with the tree alone. The ratchets of the epoch (RFC 9420 §9) are little and change with every
//! message; they are erased as they are used, so nobody but who seals or opens a message has them.
//!
//! mls-rs has no names for these pieces, so they are found in its octets: a version, the GroupContext
//! and two lists of proposals; the tree's index, nodes (left out, for they are kept by themselves) and
//! hashes; what the commit has left: the interim transcript hash, no ReInit, the confirmation tag,
//! the private keys of this leaf's path, and of the epoch's secrets those for resumption and sender
//! data; the ratchets; and the rest. Vectors have their length before them.

use mls_rs::group::GroupContext;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize, VarInt};
use zeroize::Zeroizing;

/// Of the state.
const VERSION: [u8; 2] = [0, 1];
/// Lists of proposals: of others and one's own.
const PROPOSALS: usize = 2;
/// Of the index: signature keys, encryption keys, identities, and counters of credential and proposal
/// types. Then nodes and hashes.
const TREE: usize = 5 + 2;
/// As many vectors, all of them empty: a tree in which nothing is looked up.
const NO_TREE: [u8; TREE] = [0; TREE];
/// No ratchet: an empty vector.
const NO_RATCHETS: [u8; 1] = [0];
/// There is no ReInit.
const NO_REINIT: u8 = 0;
/// Octets of a leaf's index.
const LEAF_INDEX: usize = 4;

/// All but what is looked up in the tree: what changes with a message, and a little beside it.
#[derive(MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Pieces {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    before_tree: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    after_tree: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    ratchets: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    after_ratchets: Vec<u8>,
}

impl Pieces {
    /// Of a state without nodes: the pieces, and what is looked up in the tree. None: it is not
    /// built as described.
    pub(crate) fn of(whole: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = whole.strip_prefix(&VERSION)?;
        GroupContext::mls_decode(&mut rest).ok()?;
        skip(&mut rest, PROPOSALS)?;
        let tree = whole.len() - rest.len();
        skip(&mut rest, TREE)?;
        let tree_ends = whole.len() - rest.len();
        skip(&mut rest, 1)?;
        rest = rest.strip_prefix(&[NO_REINIT])?;
        skip(&mut rest, 1)?;
        rest = rest.get(LEAF_INDEX..)?;
        skip(&mut rest, 3)?;
        let ratchets = whole.len() - rest.len();
        skip(&mut rest, 1)?;
        let ratchets_end = whole.len() - rest.len();
        let pieces = Self {
            before_tree: whole[..tree].to_vec(),
            after_tree: whole[tree_ends..ratchets].to_vec(),
            ratchets: whole[ratchets..ratchets_end].to_vec(),
            after_ratchets: whole[ratchets_end..].to_vec(),
        };
        Some((pieces, &whole[tree..tree_ends]))
    }

    /// With the ratchets of another: what has been used since.
    pub(crate) fn with_ratchets_of(self, other: Self) -> Self {
        Self {
            ratchets: other.ratchets,
            ..self
        }
    }

    /// A state in which messages are sealed and opened, and the tree is not known.
    pub(crate) fn speaking(&self) -> Zeroizing<Vec<u8>> {
        self.join(&NO_TREE, &self.ratchets)
    }

    /// A state that knows the tree, of the row in which what is looked up in it follows it, and
    /// seals and opens no message. None: that row is not what was written.
    pub(crate) fn following(&self, tree_row: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut looked_up = tree_row;
        skip(&mut looked_up, 1)?;
        Some(self.join(looked_up, &NO_RATCHETS))
    }

    fn join(&self, tree: &[u8], ratchets: &[u8]) -> Zeroizing<Vec<u8>> {
        let before = [&self.before_tree[..], tree, &self.after_tree];
        let parts = [&before.concat()[..], ratchets, &self.after_ratchets];
        Zeroizing::new(parts.concat())
    }
}

/// Goes past vectors (RFC 9420 §2.1.2).
fn skip(octets: &mut &[u8], vectors: usize) -> Option<()> {
    for _ in 0..vectors {
        let length = u32::from(VarInt::mls_decode(octets).ok()?);
        *octets = octets.get(usize::try_from(length).ok()?..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use mls_rs_core::crypto::CipherSuite;
    use mls_rs_core::extension::ExtensionList;
    use mls_rs_core::protocol_version::ProtocolVersion;

    use super::*;

    fn vector(octet: u8, octets: usize) -> Vec<u8> {
        vec![octet; octets].mls_encode_to_vec().unwrap()
    }

    /// As mls-rs builds it, with those ratchets.
    fn whole(ratchets: usize) -> Vec<u8> {
        let context = GroupContext {
            protocol_version: ProtocolVersion::MLS_10,
            cipher_suite: CipherSuite::P256_AES128,
            group_id: vec![1; 9],
            epoch: 3,
            tree_hash: vec![2; 32],
            confirmed_transcript_hash: vec![3; 32].into(),
            extensions: ExtensionList::new(),
        };
        let mut whole = VERSION.to_vec();
        whole.extend(context.mls_encode_to_vec().unwrap());
        whole.extend([vector(1, 0), vector(1, 100)].concat());
        for octets in [70, 20_000, 5, 1, 0, 0, 3_000] {
            whole.extend(vector(7, octets));
        }
        whole.extend(vector(2, 32));
        whole.push(NO_REINIT);
        whole.extend(vector(2, 32));
        whole.extend_from_slice(&9_u32.to_be_bytes());
        whole.extend([vector(3, 66), vector(3, 32), vector(3, 32)].concat());
        whole.extend(vector(9, ratchets));
        whole.extend_from_slice(b"rest");
        whole
    }

    fn holds(octets: &[u8], octet: u8) -> bool {
        octets.windows(30).any(|window| window == [octet; 30])
    }

    #[test]
    fn what_is_taken_apart_comes_together_again() {
        let whole = whole(200);
        let (pieces, looked_up) = Pieces::of(&whole).unwrap();
        assert!(
            pieces.mls_encoded_len() < 900,
            "{}",
            pieces.mls_encoded_len()
        );
        let row = [&vector(8, 50_000)[..], looked_up].concat();
        // Who follows has the tree, and who speaks the ratchets; neither has both.
        let (following, speaking) = (pieces.following(&row).unwrap(), pieces.speaking());
        assert!(holds(&following, 7) && !holds(&following, 9));
        assert!(holds(&speaking, 9) && !holds(&speaking, 7));
        for state in [following, speaking] {
            assert!(state.starts_with(&VERSION) && state.ends_with(b"rest"));
            let (again, _) = Pieces::of(&state).unwrap();
            assert_eq!(again.after_tree, pieces.after_tree);
            assert_eq!(again.before_tree, pieces.before_tree);
        }
    }

    #[test]
    fn ratchets_go_their_own_way() {
        let (early, late) = (whole(300), whole(200));
        let (late, _) = Pieces::of(&late).unwrap();
        let (pieces, _) = Pieces::of(&early).unwrap();
        assert_eq!(pieces.with_ratchets_of(late).ratchets, vector(9, 200));
    }

    #[test]
    fn what_is_built_otherwise_is_refused() {
        let good = whole(200);
        for length in [0, 1, 2, 50, 20_000, good.len() - 10] {
            assert!(Pieces::of(&good[..length]).is_none(), "{length}");
        }
        let mut newer = good.clone();
        newer[1] = 2;
        assert!(Pieces::of(&newer).is_none());
        let (pieces, _) = Pieces::of(&good).unwrap();
        assert!(pieces.following(b"").is_none());
        assert!(pieces.following(&vector(8, 9)[..5]).is_none());
    }
}
