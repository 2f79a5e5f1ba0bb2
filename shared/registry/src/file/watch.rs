//! A file under watch: looked at each second, since that works on every file system and through every symbolic link,
//! and read only when it is another than before.

use std::{
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::time::{sleep, timeout};

use super::{FileCatalog, READ_DEADLINE};
use crate::{
    catalog::{Change, ChangeStream},
    changes::{Known, Stepping, steps},
    error::{CatalogError, Cause},
    retry::Backoff,
};

/// How often the file is looked at. Longer: an edit seems to have no effect.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a file has to stay as it is before it is read. Longer: edits are seen later; shorter: a file that somebody
/// is still writing is taken for all there is.
const SETTLE: Duration = Duration::from_millis(200);
/// How often that is waited for. A file that never rests is read all the same.
const SETTLE_LOOKS: usize = 10;
/// A file that changed this recently may change again and look the same: file systems count time in steps, of two
/// seconds on the coarsest.
const TIME_STEP: Duration = Duration::from_secs(2);

/// What tells one content of a path from the next: another file in its place, or another length or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// Of the file's own record: moved even by those who set the time of modification themselves.
    changed: (i64, i64),
}

impl Stamp {
    async fn of(path: &Path) -> Option<Self> {
        let metadata = timeout(READ_DEADLINE, tokio::fs::metadata(path)).await.ok()?.ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// That of a file which nobody is writing.
    async fn at_rest(path: &Path, known: Option<Self>) -> Option<Self> {
        let mut stamp = Self::of(path).await;
        for _ in 0..SETTLE_LOOKS {
            if stamp.is_none() || stamp == known {
                break;
            }
            sleep(SETTLE).await;
            let before = std::mem::replace(&mut stamp, Self::of(path).await);
            if stamp == before {
                break;
            }
        }
        stamp
    }

    /// Whether the next change is sure to make another stamp.
    fn is_telling(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let latest = u64::try_from(self.modified.0.max(self.changed.0)).unwrap_or(0);
        now.saturating_sub(latest) > TIME_STEP.as_secs()
    }
}

struct Watch {
    catalog: FileCatalog,
    read: Option<Stamp>,
    known: Known,
    /// The last error, so that a broken file is complained of once.
    told: Option<CatalogError>,
    backoff: Backoff,
    pause: Duration,
}

pub(super) fn changes(catalog: FileCatalog) -> ChangeStream {
    let watch = Watch {
        catalog,
        read: None,
        known: Known::default(),
        told: None,
        backoff: Backoff::default(),
        pause: Duration::ZERO,
    };
    steps(watch)
}

impl Stepping for Watch {
    type Item = Change;

    fn take_pause(&mut self) -> Duration {
        std::mem::take(&mut self.pause)
    }

    async fn step(&mut self) -> Vec<Result<Change, CatalogError>> {
        self.pause = POLL_INTERVAL;
        let stamp = Stamp::at_rest(self.catalog.path(), self.read).await;
        if stamp.is_some() && stamp == self.read {
            // A file that is as broken as before says nothing.
            if self.told.is_none() {
                self.catalog.meter.heard();
            }
            return Vec::new();
        }
        // Taken before reading: what changes meanwhile is another stamp at the next look.
        self.read = stamp.filter(|stamp| stamp.is_telling(SystemTime::now()));
        match self.catalog.read().await {
            Ok(listing) => {
                self.catalog.meter.heard();
                self.succeeded();
                self.known.learn(listing).into_iter().map(Ok).collect()
            }
            Err(CatalogError::One { cause: Cause::DoesNotExist(_), .. }) => {
                self.succeeded();
                self.known.learn_absence().into_iter().map(Ok).collect()
            }
            Err(error) => self.failed(error),
        }
    }
}

impl Watch {
    fn succeeded(&mut self) {
        self.told = None;
        self.backoff.succeeded();
    }

    fn failed(&mut self, error: CatalogError) -> Vec<Result<Change, CatalogError>> {
        // A disk that hangs is not asked each second; a file that somebody is about to mend is.
        if error.is_transient() {
            self.pause = self.backoff.failed();
        }
        // What was not read may be read another time, as it stands; what was understood as nonsense stays nonsense.
        let is_read =
            matches!(error, CatalogError::One { cause: Cause::Syntax { .. } | Cause::TooLarge { .. }, .. });
        self.read = self.read.filter(|_| is_read);
        if self.told.as_ref() == Some(&error) {
            return Vec::new();
        }
        self.told = Some(error.clone());
        vec![Err(error)]
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tempfile::TempDir;

    use super::*;
    use crate::{figures::Figures, options::Options};

    const LONG_AGO: Duration = Duration::from_secs(3600);

    /// A file with one node of that id.
    fn write(path: &Path, id: &str) {
        let text = format!("[[nodes]]\nid = \"{id}\"\naddress = \"127.0.0.1\"\nport = 1\n");
        std::fs::write(path, text).unwrap();
    }

    fn age(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - LONG_AGO).unwrap();
    }

