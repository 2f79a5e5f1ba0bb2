//! The threads of a restore: each takes a pack, opens it, and writes what lies in it.

use std::{
    any::Any,
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    panic::resume_unwind,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use super::RestoreError;
use crate::{
    chunk::Decoder,
    files::{self, Fuse},
    manifest::{ChunkRef, FileEntry},
    meter::Meter,
    object::ObjectStore,
    pack::{self, ReadError},
    seal::Kind,
    snapshot::Snapshot,
};

/// Threads, at most. Each holds a pack of 8 MiB, and a store that is elsewhere another copy of it while it arrives.
const MAX_THREADS: usize = 6;

/// Where a chunk goes: which file, and where in it.
pub(super) struct Place<'a> {
    pub(super) file: usize,
    pub(super) at: u64,
    pub(super) chunk: &'a ChunkRef,
}

/// Such a file is made by the thread that writes it; the others are there before.
pub(super) fn is_in_one_pack(file: &FileEntry) -> bool {
    file.chunks.first().is_some_and(|first| file.chunks.iter().all(|chunk| chunk.pack == first.pack))
}

/// A file at a path that is a directory of another, or that a case-folding file system holds already, fails here.
pub(super) fn create(target: &Path, file: &FileEntry) -> Result<File, RestoreError> {
    let path = target.join(&file.path);
    files::create_new(&path).map_err(|source| RestoreError::Disk { path, source })
}

/// A file that [`create`] made; a link that somebody put in its place meanwhile is not followed.
fn open_own(path: &Path) -> io::Result<File> {
    const O_NOFOLLOW: i32 = 0o400_000;
    OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(path)
}

/// What the threads share.
pub(super) struct Work<'w> {
    pub(super) snapshot: &'w Snapshot,
    pub(super) store: &'w dyn ObjectStore,
    pub(super) target: &'w Path,
    pub(super) meter: &'w Meter,
    pub(super) files: &'w [&'w FileEntry],
}

impl Work<'_> {
    /// Writes all places of `packs`. The first failure, or a panic, stops the others at their next pack.
    pub(super) fn run(&self, packs: &BTreeMap<u32, Vec<Place<'_>>>) -> Result<(), RestoreError> {
        let packs: Vec<(u32, &[Place<'_>])> =
            packs.iter().map(|(slot, places)| (*slot, places.as_slice())).collect();
        let (next, given_up) = (AtomicUsize::new(0), AtomicBool::new(false));
        let threads =
            thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS).min(packs.len());
        if threads <= 1 {
            return self.take_packs(&packs, &next, &given_up);
        }
        let fuse = Fuse::here();
        thread::scope(|scope| {
            let work = || {
                Fuse::hold(fuse.clone());
                let alarm = Alarm(&given_up);
                let result = self.take_packs(&packs, &next, &given_up);
                if result.is_ok() {
                    std::mem::forget(alarm);
                }
                result
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            first_failure(threads.into_iter().map(thread::ScopedJoinHandle::join).collect())
        })
    }

    fn take_packs(
        &self,
        packs: &[(u32, &[Place<'_>])],
        next: &AtomicUsize,
        given_up: &AtomicBool,
    ) -> Result<(), RestoreError> {
        let mut decoder = Decoder::new();
        while let Some((slot, places)) = packs.get(next.fetch_add(1, Relaxed)) {
            if given_up.load(Relaxed) {
                return Ok(());
            }
            self.write_from_pack(*slot, places, &mut decoder)?;
            self.meter.done(0, places.iter().map(|place| u64::from(place.chunk.clear)).sum());
        }
        Ok(())
    }

    fn write_from_pack(
        &self,
        slot: u32,
        places: &[Place<'_>],
        decoder: &mut Decoder,
    ) -> Result<(), RestoreError> {
        let entry = self.snapshot.manifest.packs.get(slot).expect("the decoder checked the slot");
        let clear = pack::read_pack(self.store, entry, Kind::Pack, &self.snapshot.head().profile)?;
        let mut open: Option<(usize, File)> = None;
        for Place { file, at, chunk } in places {
            let bytes = pack::find_chunk(&clear, chunk, &self.snapshot.id_key, decoder)
                .ok_or(ReadError::Chunk(entry.name))?;
            if open.as_ref().is_none_or(|(held, _)| held != file) {
                open = Some((*file, self.open(self.files[*file])?));
            }
            let (_, handle) = open.as_ref().expect("it was just opened");
            handle
                .write_all_at(bytes, *at)
                .map_err(|source| disk(&self.target.join(&self.files[*file].path), source))?;
        }
        Ok(())
    }

    fn open(&self, file: &FileEntry) -> Result<File, RestoreError> {
        if is_in_one_pack(file) {
            return create(self.target, file);
        }
        let path = self.target.join(&file.path);
        open_own(&path).map_err(|source| disk(&path, source))
    }
}

fn disk(path: &Path, source: io::Error) -> RestoreError {
    RestoreError::Disk { path: path.into(), source }
}

/// Makes the others give up unless it is forgotten.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// All threads have ended; a panic goes on.
fn first_failure(
    joined: Vec<Result<Result<(), RestoreError>, Box<dyn Any + Send>>>,
) -> Result<(), RestoreError> {
    let mut result = Ok(());
    for thread in joined {
        match thread {
            Err(panic) => resume_unwind(panic),
            Ok(done) => result = result.and(done),
        }
    }
    result
}
