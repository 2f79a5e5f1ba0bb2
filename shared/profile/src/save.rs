//! Saving: scan, leave out what is as it was, cut, leave out what is there already, compress, pack, seal, store; the head
//! comes last.
//!
//! ```text
//! scan > files that the stat cache knows          --------------------------------+
//!      > the others, in runs, to as many threads as there are cores:              |
//!        read > cut > id > known already? > compress > pack > seal > hash --+     |
//!                                    two threads that wait for the store: put     |
//!                                                                           +-----+--> manifest > head > settle
//! ```
//! In memory at once: a buffer of one MiB and one chunk for each thread, and a fixed number of packs, whose bytes are
//! compressed into their buffer and sealed in place. So a clear byte is there once while it is cut, and once, compressed,
//! until its pack is sealed; buffers are used again, and wiped in the end.

mod memory;
mod read;
mod reuse;
#[cfg(test)]
mod tests;
mod work;

use std::{collections::HashMap, io, path::Path};

pub use self::memory::Memory;
use self::{
    memory::{Latest, Upon},
    reuse::{Known, Reuse},
    work::{Done, Output, write_files},
};
use crate::{
    chunk::{self, MANIFEST_CUTS},
    extensions::{self, Carried, Carry, Word},
    head::{self, Closing, Head, Root, label},
    keys::SealingKeys,
    manifest::{FileEntry, Manifest, PackTable},
    meter::Meter,
    object::{NamedObject, ObjectName, ObjectStore, StoreError},
    pack::{ChunkWriter, WriteError, Written},
    scan::{self, Found, LeftBehind, ScanError},
    seal::Kind,
    secret::Randomness,
    snapshot::Snapshot,
    stat_cache::{Stamp, StatCache},
};

pub use self::{
    read::READ_ATTEMPTS,
    reuse::{MERGE_ABOVE_SMALL_PACKS, SMALL_PACK_LENGTH},
};

/// What a save says of itself.
#[derive(Debug, Clone)]
pub struct SaveMeta {
    /// Seconds since the Unix epoch, looked at before the save begins.
    pub now: u64,
    /// Who saves; cut to a label's length.
    pub device: String,
    /// The browser that wrote the files.
    pub browser_version: String,
    /// How it ended.
    pub closing: Closing,
}

