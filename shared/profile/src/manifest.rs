//! The manifest: which packs, which files, which chunks where. Never stored in the clear.
//!
//! ```text
//! pack table:  u32 count, then for each slot: name 32, key 32   (64 zero bytes: a slot no longer used)
//! files:       u32 count, then in ascending order of path:
//!              path (u16 length, UTF-8, "/" between parts), u64 size, u32 count, then for each chunk:
//!              id 32, u32 pack slot, u32 offset, u32 stored length, u32 clear length, u8 coding (0 raw, 1 zstd)
//! ```
//! Every pack listed holds a chunk that is listed. A slot keeps its number for as long as it is used, so an unchanged file's entry keeps its bytes and the
//! manifest's own chunks deduplicate. Chunk boundaries are the writer's choice; any split is valid.

use crate::{
    codec::{Malformed, Put as _, Take},
    object::ObjectName,
    secret::Secret,
};

/// Longest clear chunk in bytes; also what a decoder allocates at most for one.
pub const MAX_CHUNK_LENGTH: u32 = 256 * 1024;
/// Longest path in bytes.
pub const MAX_PATH_LENGTH: usize = 1024;
/// Most files.
pub const MAX_FILES: usize = 200_000;
/// Most bytes of one file: 4 GiB. A larger one is no browser's profile, and fills a tmpfs.
pub const MAX_FILE_LENGTH: u64 = 4 << 30;
/// Most bytes of a whole profile: 16 GiB.
pub const MAX_PROFILE_LENGTH: u64 = 16 << 30;
/// Most bytes of an encoded manifest: some 300,000 chunks. More would be held in memory for nothing.
pub const MAX_MANIFEST_LENGTH: u64 = 64 << 20;
const PACK_ENTRY_LENGTH: usize = 64;
const CHUNK_ENTRY_LENGTH: usize = 49;
const FILE_ENTRY_LENGTH: usize = 14;

/// BLAKE3 of a chunk's clear bytes, keyed with the profile's id key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub(crate) [u8; 32]);

/// How a chunk's bytes lie in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    pub(crate) id: ChunkId,
    /// Slot in the pack table.
    pub(crate) pack: u32,
    /// Where it starts in the pack's clear bytes.
    pub(crate) offset: u32,
    /// Its length there.
    pub(crate) stored: u32,
    /// Its length once decoded.
    pub(crate) clear: u32,
    pub(crate) coding: Coding,
}

/// A pack and its key.
#[derive(Debug)]
pub struct PackEntry {
    pub(crate) name: ObjectName,
    pub(crate) key: Secret,
}

/// Slots of packs; `None` where one is no longer used.
#[derive(Debug, Default)]
pub struct PackTable(pub(crate) Vec<Option<PackEntry>>);

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative to the browser's data directory, `/` between parts.
    pub path: String,
    /// Bytes.
    pub size: u64,
    pub(crate) chunks: Vec<ChunkRef>,
}

/// Everything a head reaches.
#[derive(Debug, Default)]
pub struct Manifest {
    pub(crate) packs: PackTable,
    pub(crate) files: Vec<FileEntry>,
}

impl PackTable {
    pub(crate) fn get(&self, slot: u32) -> Option<&PackEntry> {
        self.0.get(slot as usize)?.as_ref()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = ObjectName> {
        self.0.iter().flatten().map(|pack| pack.name)
    }

    /// A second holder of the same packs and keys.
    pub(crate) fn duplicate(&self) -> Self {
        let copy = |pack: &PackEntry| PackEntry { name: pack.name, key: pack.key.duplicate() };
        Self(self.0.iter().map(|slot| slot.as_ref().map(copy)).collect())
    }

    pub(crate) fn add(&mut self, pack: PackEntry) -> u32 {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(pack);
        u32::try_from(free).expect("packs are counted in thousands")
    }

    fn used<'a>(&self, chunks: impl Iterator<Item = &'a ChunkRef>) -> Vec<bool> {
        let mut used = vec![false; self.0.len()];
        for chunk in chunks {
            used[chunk.pack as usize] = true;
        }
        used
    }

