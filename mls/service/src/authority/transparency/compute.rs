//! One entry more: what is read for it, and what is written with it. Some forty hashes, whatever
//! the size of the log.

use comity_mls_credential::transparency::map::{self, Node, Place, Proof, Value};
use comity_mls_credential::transparency::{Frontier, Hash, LogError, tree};
use comity_mls_wire::refusal::Refusal;
use comity_storage::Storage;
use comity_storage::transparency::{LoggedAccount, MapNode, MapPlace, MapPlaces, NodePlace};
use mls_rs_codec::{MlsDecode as _, MlsEncode as _};

use super::super::internal;

/// Depths of the map that are read at first: with so many bits the hashes of all accounts of a
/// domain differ, unless somebody has made them alike.
const LIKELY_DEPTH: u16 = 64;

/// The log as it is before.
pub(super) struct Over {
    frontier: Frontier,
    proof: Proof,
}

/// What changes by the entry.
pub(super) struct Grown {
    pub(super) index: u64,
    pub(super) root: Hash,
    pub(super) map_root: Hash,
    pub(super) value: Value,
    /// The account's frontier.
    pub(super) account: Vec<Hash>,
    pub(super) nodes: Vec<(NodePlace, Hash)>,
    pub(super) map: Vec<(MapPlace, MapNode)>,
}

/// Reads what an entry of that account is computed over.
pub(super) async fn over(
    storage: &Storage,
    domain: &str,
    owner: &LoggedAccount,
) -> Result<Over, Refusal> {
    let mut depth = LIKELY_DEPTH;
    loop {
        let places = map_places(&owner.hash, depth);
        let before = storage.transparency_before(domain, &places).await;
        let before = before.map_err(|error| internal(&error))?;
        let proof = prove(&owner.hash, &before.map, depth).map_err(|error| internal(&error))?;
        let Some(proof) = proof else {
            depth = map::BITS + 1;
            continue;
        };
        let places = node_places(tree::places(before.size));
        let found = storage.transparency_nodes(domain, &places).await;
        let found = found.map_err(|error| internal(&error))?;
        let hashes = places.iter().filter_map(|place| found.get(place).copied());
        let frontier = Frontier::restore(before.size, hashes.collect());
        let frontier = frontier.ok_or_else(|| internal(&damaged()))?;
        return Ok(Over { frontier, proof });
    }
}

impl Over {
    pub(super) fn grow(self, owner: &LoggedAccount, entry: &[u8]) -> Result<Grown, LogError> {
        let leaf = tree::leaf(entry);
        let mut frontier = self.frontier;
        let index = frontier.size();
        let nodes = frontier.push(leaf);
        let own = Frontier::restore(owner.count, owner.frontier.clone());
        let mut own = own.ok_or_else(damaged)?;
        own.push(leaf);
        let value = Value {
            count: own.size(),
            root: own.root(),
        };
        let (map_root, changed) = map::update(&owner.hash, value, &self.proof);
        let stored = |(place, node): (Place, Node)| {
            let leaf = node.leaf.map(|leaf| leaf.mls_encode_to_vec());
            let node = MapNode {
                hash: node.hash,
                leaf: leaf.transpose()?,
            };
            Ok((map_place(&place), node))
        };
        Ok(Grown {
            index,
            root: frontier.root(),
            map_root,
            value,
            account: own.hashes().to_vec(),
            nodes: nodes
                .into_iter()
                .map(|placed| (node_place(&placed.place), placed.hash))
                .collect(),
            map: changed
                .into_iter()
                .map(stored)
                .collect::<Result<_, LogError>>()?,
        })
    }
}

/// What is stored does not fit together; `comity ca audit` tells more.
pub(super) fn damaged() -> LogError {
    LogError::Unreadable("hashes of the log are missing: run `comity ca audit`".to_owned())
}

/// The proof of a key from subtrees that were read down to `depth`; none where that is not deep
/// enough.
pub(super) fn prove(key: &Hash, found: &MapPlaces, depth: u16) -> Result<Option<Proof>, LogError> {
    let proof = map::prove(key, |place| {
        if place.depth >= depth {
            return Err(None);
        }
        let Some(node) = found.get(&map_place(place)) else {
            return Ok(None);
        };
        let leaf = node.leaf.as_deref().map(map::Leaf::mls_decode_exhaustive);
        Ok(Some(Node {
            hash: node.hash,
            leaf: leaf.transpose().map_err(|error| Some(error.into()))?,
        }))
    });
    match proof {
        Ok(proof) => Ok(Some(proof)),
        Err(None) => Ok(None),
        Err(Some(error)) => Err(error),
    }
}

/// The places that a proof of the key may need down to `depth`.
pub(super) fn map_places(key: &Hash, depth: u16) -> Vec<MapPlace> {
    map::needed(key, 0, depth).iter().map(map_place).collect()
}

fn map_place(place: &Place) -> MapPlace {
    MapPlace {
        depth: place.depth,
        prefix: place.prefix,
    }
}

pub(super) fn node_places(places: Vec<tree::Place>) -> Vec<NodePlace> {
    places.iter().map(node_place).collect()
}

pub(super) fn node_place(place: &tree::Place) -> NodePlace {
    NodePlace {
        level: place.level,
        index: place.index,
    }
}

/// How deep to look, one after the other.
pub(super) const DEPTHS: [u16; 2] = [LIKELY_DEPTH, map::BITS + 1];
