//! A user data directory such as Chromium leaves it, made from a seed: databases that SQLite opens, logs with LevelDB's blocks,
//! settings, sessions, what sites store, and the caches around them, which never travel.
//!
//! Nothing in it is anybody's. The same shape gives the same names and, but for what SQLite decides by itself, the same bytes.

mod contents;
mod databases;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use self::contents::{Kind, fill};
use crate::seeded::Seeded;

/// The database in which [`change_row`] changes a row.
pub const CHANGED_DATABASE: &str = "Default/Web Data";
/// What that database holds, in bytes: the 4 MB that the issue speaks of.
const CHANGED_DATABASE_LENGTH: u64 = 4 * 1024 * 1024;
/// Sites that keep something.
const SITES: usize = 120;

/// Directories of [`make`] that never travel, below the data directory.
pub const CACHES: [&str; 8] = [
    "Default/Cache",
    "Default/Code Cache",
    "Default/GPUCache",
    "Default/optimization_guide_hint_cache_store",
    "GrShaderCache",
    "Safe Browsing",
    "component_crx_cache",
    "Crash Reports",
];

/// How large a directory is made, and of what.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of all files together, within a few per cent.
    pub bytes: u64,
    /// Files; at least 200.
    pub files: usize,
    /// How many per cent of the bytes, and of the files, are no cache: 10 to 100.
    pub travels: u8,
    /// Decides everything else.
    pub seed: u64,
}

impl Default for Shape {
    /// The profile that the issue's figures are for; of real ones about a third is no cache.
    fn default() -> Self {
        Self { bytes: 470_000_000, files: 5_000, travels: 35, seed: 1 }
    }
}

/// What was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are no cache.
    pub travelling_files: usize,
    /// Their bytes.
    pub travelling_bytes: u64,
}

/// Makes it in `directory`, which must not be there yet.
pub fn make(directory: &Path, shape: &Shape) -> anyhow::Result<Made> {
    ensure!(shape.files >= 200 && (10..=100).contains(&shape.travels), "no such profile: {shape:?}");
    ensure!(shape.bytes >= 20_000_000, "a profile has 20 MB at least, {CHANGED_DATABASE} alone has 4");
    fs::create_dir(directory).with_context(|| format!("make {}", directory.display()))?;
    let mut making =
        Making { directory: directory.into(), seed: shape.seed, made: Made::default(), count: 0 };
    let own = shape.bytes / 100 * u64::from(shape.travels);
    let own_files = shape.files * usize::from(shape.travels) / 100;
    making.settings()?;
    making.databases(own)?;
    let left = own.saturating_sub(making.made.bytes);
    making.sites(own_files.saturating_sub(making.made.files), left)?;
    (making.made.travelling_files, making.made.travelling_bytes) = (making.made.files, making.made.bytes);
    making.caches(shape.files - making.made.files, shape.bytes - own)?;
    Ok(making.made)
}

/// Changes one row of [`CHANGED_DATABASE`], to something else for each `number`.
pub fn change_row(directory: &Path, number: u32) -> anyhow::Result<()> {
    databases::change_row(&directory.join(CHANGED_DATABASE), number)
}

/// Adds one file of some 20 KB to what a site stores, a new one for each `number`.
pub fn add_file(directory: &Path, number: u32) -> anyhow::Result<()> {
    let path = directory.join(format!("{}/added-{number}.log", site_database(0)));
    let mut bytes = Vec::new();
    fill(&mut bytes, Kind::Log, 20_000, &mut Seeded::new(u64::from(number), u64::MAX));
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
}

fn site_database(site: usize) -> String {
    format!("Default/IndexedDB/https_site{site}.example_0.indexeddb.leveldb")
}

struct Making {
    directory: PathBuf,
    seed: u64,
    made: Made,
    /// Each file has a stream of chance of its own.
    count: u64,
}

impl Making {
    fn write(&mut self, path: &str, kind: Kind, length: u64) -> anyhow::Result<()> {
        self.count += 1;
        let mut bytes = Vec::new();
        fill(&mut bytes, kind, usize::try_from(length)?, &mut Seeded::new(self.seed, self.count));
        self.put(path, &bytes)
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let full = self.path(path)?;
        fs::write(&full, bytes).with_context(|| format!("write {}", full.display()))?;
        self.count_file(bytes.len() as u64);
        Ok(())
    }

    fn path(&self, path: &str) -> anyhow::Result<PathBuf> {
        let full = self.directory.join(path);
        fs::create_dir_all(full.parent().context("a file has a directory")?)?;
        Ok(full)
    }

    fn count_file(&mut self, length: u64) {
        self.made.files += 1;
        self.made.bytes += length;
    }

    fn settings(&mut self) -> anyhow::Result<()> {
        self.put("Last Version", b"156.0.7000.0")?;
        self.put(
            "Local State",
            br#"{"browser":{"enabled_labs_experiments":[]},"profile":{"last_used":"Default"}}"#,
        )?;
        self.put(
            "Default/Preferences",
            br#"{"session":{"restore_on_startup":1},"profile":{"name":"Person 1"}}"#,
        )?;
        self.write("Default/Bookmarks", Kind::Json, 300_000)?;
        for number in 0..4 {
            self.write(&format!("Default/Sessions/Session_1340000000{number}"), Kind::Log, 400_000)?;
            self.write(&format!("Default/Sessions/Tabs_1340000000{number}"), Kind::Log, 100_000)?;
        }
        Ok(())
    }

