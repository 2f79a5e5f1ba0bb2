//! How full the data directory's file system is, asked so that one that hangs costs a thread and not the node.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::statvfs::statvfs;
use tokio::task::{JoinHandle, spawn_blocking};

/// A local disk answers in microseconds. One on a network that takes longer is "not known" this time.
const DEADLINE: Duration = Duration::from_millis(500);

/// The file system that holds a path.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    /// Asked, and not answered yet: nobody asks a second time meanwhile.
    asking: Option<JoinHandle<Option<f64>>>,
}

impl Disk {
    /// Asks nothing yet.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), asking: None }
    }

    /// The used share as `df` shows it; `None` when the file system does not say, or not in time.
    pub async fn used(&mut self) -> Option<f64> {
        let path = self.path.clone();
        let asking = self.asking.get_or_insert_with(|| spawn_blocking(move || used(&path)));
        let answer = tokio::time::timeout(DEADLINE, asking).await.ok()?;
        self.asking = None;
        answer.ok().flatten()
    }
}

fn used(path: &Path) -> Option<f64> {
    let found = statvfs(path).ok()?;
    share(found.blocks(), found.blocks_free(), found.blocks_available())
}

/// Blocks that only root may use count neither as used nor as free.
fn share(all: u64, free: u64, available: u64) -> Option<f64> {
    let used = all.saturating_sub(free);
    let usable = used.saturating_add(available);
    (usable > 0).then(|| used as f64 / usable as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_used_share_is_what_df_shows() {
        assert_eq!(share(100, 100, 95), Some(0.0));
        assert_eq!(share(100, 50, 50), Some(0.5));
        // Five blocks are root's.
        assert_eq!(share(100, 5, 0), Some(1.0));
        assert_eq!(share(0, 0, 0), None, "a file system without blocks, such as /proc");
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_not_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let used = Disk::of(directory.path()).used().await.expect("a disk");
        assert!((0.0..=1.0).contains(&used), "{used}");
        assert_eq!(Disk::of(&directory.path().join("gone")).used().await, None);
    }
}
