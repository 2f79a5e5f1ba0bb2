//! The threads of a save: some read, cut, compress and seal; others wait for the store.
//!
//! A small save is done by the calling thread alone, in ascending order of path; so are all saves on one core. Each thread
//! fills packs of its own, in which chunks lie in the order in which that thread read them. When one fails or panics, the
//! others stop at their next chunk, and the failure, or the panic, is the caller's.

use std::{
    any::Any,
    mem,
    panic::resume_unwind,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{Known, SaveError, Saving, read};
use crate::{
    allowlist::Class,
    chunk::{Coder, Cutter, chunk_id},
    files::Fuse,
    manifest::{ChunkRef, FileEntry, PackTable},
    object::NamedObject,
    pack::{Fill, OpenPack, PackSeed, WriteError, Written},
    restore::rank,
    scan::{Found, LeftBehind},
    seal::Kind,
    secret::Randomness,
    stat_cache::Stamp,
};

/// Threads that read and seal, at most. Each holds a pack of 8 MiB and three MiB of buffers, so more would break the
/// promise of 128 MiB for a whole save; disks and stores are slower than six cores.
const MAX_WORKERS: usize = 6;
/// Threads that wait for the store. With one, a thread that seals waits for the disk as soon as it is the faster of the two.
const STORERS: usize = 2;
/// Bytes that are worth a thread of their own. Lower, and small saves pay for starting threads.
const BYTES_FOR_A_WORKER: u64 = 8 * 1024 * 1024;
/// Files are handed out in runs of about this many bytes, so that neighbours lie in one pack.
const RUN_LENGTH: u64 = 1024 * 1024;
/// Files from this length on are handed out first: the thread that gets the longest last would leave the others idle.
const LARGE_FILE_LENGTH: u64 = 8 * 1024 * 1024;
/// How often a thread that waits for a buffer looks whether the save was given up.
const LOOK_UP: Duration = Duration::from_millis(100);

/// A file that is in the manifest-to-be.
pub(super) struct Done {
    pub(super) entry: FileEntry,
    /// What it looked like; `None` if it is to be read next time, too.
    pub(super) stamp: Option<Stamp>,
}

/// What became of the files.
pub(super) struct Output {
    pub(super) files: Vec<Done>,
    pub(super) left_behind: Vec<LeftBehind>,
    pub(super) table: PackTable,
    pub(super) written: Written,
}

/// Why a thread ended early.
#[derive(Debug)]
pub(super) enum Halt {
    /// Another one failed.
    GivenUp,
    /// This one did.
    Failed(SaveError),
}

impl<E: Into<SaveError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Reads `found` and stores what the store lacks; durable once the store has settled.
pub(super) fn write_files(
    data_directory: &Path,
    found: &[Found],
    saving: Saving<'_>,
    table: PackTable,
    known: Known,
    random: &mut dyn Randomness,
) -> Result<Output, SaveError> {
    let bytes = found.iter().map(|file| file.size).sum();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    write_on(workers(bytes, cores), data_directory, found, saving, (table, known), random)
}

fn workers(bytes: u64, cores: usize) -> usize {
    let worthwhile = usize::try_from(bytes / BYTES_FOR_A_WORKER).unwrap_or(MAX_WORKERS);
    worthwhile.min(cores).clamp(1, MAX_WORKERS)
}

pub(super) fn write_on(
    workers: usize,
    data_directory: &Path,
    found: &[Found],
    saving: Saving<'_>,
    (table, known): (PackTable, Known),
    random: &mut dyn Randomness,
) -> Result<Output, SaveError> {
    let shared = Shared {
        data_directory,
        found,
        saving,
        table: Mutex::new(table),
        known: Mutex::new(known),
        random: Mutex::new(random),
        written: Mutex::default(),
        given_up: AtomicBool::new(false),
    };
    let results = if workers == 1 {
        let direct = Direct { saving, spare: Vec::new() };
        let runs = vec![(0..found.len()).collect()];
        Worker::new(&shared, direct).and_then(|worker| worker.run(&runs, &AtomicUsize::new(0)))
    } else {
        shared.run_threads(&runs(found), workers)
    };
    let results = match results {
        Ok(results) => results,
        Err(Halt::Failed(error)) => return Err(error),
        Err(Halt::GivenUp) => {
            unreachable!("a thread gives up when another has failed, and that one is asked first")
        }
    };
    Ok(shared.output(results))
}

/// What the next browser needs first comes first, so that it lies in few packs; then large files, then the others.
fn runs(found: &[Found]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by_key(|index| {
        let file = &found[*index];
        let large = if file.size >= LARGE_FILE_LENGTH { file.size } else { 0 };
        (rank(&file.path), std::cmp::Reverse(large))
    });
    let (mut runs, mut run, mut length) = (Vec::new(), Vec::new(), 0);
    for index in order {
        run.push(index);
        length += found[index].size;
        if length >= RUN_LENGTH {
            runs.push(mem::take(&mut run));
            length = 0;
        }
    }
    runs.push(run);
    runs
}

struct Shared<'a> {
    data_directory: &'a Path,
    found: &'a [Found],
    saving: Saving<'a>,
    table: Mutex<PackTable>,
    known: Mutex<Known>,
    random: Mutex<&'a mut dyn Randomness>,
    written: Mutex<Written>,
    given_up: AtomicBool,
}

