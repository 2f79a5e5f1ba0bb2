//! Restoring: a snapshot's files written into an empty directory, each judged again as if a stranger had sent it.
//!
//! Paths and modes are ours (0600, directories 0700), links are never made or followed, whatever is not on the
//! allowlist is left out and named, and settings lose what could execute. A path that climbs refuses the whole
//! snapshot: no honest writer made it.
//!
//! Packs are fetched, opened and written by several threads, each with one pack in memory. Those that hold what a browser
//! opens when it starts come first ([`order`]), so that it may start before the rest is there.

mod order;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

pub use self::order::is_essential;
pub(crate) use self::order::rank;
use self::write::{Place, Work};
use crate::{
    allowlist::{self, Class, PathError},
    extensions::{self, Carried},
    files,
    manifest::FileEntry,
    meter::Meter,
    object::ObjectStore,
    pack::ReadError,
    sanitize::{self, MAX_SETTINGS_LENGTH, Settings},
    scan::{LeftBehind, Reason},
    snapshot::Snapshot,
};

/// Why nothing usable was restored. The target directory is then to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A path climbs, is absolute, or cannot be shown.
    #[error("refuse the profile")]
    Path(#[from] PathError),
    /// The target holds something already.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// A pack or chunk is missing or wrong.
    #[error("read the profile's contents")]
    Read(#[from] ReadError),
    /// The disk said no; a full tmpfs shows so.
    #[error("write {path}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was restored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the snapshot lists and was not written, or not in full.
    pub stripped: Vec<LeftBehind>,
}

/// Writes `snapshot` into `target`, which is made if it is not there and must be empty if it is.
pub fn restore(
    snapshot: &Snapshot,
    store: &dyn ObjectStore,
    target: &Path,
) -> Result<Restored, RestoreError> {
    restore_metered(snapshot, store, target, &Meter::default())
}

/// The same; `meter` counts the files and bytes that are written.
pub fn restore_metered(
    snapshot: &Snapshot,
    store: &dyn ObjectStore,
    target: &Path,
    meter: &Meter,
) -> Result<Restored, RestoreError> {
    Restoring::begin(snapshot, store, target, meter)?.rest()
}

/// The same without any extension, whatever the user let travel: for a node whose operator wants none.
pub fn restore_without_extensions(
    snapshot: &Snapshot,
    store: &dyn ObjectStore,
    target: &Path,
    meter: &Meter,
) -> Result<Restored, RestoreError> {
    Restoring::begin_without_extensions(snapshot, store, target, meter)?.rest()
}

/// A restore in two steps: [`Restoring::essential`], after which a browser may start, and [`Restoring::rest`], before which it
/// may load no page. Dropped in between, it leaves a part, and the target is to be thrown away.
pub struct Restoring<'a> {
    snapshot: &'a Snapshot,
    store: &'a dyn ObjectStore,
    target: &'a Path,
    meter: &'a Meter,
    accepted: Accepted<'a>,
    /// Extensions that may come along.
    carried: Carried,
    /// Packs that are not written yet.
    packs: BTreeMap<u32, Vec<Place<'a>>>,
    /// Files that are there, in full or in part.
    begun: BTreeSet<usize>,
    restored: Restored,
    /// How many were stripped before anything was written.
    refused: usize,
}

type Accepted<'a> = Vec<(&'a FileEntry, Class)>;

impl<'a> Restoring<'a> {
    /// Judges every file, and makes `target`, which must be empty if it is there. Nothing is written into it yet.
    pub fn begin(
        snapshot: &'a Snapshot,
        store: &'a dyn ObjectStore,
        target: &'a Path,
        meter: &'a Meter,
    ) -> Result<Self, RestoreError> {
        let carried = Carried::of(snapshot, store)?;
        Self::begin_carrying(snapshot, store, target, meter, carried)
    }

    /// The same without any extension, as [`restore_without_extensions`].
    pub fn begin_without_extensions(
        snapshot: &'a Snapshot,
        store: &'a dyn ObjectStore,
        target: &'a Path,
        meter: &'a Meter,
    ) -> Result<Self, RestoreError> {
        Self::begin_carrying(snapshot, store, target, meter, Carried::default())
    }

    fn begin_carrying(
        snapshot: &'a Snapshot,
        store: &'a dyn ObjectStore,
        target: &'a Path,
        meter: &'a Meter,
        carried: Carried,
    ) -> Result<Self, RestoreError> {
        let (mut accepted, stripped) = judge(snapshot, &carried)?;
        make_empty(target)?;
        // Of what matters alike the smallest first: the more is whole, the earlier.
        accepted.sort_by_key(|(file, _)| (rank(&file.path), file.size));
        let bytes = accepted.iter().map(|(file, _)| file.size).sum();
        meter.expect(accepted.len() as u64, bytes);
        let packs = by_pack(&accepted);
        let refused = stripped.len();
        let restored = Restored { files: accepted.len() as u64, bytes, stripped };
        let begun = BTreeSet::new();
        Ok(Self { snapshot, store, target, meter, accepted, carried, packs, begun, restored, refused })
    }