    /// Whether `chunks` use every pack: nobody is made to fetch one for nothing.
    pub(crate) fn is_used_by<'a>(&self, chunks: impl Iterator<Item = &'a ChunkRef>) -> bool {
        self.0.iter().zip(self.used(chunks)).all(|(slot, used)| slot.is_some() == used)
    }

    /// Empties every slot that no chunk uses any more.
    pub(crate) fn keep_used<'a>(&mut self, chunks: impl Iterator<Item = &'a ChunkRef>) {
        let used = self.used(chunks);
        for (slot, used) in self.0.iter_mut().zip(used) {
            if !used {
                *slot = None;
            }
        }
        while matches!(self.0.last(), Some(None)) {
            self.0.pop();
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(u32::try_from(self.0.len()).expect("packs are counted in thousands"));
        for slot in &self.0 {
            match slot {
                Some(pack) => {
                    out.put_bytes(pack.name.as_bytes());
                    out.put_bytes(pack.key.expose());
                }
                None => out.put_bytes(&[0; PACK_ENTRY_LENGTH]),
            }
        }
    }

    pub(crate) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let count = take.count(PACK_ENTRY_LENGTH)?;
        let mut slots = Vec::with_capacity(count);
        for _ in 0..count {
            let (name, key) = (take.array()?, take.array()?);
            // Found by fuzzing: one encoding for one table, so an empty slot has no key.
            if name == [0; 32] && key != [0; 32] {
                return Err(take.malformed());
            }
            let entry = PackEntry { name: ObjectName::from_bytes(name), key: Secret::from_bytes(key) };
            slots.push((name != [0; 32]).then_some(entry));
        }
        Ok(Self(slots))
    }
}

/// A list of chunks that points into `packs`.
pub(crate) fn encode_chunks(chunks: &[ChunkRef], out: &mut Vec<u8>) {
    out.put_u32(u32::try_from(chunks.len()).expect("files are limited"));
    for chunk in chunks {
        out.put_bytes(&chunk.id.0);
        out.put_u32(chunk.pack);
        out.put_u32(chunk.offset);
        out.put_u32(chunk.stored);
        out.put_u32(chunk.clear);
        out.put_u8(match chunk.coding {
            Coding::Raw => 0,
            Coding::Zstd => 1,
        });
    }
}

pub(crate) fn decode_chunks(take: &mut Take<'_>, packs: &PackTable) -> Result<Vec<ChunkRef>, Malformed> {
    let count = take.count(CHUNK_ENTRY_LENGTH)?;
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        let chunk = ChunkRef {
            id: ChunkId(take.array()?),
            pack: take.u32()?,
            offset: take.u32()?,
            stored: take.u32()?,
            clear: take.u32()?,
            coding: match take.u8()? {
                0 => Coding::Raw,
                1 => Coding::Zstd,
                _ => return Err(take.malformed()),
            },
        };
        let length_fits = match chunk.coding {
            Coding::Raw => chunk.stored == chunk.clear,
            Coding::Zstd => chunk.stored < chunk.clear,
        };
        let in_range = chunk.clear > 0 && chunk.clear <= MAX_CHUNK_LENGTH && length_fits;
        if !in_range || packs.get(chunk.pack).is_none() {
            return Err(take.malformed());
        }
        chunks.push(chunk);
    }
    Ok(chunks)
}

impl Manifest {
    /// Its files, in ascending order of path.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Whether both hold the same files with the same contents, wherever their chunks lie.
    pub fn has_same_files(&self, other: &Self) -> bool {
        let same = |(a, b): (&FileEntry, &FileEntry)| {
            let same_chunks = a.chunks.iter().map(|chunk| chunk.id).eq(b.chunks.iter().map(|chunk| chunk.id));
            a.path == b.path && a.size == b.size && same_chunks
        };
        self.files.len() == other.files.len() && self.files.iter().zip(&other.files).all(same)
    }

