//! Packs: chunks one after another, padded, sealed as one message under a key of their own.
//!
//! A full pack is exactly [`PACK_LENGTH`] long before sealing; the last of a save is padded by Padmé. Because the
//! pack is one sealed message, neither the order nor the lengths of its chunks can be seen.

use std::collections::HashMap;

use cbrowse_protocol::id::ProfileId;
use zeroize::Zeroizing;

use crate::{
    chunk::{self, Coder, Decoder},
    manifest::{ChunkId, ChunkRef, PackEntry, PackTable},
    object::{NamedObject, ObjectName, ObjectStore, StoreError},
    padding::padded_length,
    seal::{self, Fresh, HEADER_LENGTH, Kind, SealError},
    secret::{Randomness, Secret},
};

/// Clear length of a full pack in bytes. Smaller, and a first sync makes many requests; larger, and one
/// changed chunk needs more memory to be read back.
pub const PACK_LENGTH: usize = 8 * 1024 * 1024;

/// Why packs could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store did not take one.
    #[error("store a pack")]
    Store(#[from] StoreError),
    /// zstd failed, which it does for want of memory only.
    #[error("compress a chunk")]
    Compress(#[source] std::io::Error),
}

/// Why what a head lists could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store lacks it or gave something else.
    #[error("read from the store")]
    Store(#[from] StoreError),
    /// The object is the one named, and yet does not open.
    #[error("open object {name}")]
    Seal {
        /// Which one.
        name: ObjectName,
        /// Why not.
        source: SealError,
    },
    /// A chunk's bytes are not those that the manifest names.
    #[error("a chunk in object {0} is not what the manifest says")]
    Chunk(ObjectName),
    /// The manifest itself makes no sense.
    #[error("the manifest is malformed")]
    Manifest(#[from] crate::codec::Malformed),
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// New packs.
    pub objects: u64,
    /// Their bytes as stored.
    pub bytes: u64,
}

/// A pack that is being filled. Its bytes are clear until it is sealed in place, and wiped if it never is.
pub(crate) struct OpenPack {
    slot: u32,
    key: Secret,
    fresh: Fresh,
    buffer: Zeroizing<Vec<u8>>,
}

/// What a pack takes from the source of random bytes, all at once.
pub(crate) struct PackSeed {
    key: Secret,
    fresh: Fresh,
}

impl PackSeed {
    pub(crate) fn draw(random: &mut dyn Randomness) -> Self {
        Self { key: Secret::random(random), fresh: Fresh::draw(random) }
    }
}

impl OpenPack {
    /// Takes a slot of `table` now; it gets its name when the pack is sealed. `buffer` may have been used before.
    pub(crate) fn open(seed: PackSeed, table: &mut PackTable, buffer: Vec<u8>) -> Self {
        let PackSeed { key, fresh } = seed;
        let slot = table.add(PackEntry { name: ObjectName::from_bytes([0; 32]), key: key.duplicate() });
        Self { slot, key, fresh, buffer: Zeroizing::new(seal::make_room(buffer, PACK_LENGTH)) }
    }

    pub(crate) fn has_room_for(&self, clear: &[u8]) -> bool {
        self.length() + clear.len() <= PACK_LENGTH
    }

    fn length(&self) -> usize {
        self.buffer.len() - HEADER_LENGTH
    }

    pub(crate) fn append(
        &mut self,
        id: ChunkId,
        clear: &[u8],
        coder: &mut Coder,
    ) -> Result<ChunkRef, WriteError> {
        let offset = self.length();
        let coding = coder.encode(clear, &mut self.buffer).map_err(WriteError::Compress)?;
        let short = |length: usize| u32::try_from(length).expect("packs are far below 4 GiB");
        Ok(ChunkRef {
            id,
            pack: self.slot,
            offset: short(offset),
            stored: short(self.length() - offset),
            clear: short(clear.len()),
            coding,
        })
    }

    /// Seals it at its full length, or, as the last one, at the length that Padmé gives; and its slot with its entry.
    pub(crate) fn seal(
        mut self,
        fill: Fill,
        kind: Kind,
        profile: &ProfileId,
    ) -> (NamedObject, u32, PackEntry) {
        let length = match fill {
            Fill::Full => PACK_LENGTH,
            Fill::Last => padded_length(self.length()),
        };
        let mut buffer = std::mem::take(&mut *self.buffer);
        buffer.resize(HEADER_LENGTH + length, 0);
        let object = NamedObject::of(seal::seal_with(buffer, kind, profile, &self.key, &self.fresh));
        let entry = PackEntry { name: *object.name(), key: self.key };
        (object, self.slot, entry)
    }
}

/// Why a pack is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The next chunk has no room in it.
    Full,
    /// Nothing follows.
    Last,
}

impl Written {
    pub(crate) fn count(&mut self, object: &NamedObject) {
        self.objects += 1;
        self.bytes += object.bytes().len() as u64;
    }
}

/// Writes chunks that are not there yet; remembers those that are. What it stored is durable once the store has settled.
pub(crate) struct ChunkWriter<'a> {
    pub(crate) kind: Kind,
    pub(crate) profile: &'a ProfileId,
    pub(crate) id_key: &'a Secret,
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) table: PackTable,
    pub(crate) known: HashMap<ChunkId, ChunkRef>,
    pub(crate) written: Written,
    open: Option<OpenPack>,
    coder: Coder,
}

