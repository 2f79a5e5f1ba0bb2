//! How far a long piece of work is: counted by those who do it, looked at by whoever draws it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of one piece of work. Shared by reference among threads; cheap enough to be kept always.
#[derive(Debug, Default)]
pub struct Meter {
    files: AtomicU64,
    bytes: AtomicU64,
    all_files: AtomicU64,
    all_bytes: AtomicU64,
}

/// What a meter shows at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Files that are done.
    pub files: u64,
    /// Bytes that are done.
    pub bytes: u64,
    /// Files there are; 0 while nobody knows.
    pub all_files: u64,
    /// Bytes there are; 0 while nobody knows.
    pub all_bytes: u64,
}

impl Meter {
    /// There is this much more to do.
    pub fn expect(&self, files: u64, bytes: u64) {
        self.all_files.fetch_add(files, Relaxed);
        self.all_bytes.fetch_add(bytes, Relaxed);
    }

    /// This much more is done.
    pub fn done(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// What it shows now. The four may be of slightly different moments.
    pub fn read(&self) -> Reading {
        Reading {
            files: self.files.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            all_files: self.all_files.load(Relaxed),
            all_bytes: self.all_bytes.load(Relaxed),
        }
    }
}