    /// Writes every file for which [`is_essential`] holds, whole and cleaned, and whatever else lies in the same packs. Of a
    /// profile with extensions that is every file: they run, and open what they stored, as soon as the browser does.
    pub fn essential(&mut self) -> Result<(), RestoreError> {
        let everything = !self.carried.is_empty();
        let is_essential = |path: &str| everything || is_essential(path);
        let is_needed = |places: &Vec<Place<'_>>| {
            places.iter().any(|place| is_essential(&self.accepted[place.file].0.path))
        };
        let (now, later) =
            std::mem::take(&mut self.packs).into_iter().partition(|(_, places)| is_needed(places));
        self.packs = later;
        self.write(&now, is_essential)?;
        self.check_extensions();
        Ok(())
    }

    /// Writes what is left.
    pub fn rest(mut self) -> Result<Restored, RestoreError> {
        let packs = std::mem::take(&mut self.packs);
        self.write(&packs, |_| true)?;
        self.check_extensions();
        self.restored.stripped[self.refused..].sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.restored)
    }

    /// Their code is essential, so it is whole by the end of the first step, and is judged once, before a browser starts.
    fn check_extensions(&mut self) {
        let carried = std::mem::take(&mut self.carried);
        self.restored.stripped.extend(extensions::check_written(self.target, &carried));
    }

    /// `is_whole` says which files have nothing left in other packs.
    fn write(
        &mut self,
        packs: &BTreeMap<u32, Vec<Place<'a>>>,
        is_whole: impl Fn(&str) -> bool,
    ) -> Result<(), RestoreError> {
        let touched: BTreeSet<usize> = packs.values().flatten().map(|place| place.file).collect();
        let of_phase: Vec<usize> = (0..self.accepted.len())
            .filter(|index| !self.begun.contains(index))
            .filter(|index| touched.contains(index) || is_whole(&self.accepted[*index].0.path))
            .collect();
        self.make_directories(&of_phase)?;
        for index in &of_phase {
            let file = self.accepted[*index].0;
            if !write::is_in_one_pack(file) {
                write::create(self.target, file).and_then(|made| set_length(&made, self.target, file))?;
            }
        }
        self.begun.extend(&of_phase);
        let files: Vec<&FileEntry> = self.accepted.iter().map(|(file, _)| *file).collect();
        let Self { snapshot, store, target, meter, .. } = *self;
        Work { snapshot, store, target, meter, files: &files }.run(packs)?;
        self.clean_all(&of_phase)
    }

    fn make_directories(&self, indices: &[usize]) -> Result<(), RestoreError> {
        let parents: BTreeSet<&Path> =
            indices.iter().filter_map(|index| Path::new(&self.accepted[*index].0.path).parent()).collect();
        for parent in parents {
            let path = self.target.join(parent);
            files::make_directory(&path).map_err(|source| RestoreError::Disk { path, source })?;
        }
        Ok(())
    }

    /// Settings are one small chunk, so they are whole as soon as they are there.
    fn clean_all(&mut self, indices: &[usize]) -> Result<(), RestoreError> {
        for index in indices {
            self.meter.done(1, 0);
            if let (file, Class::Cleaned(settings)) = self.accepted[*index] {
                clean(self.target, file, settings, &mut self.restored)?;
            }
        }
        Ok(())
    }
}

fn judge<'a>(
    snapshot: &'a Snapshot,
    carried: &Carried,
) -> Result<(Accepted<'a>, Vec<LeftBehind>), PathError> {
    let (mut accepted, mut stripped) = (Vec::new(), Vec::new());
    for file in snapshot.manifest.files() {
        let reason = match allowlist::classify(&file.path)? {
            Class::Cleaned(_) if file.size > MAX_SETTINGS_LENGTH => Reason::Settings,
            class @ (Class::Carried | Class::Cleaned(_)) => {
                accepted.push((file, class));
                continue;
            }
            Class::Executable if carried.admits(&file.path) => {
                accepted.push((file, Class::Carried));
                continue;
            }
            // Read already, and of no use to a browser.
            Class::Executable if file.path == allowlist::LISTING_FILE => continue,
            Class::Executable => Reason::Executable,
            Class::Ignored => Reason::NotListed,
        };
        stripped.push(LeftBehind { path: file.path.clone(), reason });
    }
    Ok((accepted, stripped))
}

fn make_empty(target: &Path) -> Result<(), RestoreError> {
    let failed = |source| RestoreError::Disk { path: target.into(), source };
    files::make_directory(target).map_err(failed)?;
    let is_directory = fs::symlink_metadata(target).map_err(failed)?.is_dir();
    if !is_directory || fs::read_dir(target).map_err(failed)?.next().is_some() {
        return Err(RestoreError::NotEmpty(target.into()));
    }
    Ok(())
}

fn set_length(made: &fs::File, target: &Path, file: &FileEntry) -> Result<(), RestoreError> {
    made.set_len(file.size).map_err(|source| RestoreError::Disk { path: target.join(&file.path), source })
}

/// For each pack the places its chunks go to: each pack is fetched once.
fn by_pack<'a>(accepted: &Accepted<'a>) -> BTreeMap<u32, Vec<Place<'a>>> {
    let mut places: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (index, (file, _)) in accepted.iter().enumerate() {
        let mut at = 0;
        for chunk in &file.chunks {
            places.entry(chunk.pack).or_default().push(Place { file: index, at, chunk });
            at += u64::from(chunk.clear);
        }
    }
    places
}

fn clean(
    target: &Path,
    file: &FileEntry,
    settings: Settings,
    restored: &mut Restored,
) -> Result<(), RestoreError> {
    let path = target.join(&file.path);
    let failed = |source| RestoreError::Disk { path: path.clone(), source };
    let clear = files::read_limited(&path, MAX_SETTINGS_LENGTH).map_err(failed)?;
    let cleaned = sanitize::sanitize(settings, &clear);
    if cleaned.as_deref() == Some(clear.as_slice()) {
        return Ok(());
    }
    restored.stripped.push(LeftBehind { path: file.path.clone(), reason: Reason::Settings });
    match cleaned {
        Some(cleaned) => files::replace(&path, &cleaned).map_err(failed),
        None => fs::remove_file(&path).map_err(failed),
    }
}
