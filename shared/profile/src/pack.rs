//! Packs: chunks one after another, padded, sealed as one message under a key of their own.
//!
//! A full pack is exactly [`PACK_LENGTH`] long before sealing; the last of a save is padded by Padmé. Because the
//! pack is one sealed message, neither the order nor the lengths of its chunks can be seen.

use std::collections::HashMap;

use cbrowse_protocol::id::ProfileId;
use zeroize::Zeroizing;

use crate::{
    chunk::{self, Coder},
    manifest::{ChunkId, ChunkRef, PackEntry, PackTable},
    object::{ObjectName, ObjectStore, StoreError},
    padding::padded_length,
    seal::{self, HEADER_LENGTH, Kind, SealError},
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

struct OpenPack {
    slot: u32,
    key: Secret,
    buffer: Vec<u8>,
}

/// Writes chunks that are not there yet; remembers those that are.
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
        if self
            .open
            .as_ref()
            .is_some_and(|pack| pack.buffer.len() - HEADER_LENGTH + clear.len() > PACK_LENGTH)
        {
            self.close(PACK_LENGTH, random)?;
        }
        let chunk = self.append(id, clear, random)?;
        self.known.insert(id, chunk);
        Ok(chunk)
    }

    /// Writes the last pack; the table then names every pack.
    pub(crate) fn finish(&mut self, random: &mut dyn Randomness) -> Result<(), WriteError> {
        let length = self.open.as_ref().map_or(0, |pack| pack.buffer.len() - HEADER_LENGTH);
        self.close(padded_length(length), random)
    }

    fn append(
        &mut self,
        id: ChunkId,
        clear: &[u8],
        random: &mut dyn Randomness,
    ) -> Result<ChunkRef, WriteError> {
        if self.open.is_none() {
            let key = Secret::random(random);
            // The slot is taken now and gets its name when the pack is sealed.
            let name = ObjectName::from_bytes([0; 32]);
            let slot = self.table.add(PackEntry { name, key: key.duplicate() });
            self.open = Some(OpenPack { slot, key, buffer: seal::with_room(PACK_LENGTH) });
        }
        let pack = self.open.as_mut().expect("it was just opened");
        let start = pack.buffer.len();
        let coding = self.coder.encode(clear, &mut pack.buffer).map_err(WriteError::Compress)?;
        let short = |length: usize| u32::try_from(length).expect("packs are far below 4 GiB");
        Ok(ChunkRef {
            id,
            pack: pack.slot,
            offset: short(start - HEADER_LENGTH),
            stored: short(pack.buffer.len() - start),
            clear: short(clear.len()),
            coding,
        })
    }

    fn close(&mut self, length: usize, random: &mut dyn Randomness) -> Result<(), WriteError> {
        let Some(OpenPack { slot, key, mut buffer }) = self.open.take() else { return Ok(()) };
        buffer.resize(HEADER_LENGTH + length, 0);
        let object = seal::seal(buffer, self.kind, self.profile, &key, random);
        let name = ObjectName::of(&object);
        self.store.put(&name, &object)?;
        self.table.0[slot as usize] = Some(PackEntry { name, key });
        self.written.objects += 1;
        self.written.bytes += object.len() as u64;
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