    fn requests(figures: &Figures) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        figures.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("cbrowse_registry_requests_total{"));
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
    }

    fn watch(path: &Path, figures: &Figures) -> Watch {
        let options = Options::default().with_figures(figures.clone());
        Watch {
            catalog: FileCatalog::new(path, &options),
            read: None,
            known: Known::default(),
            told: None,
            backoff: Backoff::default(),
            pause: Duration::ZERO,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_stays_broken_says_nothing_and_one_that_was_not_read_is_read_again() {
        let (directory, figures) = (TempDir::new().unwrap(), Figures::default());
        let path = directory.path().join("nodes.toml");
        std::fs::write(&path, "[[nodes").unwrap();
        let mut watch = watch(&path, &figures);
        assert!(matches!(&watch.step().await[..], [Err(_)]));
        // As if it had been read long after it was written.
        watch.read = Stamp::of(&path).await;
        for _ in 0..5 {
            assert_eq!(watch.step().await, []);
        }
        assert_eq!((watch.catalog.meter.last_heard(), &*requests(&figures)), (None, "1"));
        write(&path, "a");
        assert!(matches!(&watch.step().await[..], [Ok(Change::Reset(_))]));
        assert!(watch.catalog.meter.last_heard().is_some());
        // A disk that did not answer in time; the file is the same one afterwards.
        watch.read = Stamp::of(&path).await;
        let told = watch.failed(Cause::Deadline(READ_DEADLINE).of(&watch.catalog.uri));
        assert!(matches!(&told[..], [Err(_)]) && watch.read.is_none(), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_stays_as_it_is_is_read_once() {
        let (directory, figures) = (TempDir::new().unwrap(), Figures::default());
        let path = directory.path().join("nodes.toml");
        write(&path, "a");
        let mut watch = watch(&path, &figures);
        assert!(matches!(&watch.step().await[..], [Ok(Change::Reset(_))]));
        // As if it had been read long after it was written.
        watch.read = Stamp::of(&path).await;
        for _ in 0..5 {
            assert_eq!(watch.step().await, []);
        }
        assert_eq!(requests(&figures), "1");
        // The same length, and a time of modification in the past.
        write(&path, "b");
        age(&path);
        let changes = watch.step().await;
        assert!(matches!(&changes[..], [Ok(Change::Remove(_)), Ok(Change::Add(_))]), "{changes:?}");
        assert_eq!(requests(&figures), "2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_just_written_is_read_again_since_its_time_proves_nothing() {
        let (directory, figures) = (TempDir::new().unwrap(), Figures::default());
        let path = directory.path().join("nodes.toml");
        write(&path, "a");
        let mut watch = watch(&path, &figures);
        assert_eq!(watch.step().await.len(), 1);
        assert_eq!(watch.step().await, [], "read, and nothing to tell");
        assert_eq!(requests(&figures), "2");
    }

    #[test]
    fn a_stamp_is_telling_once_time_has_moved_on() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let stamp = Stamp { device: 1, inode: 1, length: 1, modified: (90, 0), changed: (100, 0) };
        for (now, telling) in [(99, false), (100, false), (102, false), (103, true)] {
            assert_eq!(stamp.is_telling(at(now)), telling, "{now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_file_is_complained_of_once_and_its_mending_is_seen() {
        let (directory, figures) = (TempDir::new().unwrap(), Figures::default());
        let path = directory.path().join("nodes.toml");
        write(&path, "a");
        let mut watch = watch(&path, &figures);
        watch.step().await;
        std::fs::write(&path, "[[nodes]]\nid = ").unwrap();
        assert!(matches!(&watch.step().await[..], [Err(_)]));
        for _ in 0..20 {
            assert_eq!(watch.step().await, []);
            assert_eq!(watch.pause, POLL_INTERVAL, "mending is seen at once");
        }
        write(&path, "a");
        assert_eq!(watch.step().await, [], "what was known is so again");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(watch.step().await, [Ok(Change::DoesNotExist)]);
        write(&path, "a");
        assert!(matches!(&watch.step().await[..], [Ok(Change::Reset(_))]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_is_waited_for() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("nodes.toml");
        write(&path, "a");
        let writing = async {
            for length in 2..=4 {
                sleep(SETTLE / 2).await;
                write(&path, &"b".repeat(length));
            }
        };
        let (stamp, ()) = tokio::join!(Stamp::at_rest(&path, None), writing);
        assert_eq!(stamp, Stamp::of(&path).await, "the last of them");
    }
}
