//! Saving: scan, cut, leave out what is there already, compress, pack, seal, store; the head comes last.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use crate::{
    allowlist::Class,
    chunk::{self, MANIFEST_CUTS, SplitError},
    extensions::{self, Carried, Carry, Word},
    files,
    head::{self, Closing, Head, Root, label},
    keys::SealingKeys,
    manifest::{ChunkId, ChunkRef, FileEntry, MAX_FILE_LENGTH, Manifest, PackTable},
    meter::Meter,
    object::{ObjectName, ObjectStore, StoreError},
    pack::{ChunkWriter, WriteError, Written},
    sanitize::{self, MAX_SETTINGS_LENGTH, Settings},
    scan::{self, Found, LeftBehind, Reason, Scan, ScanError},
    seal::Kind,
    secret::Randomness,
    snapshot::Snapshot,
};

/// How often a file that changes while it is read is read again. A browser writes its files in bursts; three
/// misses in a row mean that it is at work, and the file is then missing from this save rather than torn.
pub const READ_ATTEMPTS: u32 = 4;
/// With more small packs than this, their chunks are written again and so move into few: otherwise every autosave
/// would leave its own request to every later restore. Lower, and small saves are sent again sooner.
pub const MERGE_ABOVE_SMALL_PACKS: usize = 32;
/// What counts as a small pack: fewer live bytes than this.
pub const SMALL_PACK_LENGTH: u64 = 1024 * 1024;

/// What a save says of itself.
#[derive(Debug, Clone)]
pub struct SaveMeta {
    /// Seconds since the Unix epoch.
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
    save_carrying(data_directory, saving, &Carry::AsBase, random)
}

/// The same; of extensions what the user's word allows. Without one, as in [`save`], those that the generation before has.
pub fn save_allowing(
    data_directory: &Path,
    saving: Saving<'_>,
    word: Option<&Word>,
    random: &mut dyn Randomness,
) -> Result<Saved, SaveError> {
    let Some(word) = word else { return save(data_directory, saving, random) };
    // What cannot be read is not carried on.
    let listed = saving.base.and_then(|base| Carried::of(base, saving.store).ok());
    save_carrying(data_directory, saving, &Carry::Allowed(word, listed.unwrap_or_default()), random)
}

fn save_carrying(
    data_directory: &Path,
    saving: Saving<'_>,
    carry: &Carry<'_>,
    random: &mut dyn Randomness,
) -> Result<Saved, SaveError> {
    let scan = scan::scan_with(data_directory, carry.known_ids(saving.base))?;
    if scan.files.iter().all(|file| file.size == 0) {
        return Err(SaveError::Empty);
    }
    saving.meter.expect(scan.files.len() as u64, scan.files.iter().map(|file| file.size).sum());
    let (table, known) = saving.known_chunks()?;
    let mut writer = saving.writer(Kind::Pack, table, known)?;
    let (mut files, mut left_behind) = write_files(data_directory, scan, &mut writer, saving.meter, random)?;
    let add = |clear: &[u8]| writer.add(clear, random);
    left_behind.extend(extensions::seal(carry, data_directory, saving.base, &mut files, add)?);
    writer.finish(random)?;
    writer.table.keep_used(files.iter().flat_map(|file| &file.chunks));
    let manifest = Manifest { packs: writer.table, files };
    if let Some(base) = saving.base
        && writer.written.objects == 0
        && base.manifest.has_same_files(&manifest)
    {
        return Ok(unchanged(base, left_behind));
    }
    let (root, root_written) = saving.write_manifest(&manifest, random)?;
    let head = saving.head(&manifest, root);
    let (name, head_length) = store_head(&head, saving.keys, saving.store, random)?;
    let stats = SaveStats {
        files: head.files,
        bytes: head.bytes,
        new_objects: writer.written.objects + root_written.objects + 1,
        sent_bytes: writer.written.bytes + root_written.bytes + head_length,
        changed: true,
    };
    Ok(Saved { name, generation: head.generation, stats, left_behind })
}

fn unchanged(base: &Snapshot, left_behind: Vec<LeftBehind>) -> Saved {
    let head = base.head();
    let stats = SaveStats { files: head.files, bytes: head.bytes, ..SaveStats::default() };
    Saved { name: base.name(), generation: head.generation, stats, left_behind }
}

/// Signs, seals and stores a head; its name, and its length in bytes.
pub(crate) fn store_head(
    head: &Head,
    keys: &SealingKeys,
    store: &dyn ObjectStore,
    random: &mut dyn Randomness,
) -> Result<(ObjectName, u64), StoreError> {
    let sealed = head::seal_head(head, keys, random);
    store.put(&sealed.name, &sealed.object)?;
    Ok((sealed.name, sealed.object.len() as u64))
}

type Known = (PackTable, HashMap<ChunkId, ChunkRef>);