    /// Sum of the files' sizes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.packs.encode(&mut out);
        out.put_u32(u32::try_from(self.files.len()).expect("files are limited"));
        for file in &self.files {
            out.put_text(&file.path);
            out.put_u64(file.size);
            encode_chunks(&file.chunks, &mut out);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let packs = PackTable::decode(&mut take)?;
        let count = take.count(FILE_ENTRY_LENGTH)?;
        if count > MAX_FILES {
            return Err(take.malformed());
        }
        let mut files: Vec<FileEntry> = Vec::with_capacity(count);
        let mut total = 0_u64;
        for _ in 0..count {
            let path = take.text(MAX_PATH_LENGTH)?.to_owned();
            let size = take.u64()?;
            let chunks = decode_chunks(&mut take, &packs)?;
            let sum: u64 = chunks.iter().map(|chunk| u64::from(chunk.clear)).sum();
            total = total.saturating_add(size);
            let ordered = files.last().is_none_or(|last| last.path < path);
            if sum != size || size > MAX_FILE_LENGTH || total > MAX_PROFILE_LENGTH || !ordered {
                return Err(take.malformed());
            }
            files.push(FileEntry { path, size, chunks });
        }
        if !packs.is_used_by(files.iter().flat_map(|file| &file.chunks)) {
            return Err(take.malformed());
        }
        take.finish()?;
        Ok(Self { packs, files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> Manifest {
        let pack = |byte| PackEntry {
            name: ObjectName::from_bytes([byte; 32]),
            key: Secret::from_bytes([byte + 1; 32]),
        };
        let chunk = |byte, pack| ChunkRef {
            id: ChunkId([byte; 32]),
            pack,
            offset: 7,
            stored: 5,
            clear: 9,
            coding: Coding::Zstd,
        };
        let file = |path: &str, chunks: Vec<ChunkRef>| FileEntry {
            path: path.into(),
            size: 9 * chunks.len() as u64,
            chunks,
        };
        Manifest {
            packs: PackTable(vec![Some(pack(1)), None, Some(pack(5))]),
            files: vec![file("Default/a", vec![chunk(1, 0), chunk(2, 2)]), file("Default/b", vec![])],
        }
    }

    #[test]
    fn round_trip_and_golden() {
        let bytes = sample().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap().encode(), bytes);
        assert_eq!(
            blake3::hash(&bytes).to_hex().as_str(),
            "2935540da9a51e307c2af9848ecc7deec440ee5ee639ea6004f642aaf653a18a"
        );
    }

    #[test]
    fn cut_or_flipped_bytes_never_panic_and_cuts_never_decode() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let _ = Manifest::decode(&changed);
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |change: fn(&mut Manifest)| {
            let mut manifest = sample();
            change(&mut manifest);
            assert!(Manifest::decode(&manifest.encode()).is_err());
        };
        refused(|m| m.files.swap(0, 1));
        refused(|m| m.files[1].path = m.files[0].path.clone());
        refused(|m| m.files[0].size += 1);
        refused(|manifest| {
            let pack = manifest.packs.duplicate().0.remove(0);
            manifest.packs.0.push(pack);
        });
        let mut bytes = sample().encode();
        assert_eq!(bytes[4 + 64..4 + 128], [0; 64], "the second slot is empty");
        bytes[4 + 64 + 40] = 1;
        assert!(Manifest::decode(&bytes).is_err());
        refused(|m| m.files[0].chunks[0].pack = 1);
        refused(|m| m.files[0].chunks[0].pack = 3);
        refused(|m| m.files[0].chunks[0].clear = MAX_CHUNK_LENGTH + 1);
        refused(|m| m.files[0].chunks[0].coding = Coding::Raw);
    }

    #[test]
    fn slots_keep_their_numbers_and_free_ones_are_used_again() {
        let mut manifest = sample();
        let kept = [manifest.files[0].chunks[1]];
        manifest.packs.keep_used(kept.iter());
        assert!(manifest.packs.get(0).is_none() && manifest.packs.get(2).is_some());
        let added = manifest
            .packs
            .add(PackEntry { name: ObjectName::from_bytes([9; 32]), key: Secret::from_bytes([9; 32]) });
        assert_eq!(added, 0);
        manifest.packs.keep_used(std::iter::empty());
        assert!(manifest.packs.0.is_empty());
    }
}