/// A thread that panics ends the save as a whole; what it held is of no use to anybody.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Results = Vec<(usize, read::Entry)>;

impl Shared<'_> {
    fn output(self, results: Results) -> Output {
        let (mut files, mut left_behind) = (Vec::with_capacity(results.len()), Vec::new());
        for (index, entry) in results {
            match entry {
                Ok((entry, stamp)) => files.push(Done { entry, stamp }),
                Err(reason) => {
                    left_behind.push(LeftBehind { path: self.found[index].path.clone(), reason });
                }
            }
        }
        let table = self.table.into_inner().unwrap_or_else(PoisonError::into_inner);
        let written = *held(&self.written);
        Output { files, left_behind, table, written }
    }

    fn run_threads(&self, runs: &[Vec<usize>], workers: usize) -> Result<Results, Halt> {
        // Neither channel ever blocks a sender: there are no more buffers than this.
        let buffers = workers + STORERS;
        let (full, sealed) = sync_channel::<NamedObject>(buffers);
        let (empty, pool) = sync_channel::<Vec<u8>>(buffers);
        let (sealed, pool, next) = (Mutex::new(sealed), Mutex::new(pool), AtomicUsize::new(0));
        for _ in 0..buffers {
            empty.send(Vec::new()).expect("the pool has room for all of them");
        }
        let fuse = Fuse::here();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..workers {
                let queued = Queued { full: full.clone(), pool: &pool, given_up: &self.given_up };
                let (next, fuse) = (&next, fuse.clone());
                threads.push(scope.spawn(move || {
                    Fuse::hold(fuse);
                    let _alarm = Alarm(&self.given_up);
                    let result = Worker::new(self, queued).and_then(|worker| worker.run(runs, next));
                    result.inspect_err(|_| self.give_up())
                }));
            }
            for _ in 0..STORERS {
                let (sealed, empty, fuse) = (&sealed, empty.clone(), fuse.clone());
                threads.push(scope.spawn(move || {
                    Fuse::hold(fuse);
                    let _alarm = Alarm(&self.given_up);
                    self.store_all(sealed, &empty).map(|()| Results::new())
                }));
            }
            drop((full, empty));
            collect(threads.into_iter().map(thread::ScopedJoinHandle::join).collect())
        })
    }

    fn give_up(&self) {
        self.given_up.store(true, SeqCst);
    }

    /// Until nobody seals any more. After a failure what still comes is dropped, so that nobody waits.
    fn store_all(
        &self,
        sealed: &Mutex<Receiver<NamedObject>>,
        empty: &SyncSender<Vec<u8>>,
    ) -> Result<(), Halt> {
        let mut result = Ok(());
        loop {
            let Ok(object) = held(sealed).recv() else { return result };
            if !self.given_up.load(Relaxed)
                && let Err(error) = self.saving.store.put_soon(&object)
            {
                self.give_up();
                result = Err(Halt::from(error));
            }
            // Those who would fill it have ended.
            let _ = empty.send(object.into_bytes());
        }
    }
}

/// All threads have ended: a panic goes on, a failure goes before those who only gave up.
fn collect(joined: Vec<Result<Result<Results, Halt>, Box<dyn Any + Send>>>) -> Result<Results, Halt> {
    let (mut results, mut halted) = (Vec::new(), None);
    for thread in joined {
        match thread {
            Err(panic) => resume_unwind(panic),
            Ok(Ok(done)) => results.extend(done),
            Ok(Err(failed @ Halt::Failed(_))) if !matches!(halted, Some(Halt::Failed(_))) => {
                halted = Some(failed);
            }
            Ok(Err(halt)) => halted = halted.or(Some(halt)),
        }
    }
    halted.map_or(Ok(results), Err)
}

/// Makes the others give up if this thread panics.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, SeqCst);
        }
    }
}

/// Where a thread's packs go, and where it gets room for the next one.
trait Outlet {
    fn room(&mut self) -> Result<Vec<u8>, Halt>;
    fn put(&mut self, object: NamedObject) -> Result<(), Halt>;
}

/// To the store at once.
struct Direct<'a> {
    saving: Saving<'a>,
    spare: Vec<u8>,
}

impl Outlet for Direct<'_> {
    fn room(&mut self) -> Result<Vec<u8>, Halt> {
        Ok(mem::take(&mut self.spare))
    }

    fn put(&mut self, object: NamedObject) -> Result<(), Halt> {
        self.saving.store.put_soon(&object)?;
        self.spare = object.into_bytes();
        Ok(())
    }
}

