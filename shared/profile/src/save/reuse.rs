//! Which chunks of an earlier save need not be written again.

use std::collections::{HashMap, HashSet};

use crate::{
    manifest::{ChunkId, ChunkRef, PackTable},
    object::{ObjectStore, StoreError},
};

/// With more small packs than this, their chunks are written again and so move into few: otherwise every autosave
/// would leave its own request to every later restore. Lower, and small saves are sent again sooner.
pub const MERGE_ABOVE_SMALL_PACKS: usize = 32;
/// What counts as a small pack: fewer live bytes than this.
pub const SMALL_PACK_LENGTH: u64 = 1024 * 1024;

/// Where chunks are, by their ids.
pub(crate) type Known = HashMap<ChunkId, ChunkRef>;

/// The packs that the store still has, small ones left out when there are too many.
pub(super) struct Reuse {
    stays: Vec<bool>,
}

impl Reuse {
    pub(super) fn look<'a>(
        table: &PackTable,
        chunks: impl Iterator<Item = &'a ChunkRef>,
        store: &dyn ObjectStore,
    ) -> Result<Self, StoreError> {
        let names: Vec<_> = table.names().collect();
        let missing: HashSet<_> = store.missing(&names)?.into_iter().collect();
        let mut live = vec![0_u64; table.0.len()];
        for chunk in chunks {
            live[chunk.pack as usize] += u64::from(chunk.stored);
        }
        let is_small = |live: u64| (1..SMALL_PACK_LENGTH).contains(&live);
        let merge = live.iter().filter(|live| is_small(**live)).count() > MERGE_ABOVE_SMALL_PACKS;
        let stays = table.0.iter().zip(live).map(|(pack, live)| {
            pack.as_ref().is_some_and(|pack| !missing.contains(&pack.name)) && !(merge && is_small(live))
        });
        Ok(Self { stays: stays.collect() })
    }

    pub(super) fn stays(&self, chunk: &ChunkRef) -> bool {
        self.stays[chunk.pack as usize]
    }

    pub(super) fn known<'a>(&self, chunks: impl Iterator<Item = &'a ChunkRef>) -> Known {
        chunks.filter(|chunk| self.stays(chunk)).map(|chunk| (chunk.id, *chunk)).collect()
    }
}
