//! Sealing a generation again under other keys: every chunk read with the old ones, written with the new ones.
//!
//! Chunk ids are keyed, so they all change, and nothing of the old packs is used again. One pack is in memory at a time beside the
//! one that is written, whatever the profile's size; nothing clear reaches a disk.

use std::collections::{BTreeMap, HashMap};

use zeroize::Zeroizing;

use crate::{
    authority::HeadRef,
    keys::SealingKeys,
    manifest::{ChunkRef, FileEntry, Manifest, PackTable},
    meter::Meter,
    object::ObjectStore,
    pack::{self, ReadError},
    save::{SaveError, SaveMeta, SaveStats, Saved, Saving, store_head},
    seal::Kind,
    secret::Randomness,
    snapshot::Snapshot,
};

/// Why a generation was not sealed again. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// It cannot be read in full: an object is missing or damaged, or the disk does not give it.
    #[error("read the generation")]
    Read(#[from] ReadError),
    /// The new one could not be written.
    #[error("write the generation")]
    Save(#[from] SaveError),
}

/// Where a chunk of the old manifest lies now.
type Moved = HashMap<ChunkRef, ChunkRef>;

/// Seals the contents of `base` with `keys` as the generation after `upon`. The head is stored last and is nobody's current one
/// yet. How the browser ended and which it was is as in `base`.
pub fn reseal(
    base: &Snapshot,
    upon: Option<&HeadRef>,
    keys: &SealingKeys,
    store: &dyn ObjectStore,
    meta: &SaveMeta,
    meter: &Meter,
    random: &mut dyn Randomness,
) -> Result<Saved, ResealError> {
    let from = base.head();
    let meta =
        &SaveMeta { browser_version: from.browser_version.clone(), closing: from.closing, ..meta.clone() };
    meter.expect(base.manifest.files.len() as u64, base.manifest.total_bytes());
    // Without a base: no chunk of it can be used again, and no slot of its tables need stay.
    let saving = Saving { keys, base: None, store, meta, meter };
    let mut writer =
        saving.writer(Kind::Pack, PackTable::default(), HashMap::new()).map_err(SaveError::from)?;
    let mut moved = Moved::new();
    for (slot, chunks) in by_pack(base) {
        let entry = base.manifest.packs.get(slot).expect("the decoder checked the slot");
        let clear = pack::read_pack(store, entry, Kind::Pack, &base.head().profile)?;
        for chunk in chunks {
            if moved.contains_key(chunk) {
                continue;
            }
            let bytes = pack::read_chunk(&clear, chunk, &base.id_key).map(Zeroizing::new);
            let bytes = bytes.ok_or(ReadError::Chunk(entry.name))?;
            moved.insert(*chunk, writer.add(&bytes, random).map_err(SaveError::from)?);
            meter.done(0, bytes.len() as u64);
        }
    }
    writer.finish(random).map_err(SaveError::from)?;
    let files = base.manifest.files.iter().map(|file| move_file(file, &moved)).collect();
    meter.done(base.manifest.files.len() as u64, 0);
    let manifest = Manifest { packs: writer.table, files };
    let (root, root_written) = saving.write_manifest(&manifest, random)?;
    let mut head = saving.head(&manifest, root);
    head.generation = upon.map_or(0, |upon| upon.generation) + 1;
    head.previous = upon.map(|upon| upon.name);
    let (name, head_length) = store_head(&head, keys, store, random).map_err(SaveError::from)?;
    let stats = SaveStats {
        files: head.files,
        bytes: head.bytes,
        new_objects: writer.written.objects + root_written.objects + 1,
        sent_bytes: writer.written.bytes + root_written.bytes + head_length,
        changed: true,
    };
    Ok(Saved { name, generation: head.generation, stats, left_behind: Vec::new() })
}

fn by_pack(base: &Snapshot) -> BTreeMap<u32, Vec<&ChunkRef>> {
    let mut chunks: BTreeMap<u32, Vec<&ChunkRef>> = BTreeMap::new();
    for chunk in base.chunks() {
        chunks.entry(chunk.pack).or_default().push(chunk);
    }
    chunks
}

fn move_file(file: &FileEntry, moved: &Moved) -> FileEntry {
    let chunks = file.chunks.iter().map(|chunk| moved[chunk]).collect();
    FileEntry { path: file.path.clone(), size: file.size, chunks }
}