/// To the threads that wait for the store.
struct Queued<'a> {
    full: SyncSender<NamedObject>,
    pool: &'a Mutex<Receiver<Vec<u8>>>,
    given_up: &'a AtomicBool,
}

impl Outlet for Queued<'_> {
    fn room(&mut self) -> Result<Vec<u8>, Halt> {
        loop {
            if self.given_up.load(Relaxed) {
                return Err(Halt::GivenUp);
            }
            match held(self.pool).recv_timeout(LOOK_UP) {
                Ok(buffer) => return Ok(buffer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Halt::GivenUp),
            }
        }
    }

    fn put(&mut self, object: NamedObject) -> Result<(), Halt> {
        self.full.send(object).map_err(|_| Halt::GivenUp)
    }
}

struct Worker<'s, 'a, O> {
    packer: Packer<'s, 'a, O>,
    cutter: Cutter,
}

struct Packer<'s, 'a, O> {
    shared: &'s Shared<'a>,
    outlet: O,
    coder: Coder,
    open: Option<OpenPack>,
}

impl<'s, 'a, O: Outlet> Worker<'s, 'a, O> {
    fn new(shared: &'s Shared<'a>, outlet: O) -> Result<Self, Halt> {
        let coder = Coder::new().map_err(WriteError::Compress)?;
        Ok(Self { packer: Packer { shared, outlet, coder, open: None }, cutter: Cutter::new() })
    }

    /// Takes one run after another until there is none.
    fn run(mut self, runs: &[Vec<usize>], next: &AtomicUsize) -> Result<Results, Halt> {
        let mut results = Vec::new();
        while let Some(run) = runs.get(next.fetch_add(1, Relaxed)) {
            for index in run {
                results.push((*index, self.write(&self.packer.shared.found[*index])?));
            }
        }
        self.packer.close(Fill::Last)?;
        Ok(results)
    }

    fn write(&mut self, found: &Found) -> Result<read::Entry, Halt> {
        let path = self.packer.shared.data_directory.join(&found.path);
        let packer = &mut self.packer;
        let mut sink = |clear: &[u8]| packer.add(clear);
        let entry = match found.class {
            Class::Cleaned(settings) => {
                read::read_settings(&path, found, settings, &mut self.cutter, &mut sink)
            }
            _ => read::read_file(&path, found, &mut self.cutter, &mut sink),
        }?;
        self.packer.shared.saving.meter.done(1, found.size);
        Ok(entry)
    }
}

impl<O: Outlet> Packer<'_, '_, O> {
    /// Where `clear` is, after packing it if it was nowhere. Two threads that come upon the same new chunk at the same time
    /// both pack it, which costs its length and nothing else.
    fn add(&mut self, clear: &[u8]) -> Result<ChunkRef, Halt> {
        if self.shared.given_up.load(Relaxed) {
            return Err(Halt::GivenUp);
        }
        let id = chunk_id(&self.shared.saving.keys.id_key, clear);
        if let Some(known) = held(&self.shared.known).get(&id) {
            return Ok(*known);
        }
        if self.open.as_ref().is_some_and(|pack| !pack.has_room_for(clear)) {
            self.close(Fill::Full)?;
        }
        if self.open.is_none() {
            let room = self.outlet.room()?;
            let seed = PackSeed::draw(&mut **held(&self.shared.random));
            self.open = Some(OpenPack::open(seed, &mut held(&self.shared.table), room));
        }
        let pack = self.open.as_mut().expect("it was just opened");
        let chunk = pack.append(id, clear, &mut self.coder)?;
        held(&self.shared.known).insert(id, chunk);
        Ok(chunk)
    }

    fn close(&mut self, fill: Fill) -> Result<(), Halt> {
        let Some(pack) = self.open.take() else { return Ok(()) };
        let (object, slot, entry) = pack.seal(fill, Kind::Pack, &self.shared.saving.keys.profile);
        held(&self.shared.table).0[slot as usize] = Some(entry);
        held(&self.shared.written).count(&object);
        self.outlet.put(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_for_each_core_if_there_is_enough_to_do() {
        assert_eq!(workers(0, 64), 1);
        assert_eq!(workers(2 * BYTES_FOR_A_WORKER - 1, 64), 1);
        assert_eq!(workers(2 * BYTES_FOR_A_WORKER, 64), 2);
        assert_eq!(workers(u64::MAX, 64), MAX_WORKERS);
        assert_eq!(workers(u64::MAX, 3), 3);
        assert_eq!(workers(u64::MAX, 0), 1);
    }

    /// Buffers of packs, and what each thread holds beside: a MiB that is read, a chunk and its context for zstd.
    #[test]
    fn all_threads_together_stay_below_what_a_save_may_take() {
        let beside = 3 << 20;
        let most = (MAX_WORKERS + STORERS) * crate::pack::PACK_LENGTH + MAX_WORKERS * beside;
        assert!(most <= 96 << 20, "{most} of 128 MiB; the rest is for lists of files and chunks");
    }
}