    /// About two fifths of what travels.
    fn databases(&mut self, own: u64) -> anyhow::Result<()> {
        // In a small profile it is no larger than a quarter.
        let changed = CHANGED_DATABASE_LENGTH.min(own / 4);
        let large = own.saturating_sub(changed);
        for (path, length) in [
            (CHANGED_DATABASE, changed),
            ("Default/History", large / 6),
            ("Default/Favicons", large / 6),
            ("Default/Cookies", large / 60),
            ("Default/Login Data", large / 300),
            ("Default/Top Sites", large / 60),
        ] {
            self.count += 1;
            let full = self.path(path)?;
            let length = databases::make(&full, length, &mut Seeded::new(self.seed, self.count))?;
            self.count_file(length);
        }
        Ok(())
    }

    /// What sites store: databases of their own, scripts and answers of service workers.
    fn sites(&mut self, files: usize, bytes: u64) -> anyhow::Result<()> {
        let mut lengths = Lengths::new(files, bytes, self.seed, 1);
        for number in 0..files {
            let site = number % SITES;
            let (path, kind) = match number % 5 {
                0 => (format!("{}/{number:06}.log", site_database(site)), Kind::Log),
                1 => (format!("{}/{number:06}.ldb", site_database(site)), Kind::Log),
                2 => (format!("Default/Service Worker/ScriptCache/{number:016x}_0"), Kind::Script),
                3 => {
                    (format!("Default/Service Worker/CacheStorage/{site:040x}/{number:016x}_0"), Kind::Media)
                }
                _ => (format!("Default/Local Storage/leveldb/{number:06}.ldb"), Kind::Log),
            };
            self.write(&path, kind, lengths.next())?;
        }
        Ok(())
    }

    fn caches(&mut self, files: usize, bytes: u64) -> anyhow::Result<()> {
        let mut lengths = Lengths::new(files, bytes, self.seed, 2);
        for number in 0..files {
            let directory = CACHES[if number % 4 == 0 { 1 + (number / 4) % (CACHES.len() - 1) } else { 0 }];
            let kind = if number % 3 == 0 { Kind::Script } else { Kind::Media };
            self.write(&format!("{directory}/f_{number:06x}"), kind, lengths.next())?;
        }
        Ok(())
    }
}

/// Many small files, few large ones, a given sum.
struct Lengths {
    files: usize,
    bytes: u64,
    chance: Seeded,
}

impl Lengths {
    fn new(files: usize, bytes: u64, seed: u64, stream: u64) -> Self {
        Self { files, bytes, chance: Seeded::new(seed, u64::MAX - stream) }
    }

    fn next(&mut self) -> u64 {
        let mean = self.bytes / self.files.max(1) as u64;
        self.files = self.files.saturating_sub(1);
        let chance = self.chance.next();
        // Each doubling is half as likely, up to the seventh: on average that is four times the unit, which is drawn from 0
        // to 2 in steps of 1/32,768.
        let doublings = (chance >> 16).trailing_zeros().min(7);
        let drawn = ((mean << doublings) / 4).saturating_mul(chance & 0xffff) >> 15;
        let length = if self.files == 0 { self.bytes } else { drawn.min(self.bytes) };
        self.bytes -= length;
        length
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn small(travels: u8) -> Shape {
        Shape { bytes: 24_000_000, files: 300, travels, seed: 7 }
    }

    fn tree(root: &Path) -> BTreeMap<PathBuf, u64> {
        let (mut found, mut waiting) = (BTreeMap::new(), vec![root.to_path_buf()]);
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::metadata(&path).unwrap().len());
            }
        }
        found
    }

    #[test]
    fn a_directory_has_the_shape_that_was_asked_for() {
        let ground = tempfile::tempdir().unwrap();
        let root = ground.path().join("data");
        let made = make(&root, &small(50)).unwrap();
        let files = tree(&root);
        assert_eq!((made.files, made.bytes), (files.len(), files.values().sum()));
        assert_eq!(made.files, 300);
        assert!((22_000_000..26_000_000).contains(&made.bytes), "{made:?}");
        let is_cache = |path: &Path| CACHES.iter().any(|cache| path.starts_with(cache));
        let own: u64 = files.iter().filter(|(path, _)| !is_cache(path)).map(|(_, length)| length).sum();
        assert_eq!(own, made.travelling_bytes);
        assert!((0.4..0.6).contains(&(own as f64 / made.bytes as f64)), "{made:?}");
    }

    #[test]
    fn one_seed_makes_one_directory_and_mutations_change_one_file() {
        let ground = tempfile::tempdir().unwrap();
        let (one, other) = (ground.path().join("one"), ground.path().join("other"));
        make(&one, &small(100)).unwrap();
        make(&other, &small(100)).unwrap();
        assert_eq!(tree(&one), tree(&other));
        for path in ["Default/Bookmarks", "Default/Local Storage/leveldb/000004.ldb", CHANGED_DATABASE] {
            assert!(fs::read(one.join(path)).unwrap() == fs::read(other.join(path)).unwrap(), "{path}");
        }
        change_row(&one, 1).unwrap();
        add_file(&one, 1).unwrap();
        let (before, after) = (tree(&other), tree(&one));
        assert_eq!(after.len(), before.len() + 1);
        assert_eq!(after[Path::new(CHANGED_DATABASE)], before[Path::new(CHANGED_DATABASE)]);
        let pages = |root: &Path| -> Vec<Vec<u8>> {
            fs::read(root.join(CHANGED_DATABASE)).unwrap().chunks(4096).map(<[u8]>::to_vec).collect()
        };
        let changed = pages(&one).iter().zip(pages(&other)).filter(|(a, b)| **a != *b).count();
        assert!((1..=3).contains(&changed), "{changed} pages");
    }
}