impl<'a> ChunkWriter<'a> {
    /// Starts from the packs and chunks that a former save left.
    pub(crate) fn new(
        kind: Kind,
        profile: &'a ProfileId,
        id_key: &'a Secret,
        store: &'a dyn ObjectStore,
        table: PackTable,
        known: HashMap<ChunkId, ChunkRef>,
    ) -> Result<Self, WriteError> {
        let coder = Coder::new().map_err(WriteError::Compress)?;
        let written = Written::default();
        Ok(Self { kind, profile, id_key, store, table, known, written, open: None, coder })
    }

    /// Where `clear` is, after writing it if it was nowhere.
    pub(crate) fn add(&mut self, clear: &[u8], random: &mut dyn Randomness) -> Result<ChunkRef, WriteError> {
        let id = chunk::chunk_id(self.id_key, clear);
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        if self.open.as_ref().is_some_and(|pack| !pack.has_room_for(clear)) {
            self.close(Fill::Full)?;
        }
        let pack = self
            .open
            .get_or_insert_with(|| OpenPack::open(PackSeed::draw(random), &mut self.table, Vec::new()));
        let chunk = pack.append(id, clear, &mut self.coder)?;
        self.known.insert(id, chunk);
        Ok(chunk)
    }

    /// Writes the last pack; the table then names every pack.
    pub(crate) fn finish(&mut self, _random: &mut dyn Randomness) -> Result<(), WriteError> {
        self.close(Fill::Last)
    }

    fn close(&mut self, fill: Fill) -> Result<(), WriteError> {
        let Some(pack) = self.open.take() else { return Ok(()) };
        let (object, slot, entry) = pack.seal(fill, self.kind, self.profile);
        self.store.put_soon(&object)?;
        self.table.0[slot as usize] = Some(entry);
        self.written.count(&object);
        Ok(())
    }
}

/// Fetches and opens a pack.
pub(crate) fn read_pack(
    store: &dyn ObjectStore,
    entry: &PackEntry,
    kind: Kind,
    profile: &ProfileId,
) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let object = store.get(&entry.name)?;
    crate::object::check_object(&entry.name, &object)?;
    seal::open(object, kind, profile, &entry.key)
        .map_err(|source| ReadError::Seal { name: entry.name, source })
}

/// A chunk's clear bytes, checked against its id. `pack` is what [`read_pack`] gave for its slot.
pub(crate) fn read_chunk(pack: &[u8], chunk: &ChunkRef, id_key: &Secret) -> Option<Vec<u8>> {
    let start = chunk.offset as usize;
    let stored = pack.get(start..start.checked_add(chunk.stored as usize)?)?;
    let clear = chunk::decode(stored, chunk.coding, chunk.clear as usize)?;
    (chunk::chunk_id(id_key, &clear) == chunk.id).then_some(clear)
}

/// The same through a decoder that is used again.
pub(crate) fn find_chunk<'a>(
    pack: &'a [u8],
    chunk: &ChunkRef,
    id_key: &Secret,
    decoder: &'a mut Decoder,
) -> Option<&'a [u8]> {
    let start = chunk.offset as usize;
    let stored = pack.get(start..start.checked_add(chunk.stored as usize)?)?;
    let clear = decoder.decode(stored, chunk.coding, chunk.clear as usize)?;
    (chunk::chunk_id(id_key, clear) == chunk.id).then_some(clear)
}