/// Why nothing was saved. What was there before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The directory could not be read.
    #[error("scan the profile")]
    Scan(#[from] ScanError),
    /// A file could not be read.
    #[error("read {path}")]
    Read {
        /// Which one.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A pack could not be written.
    #[error("write the profile")]
    Write(#[from] WriteError),
    /// The store failed.
    #[error("ask the store")]
    Store(#[from] StoreError),
    /// There is no file that makes a profile; a save of nothing would replace something.
    #[error("the directory holds no profile: nothing was saved")]
    Empty,
}

/// What a save did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct SaveStats {
    /// Files in the profile.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were not there before, the head included.
    pub new_objects: u64,
    /// Their bytes as stored.
    pub sent_bytes: u64,
    /// Whether anything was made: `false` where every file is as it was in the generation it was saved upon,
    /// and all of its chunks are in the store.
    pub changed: bool,
}

/// A save that is in the store. It is nobody's current head yet.
#[derive(Debug)]
pub struct Saved {
    /// The head's name; where nothing changed, that of the generation it was saved upon.
    pub name: ObjectName,
    /// One more than the generation it was saved upon, or that one where nothing changed.
    pub generation: u64,
    /// What it took.
    pub stats: SaveStats,
    /// What did not come along.
    pub left_behind: Vec<LeftBehind>,
}

/// What a save is made with; `base` is the generation it is made upon.
#[derive(Clone, Copy)]
pub struct Saving<'a> {
    /// Whose keys sign and seal.
    pub keys: &'a SealingKeys,
    /// `None` for the first save.
    pub base: Option<&'a Snapshot>,
    /// Where to. Objects of `base` that it has are not written again.
    pub store: &'a dyn ObjectStore,
    /// What the head says.
    pub meta: &'a SaveMeta,
    /// Counts the files and bytes that were read.
    pub meter: &'a Meter,
}

/// Saves what of `data_directory` is the profile. The head is stored last, so a save that ends early leaves
/// objects that nothing names, and nothing else.
pub fn save(
    data_directory: &Path,
    saving: Saving<'_>,
    random: &mut dyn Randomness,
) -> Result<Saved, SaveError> {
    save_again(data_directory, saving, &mut Memory::default(), random)
}

/// The same with what the last save left in `memory`: files that did not change since are not read, and chunks that went
/// out with a save that is nobody's current head yet are not written again. A save that fails leaves `memory` as it was.
pub fn save_again(
    data_directory: &Path,
    saving: Saving<'_>,
    memory: &mut Memory,
    random: &mut dyn Randomness,
) -> Result<Saved, SaveError> {
    save_carrying(data_directory, saving, &Carry::AsBase, memory, random)
}

/// The same; of extensions what the user's word allows. Without one, as in [`save`], those that the generation before has.
pub fn save_allowing(
    data_directory: &Path,
    saving: Saving<'_>,
    word: Option<&Word>,
    memory: &mut Memory,
    random: &mut dyn Randomness,
) -> Result<Saved, SaveError> {
    let Some(word) = word else { return save_again(data_directory, saving, memory, random) };
    // What cannot be read is not carried on.
    let listed = saving.base.and_then(|base| Carried::of(base, saving.store).ok());
    save_carrying(data_directory, saving, &Carry::Allowed(word, listed.unwrap_or_default()), memory, random)
}

fn save_carrying(
    data_directory: &Path,
    saving: Saving<'_>,
    carry: &Carry<'_>,
    memory: &mut Memory,
    random: &mut dyn Randomness,
) -> Result<Saved, SaveError> {
    let upon = memory.upon(saving.base);
    let scan = scan::scan_with(data_directory, carry.known_ids(upon.map(|upon| upon.manifest)))?;
    if scan.files.iter().all(|file| file.size == 0) {
        return Err(SaveError::Empty);
    }
    saving.meter.expect(scan.files.len() as u64, scan.files.iter().map(|file| file.size).sum());
    let packs = upon.map_or(&EMPTY, |upon| &upon.manifest.packs);
    let reuse = Reuse::look(packs, upon.iter().flat_map(Upon::chunks), saving.store)?;
    let (kept, to_read) = saving.sort_out(scan.files, upon, &reuse, &memory.stats);
    let known =
        if to_read.is_empty() { Known::new() } else { reuse.known(upon.iter().flat_map(Upon::chunks)) };
    let mut output = write_files(data_directory, &to_read, saving, packs.duplicate(), known, random)?;
    output.left_behind.extend(scan.left_behind);
    let (files, stamps) = in_order(kept, std::mem::take(&mut output.files));
    let old = reuse.known(upon.iter().flat_map(Upon::chunks));
    let known_to_carry = Carrying { carry, data_directory, upon, known: old };
    let (files, stamps) = saving.carry_extensions(known_to_carry, (files, stamps), &mut output, random)?;
    output.left_behind.sort_by(|a, b| a.path.cmp(&b.path));
    // A pack that nothing points into any more, as after a file that was read twice, is let go.
    output.table.keep_used(files.iter().flat_map(|file| &file.chunks));
    let manifest = Manifest { packs: output.table, files };
    if let Some(upon) = upon
        && output.written.objects == 0
        && upon.is_as_good_as(&manifest, saving.meta)
    {
        let saved = upon.unchanged(output.left_behind);
        memory.stats = StatCache::note(saved.name, saving.meta.now, stamps);
        return Ok(saved);
    }
    let made = saving.finish(manifest, upon, output.written, output.left_behind, random)?;
    memory.stats = StatCache::note(made.0.name, saving.meta.now, stamps);
    memory.latest = Some(made.1);
    Ok(made.0)
}

static EMPTY: PackTable = PackTable(Vec::new());

/// In ascending order of path.
fn in_order(kept: Vec<Done>, read: Vec<Done>) -> Files {
    let mut done = kept;
    done.extend(read);
    done.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    done.into_iter().map(|done| (done.entry, done.stamp)).unzip()
}

/// Entries, and for each what its file looked like.
type Files = (Vec<FileEntry>, Vec<Option<Stamp>>);

/// What extensions are taken from.
struct Carrying<'c> {
    carry: &'c Carry<'c>,
    data_directory: &'c Path,
    upon: Option<Upon<'c>>,
    known: Known,
}

/// Signs, seals and stores a head, and waits until it and all before it are durable; its name, and its length in bytes.
pub(crate) fn store_head(
    head: &Head,
    keys: &SealingKeys,
    store: &dyn ObjectStore,
    random: &mut dyn Randomness,
) -> Result<(ObjectName, u64), StoreError> {
    let sealed = NamedObject::of(head::seal_head(head, keys, random).object);
    store.put_soon(&sealed)?;
    store.settle()?;
    Ok((*sealed.name(), sealed.bytes().len() as u64))
}

