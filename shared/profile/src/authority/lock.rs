//! One process at a time changes a profile's directory: an advisory lock on its `lock` file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread,
    time::Duration,
};

use super::{AuthorityError, disk};

/// How long another process is waited for. It holds the lock for a few writes of small files; whoever holds it
/// longer hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the lock is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// Released when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "held for its lock")] File);

pub(crate) fn hold(directory: &Path) -> Result<Held, AuthorityError> {
    let path = directory.join("lock");
    let failed = |source| disk("lock", &path, source);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        match file.try_lock() {
            Ok(()) => return Ok(Held(file)),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    Err(AuthorityError::Busy)
}