impl<'a> Saving<'a> {
    pub(crate) fn writer(
        self,
        kind: Kind,
        table: PackTable,
        known: HashMap<ChunkId, ChunkRef>,
    ) -> Result<ChunkWriter<'a>, WriteError> {
        ChunkWriter::new(kind, &self.keys.profile, &self.keys.id_key, self.store, table, known)
    }

    /// The base's packs and those of its chunks that need not be written again.
    fn known_chunks(self) -> Result<Known, StoreError> {
        let Some(base) = self.base else { return Ok(Known::default()) };
        let table = &base.manifest.packs;
        reusable(table, base.chunks(), self.store)
    }

    pub(crate) fn write_manifest(
        self,
        manifest: &Manifest,
        random: &mut dyn Randomness,
    ) -> Result<(Root, Written), SaveError> {
        let (table, known) = match self.base {
            Some(base) => {
                let root = &base.head().root;
                reusable(&root.packs, root.chunks.iter(), self.store)?
            }
            None => Known::default(),
        };
        let bytes = zeroize::Zeroizing::new(manifest.encode());
        let mut writer = self.writer(Kind::ManifestPack, table, known)?;
        let mut chunks = Vec::new();
        chunk::split_content(bytes.as_slice(), MANIFEST_CUTS, |clear| {
            writer.add(clear, random).map(|chunk| chunks.push(chunk))
        })
        .map_err(|error| in_file("the manifest", error))?;
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

/// Chunks in packs that the store still has, small packs left out when there are too many.
fn reusable<'a>(
    table: &PackTable,
    chunks: impl Iterator<Item = &'a ChunkRef> + Clone,
    store: &dyn ObjectStore,
) -> Result<Known, StoreError> {
    let names: Vec<_> = table.names().collect();
    let missing: HashSet<_> = store.missing(&names)?.into_iter().collect();
    let mut live = vec![0_u64; table.0.len()];
    for chunk in chunks.clone() {
        live[chunk.pack as usize] += u64::from(chunk.stored);
    }
    let small = live.iter().filter(|live| (1..SMALL_PACK_LENGTH).contains(*live)).count();
    let merge = small > MERGE_ABOVE_SMALL_PACKS;
    let stays = |slot: u32| {
        table.get(slot).is_some_and(|pack| !missing.contains(&pack.name))
            && !(merge && live[slot as usize] < SMALL_PACK_LENGTH)
    };
    let known = chunks.filter(|chunk| stays(chunk.pack)).map(|chunk| (chunk.id, *chunk)).collect();
    Ok((table.duplicate(), known))
}

fn write_files(
    data_directory: &Path,
    scan: Scan,
    writer: &mut ChunkWriter<'_>,
    meter: &Meter,
    random: &mut dyn Randomness,
) -> Result<(Vec<FileEntry>, Vec<LeftBehind>), SaveError> {
    let (mut files, mut left_behind) = (Vec::with_capacity(scan.files.len()), scan.left_behind);
    for found in scan.files {
        let path = data_directory.join(&found.path);
        let entry = match found.class {
            Class::Cleaned(settings) => write_settings(&path, &found, settings, writer, random)?,
            _ => write_file(&path, &found, writer, random)?,
        };
        meter.done(1, found.size);
        match entry {
            Ok(entry) => files.push(entry),
            Err(reason) => left_behind.push(LeftBehind { path: found.path, reason }),
        }
    }
    Ok((files, left_behind))
}

type Entry = Result<FileEntry, Reason>;

/// A database and its journal are separate files here: both are read after the browser has closed, or both
/// belong to a save that is marked as a crash, which SQLite recovers from.
fn write_file(
    path: &Path,
    found: &Found,
    writer: &mut ChunkWriter<'_>,
    random: &mut dyn Randomness,
) -> Result<Entry, SaveError> {
    for _ in 0..READ_ATTEMPTS {
        let before = match look(path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Reason::Changing)),
            Err(source) => return Err(unreadable(&found.path, source)),
        };
        let file = File::open(path).map_err(|source| unreadable(&found.path, source))?;
        let opened = file.metadata().map_err(|source| unreadable(&found.path, source))?;
        let mut entry = FileEntry { path: found.path.clone(), size: 0, chunks: Vec::new() };
        chunk::split(io::Read::take(file, MAX_FILE_LENGTH), |clear| {
            entry.size += clear.len() as u64;
            writer.add(clear, random).map(|chunk| entry.chunks.push(chunk))
        })
        .map_err(|error| in_file(&found.path, error))?;
        let after = look(path).ok();
        if after == Some(before) && stamp(&opened) == before && entry.size == opened.len() {
            return Ok(Ok(entry));
        }
    }
    Ok(Err(Reason::Changing))
}

fn write_settings(
    path: &Path,
    found: &Found,
    settings: Settings,
    writer: &mut ChunkWriter<'_>,
    random: &mut dyn Randomness,
) -> Result<Entry, SaveError> {
    // Chromium replaces its settings files as a whole, so one read sees one version.
    let clear = files::read_limited(path, MAX_SETTINGS_LENGTH).ok();
    let Some(clean) = clear.and_then(|clear| sanitize::sanitize(settings, &clear)) else {
        return Ok(Err(Reason::Settings));
    };
    let mut entry = FileEntry { path: found.path.clone(), size: clean.len() as u64, chunks: Vec::new() };
    chunk::split(clean.as_slice(), |clear| writer.add(clear, random).map(|chunk| entry.chunks.push(chunk)))
        .map_err(|error| in_file(&found.path, error))?;
    Ok(Ok(entry))
}

/// What changes when a file does: device, inode, length, modification time. A link has none of its own.
type Stamp = (u64, u64, u64, i64, i64);

fn look(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() { Ok(stamp(&metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn unreadable(path: &str, source: io::Error) -> SaveError {
    SaveError::Read { path: path.to_owned(), source }
}

fn in_file(path: &str, error: SplitError<WriteError>) -> SaveError {
    match error {
        SplitError::Read(source) => unreadable(path, source),
        SplitError::Sink(error) => error.into(),
    }
}