impl<'a> Saving<'a> {
    pub(crate) fn writer(
        self,
        kind: Kind,
        table: PackTable,
        known: Known,
    ) -> Result<ChunkWriter<'a>, WriteError> {
        ChunkWriter::new(kind, &self.keys.profile, &self.keys.id_key, self.store, table, known)
    }

    /// Files that are known to be as they were, and those to be read. Settings are always read: what they are cleaned
    /// of is this program's choice, which may have changed.
    fn sort_out(
        self,
        found: Vec<Found>,
        upon: Option<Upon<'_>>,
        reuse: &Reuse,
        stats: &StatCache,
    ) -> (Vec<Done>, Vec<Found>) {
        let Some(upon) = upon else { return (Vec::new(), found) };
        let mut known = upon.manifest.files.iter().enumerate().peekable();
        let (mut kept, mut to_read) = (Vec::new(), Vec::new());
        for found in found {
            while known.next_if(|(_, file)| file.path < found.path).is_some() {}
            let same = known.next_if(|(_, file)| file.path == found.path).filter(|(index, file)| {
                found.is_carried()
                    && stats.is_unchanged(&upon.name, *index, &found.stamp, self.meta.now)
                    && file.chunks.iter().all(|chunk| reuse.stays(chunk))
            });
            match same {
                Some((_, file)) => {
                    self.meter.done(1, file.size);
                    kept.push(Done { entry: file.clone(), stamp: Some(found.stamp) });
                }
                None => to_read.push(found),
            }
        }
        (kept, to_read)
    }

    /// Seals what may come along of extensions, between files that are sealed already.
    fn carry_extensions(
        self,
        Carrying { carry, data_directory, upon, known }: Carrying<'_>,
        (mut files, stamps): Files,
        output: &mut Output,
        random: &mut dyn Randomness,
    ) -> Result<Files, WriteError> {
        let base = upon.map(|upon| upon.manifest);
        if carry.is_idle(base, &files) {
            return Ok((files, stamps));
        }
        let mut seen: HashMap<String, Option<Stamp>> =
            files.iter().map(|file| file.path.clone()).zip(stamps).collect();
        let mut writer = self.writer(Kind::Pack, std::mem::take(&mut output.table), known)?;
        let add = |clear: &[u8]| writer.add(clear, random);
        output.left_behind.extend(extensions::seal(carry, data_directory, base, &mut files, add)?);
        writer.finish(random)?;
        output.written.objects += writer.written.objects;
        output.written.bytes += writer.written.bytes;
        output.table = writer.table;
        let stamps = files.iter().map(|file| seen.remove(&file.path).flatten()).collect();
        Ok((files, stamps))
    }

    fn finish(
        self,
        manifest: Manifest,
        upon: Option<Upon<'_>>,
        written: Written,
        left_behind: Vec<LeftBehind>,
        random: &mut dyn Randomness,
    ) -> Result<(Saved, Latest), SaveError> {
        let (root, root_written) = match upon {
            Some(upon) => self.write_manifest_upon(&manifest, Some(upon.root), random)?,
            None => self.write_manifest(&manifest, random)?,
        };
        let head = self.head(&manifest, root);
        let (name, head_length) = store_head(&head, self.keys, self.store, random)?;
        let stats = SaveStats {
            files: head.files,
            bytes: head.bytes,
            new_objects: written.objects + root_written.objects + 1,
            sent_bytes: written.bytes + root_written.bytes + head_length,
            changed: true,
        };
        let saved = Saved { name, generation: head.generation, stats, left_behind };
        Ok((saved, Latest { name, head, manifest }))
    }

    pub(crate) fn write_manifest(
        self,
        manifest: &Manifest,
        random: &mut dyn Randomness,
    ) -> Result<(Root, Written), SaveError> {
        self.write_manifest_upon(manifest, self.base.map(|base| &base.head().root), random)
    }

    fn write_manifest_upon(
        self,
        manifest: &Manifest,
        upon: Option<&Root>,
        random: &mut dyn Randomness,
    ) -> Result<(Root, Written), SaveError> {
        let (table, known) = match upon {
            Some(root) => {
                let reuse = Reuse::look(&root.packs, root.chunks.iter(), self.store)?;
                (root.packs.duplicate(), reuse.known(root.chunks.iter()))
            }
            None => (PackTable::default(), Known::new()),
        };
        let bytes = zeroize::Zeroizing::new(manifest.encode());
        let mut writer = self.writer(Kind::ManifestPack, table, known)?;
        let mut chunks = Vec::new();
        chunk::split_content(&bytes, MANIFEST_CUTS, |clear| {
            writer.add(clear, random).map(|chunk| chunks.push(chunk))
        })?;
        writer.finish(random)?;
        writer.table.keep_used(chunks.iter());
        Ok((Root { length: bytes.len() as u64, packs: writer.table, chunks }, writer.written))
    }

    pub(crate) fn head(self, manifest: &Manifest, root: Root) -> Head {
        Head {
            profile: self.keys.profile.clone(),
            generation: self.base.map_or(0, |base| base.head().generation) + 1,
            previous: self.base.map(Snapshot::name),
            time: self.meta.now,
            closing: self.meta.closing,
            device: label(&self.meta.device),
            browser_version: label(&self.meta.browser_version),
            files: manifest.files.len() as u64,
            bytes: manifest.total_bytes(),
            root,
        }
    }
}
