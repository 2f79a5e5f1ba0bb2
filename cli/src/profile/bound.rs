//! Whether a browser encrypted cookies or logins with its desktop's keyring: its databases are searched, each again only
//! when it looks different.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use cbrowse_profile::stat_cache::RACY_WINDOW;
use serde::{Deserialize, Serialize};

/// Where Chromium keeps what it encrypts.
const ENCRYPTED: [&str; 3] = ["Default/Cookies", "Default/Network/Cookies", "Default/Login Data"];
/// Bytes of each that are searched; a longer one holds what is looked for at its start, too.
const MAX_SEARCHED: u64 = 64 * 1024 * 1024;
/// What begins a value that Chromium encrypted with a key of the desktop's keyring.
const OF_KEYRING: &[u8; 3] = b"v11";
/// Bytes that are read at once. Fewer cost a call each; more are memory that a search needs for nothing.
const BLOCK: usize = 64 * 1024;

/// What was found in the databases of one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searched(BTreeMap<String, Finding>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Finding {
    look: Look,
    /// It holds a value that no other machine can read.
    bound: bool,
    /// A later change must show in its look.
    settled: bool,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// `None` where there is no such file; links and special files are none.
    fn at(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn is_settled(&self, now: u64) -> bool {
        let limit = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(RACY_WINDOW);
        self.modified.0 < limit && self.changed.0 < limit
    }
}

impl Searched {
    /// What is in `directory` at `now`, seconds since the Unix epoch. A database that looks as it did `before` is not read.
    pub fn search(directory: &Path, before: &Self, now: u64) -> Self {
        let mut found = BTreeMap::new();
        for name in ENCRYPTED {
            let path = directory.join(name);
            let Some(look) = Look::at(&path) else { continue };
            let known = before.0.get(name).filter(|known| known.settled && known.look == look);
            let finding = match known {
                Some(known) => known.clone(),
                // One that cannot be read now is searched again by the next sync.
                None => match File::open(&path).and_then(|file| holds(file.take(MAX_SEARCHED))) {
                    Ok(bound) => Finding { look, bound, settled: look.is_settled(now) },
                    Err(_) => continue,
                },
            };
            found.insert(name.to_owned(), finding);
        }
        Self(found)
    }

    /// Such values stay unreadable wherever else the profile is opened.
    pub fn is_bound(&self) -> bool {
        self.0.values().any(|finding| finding.bound)
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn holds(mut content: impl Read) -> io::Result<bool> {
    let mut block = vec![0; BLOCK];
    let mut kept = 0;
    loop {
        let read = match content.read(&mut block[kept..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(false);
        }
        let filled = kept + read;
        if block[..filled].windows(OF_KEYRING.len()).any(|window| window == OF_KEYRING) {
            return Ok(true);
        }
        // What is looked for may begin at the end of a block.
        kept = filled.min(OF_KEYRING.len() - 1);
        block.copy_within(filled - kept..filled, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long after any file that is written now.
    const LATER: u64 = i64::MAX as u64;

    fn written(content: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("Default/Network")).unwrap();
        fs::write(directory.path().join("Default/Network/Cookies"), content).unwrap();
        directory
    }

    #[test]
    fn values_of_a_keyring_are_noticed() {
        for (content, expected) in [("SQLite\0v10abc", false), ("SQLite\0v11abc", true), ("v1", false)] {
            let directory = written(content.as_bytes());
            let found = Searched::search(directory.path(), &Searched::default(), LATER);
            assert_eq!(found.is_bound(), expected, "{content:?}");
        }
    }

    #[test]
    fn the_border_of_two_blocks_hides_nothing() {
        for at in BLOCK - 4..BLOCK + 4 {
            let mut content = vec![b'v'; at];
            content.extend_from_slice(b"v11");
            content.extend_from_slice(&[b'1'; 100]);
            assert!(holds(&content[..]).unwrap(), "{at}");
            content[at + 1] = b'0';
            assert!(!holds(&content[..]).unwrap(), "{at}");
        }
    }

    #[test]
    fn what_looks_as_before_is_not_read_again_unless_it_was_new_then() {
        let directory = written(b"SQLite\0v11abc");
        let old = Searched::search(directory.path(), &Searched::default(), LATER);
        // Another content with the old look: only who reads it knows.
        let lie = |settled| {
            let mut lie = old.clone();
            for finding in lie.0.values_mut() {
                (finding.bound, finding.settled) = (false, settled);
            }
            lie
        };
        assert!(!Searched::search(directory.path(), &lie(true), LATER).is_bound(), "it was not read");
        assert!(Searched::search(directory.path(), &lie(false), LATER).is_bound(), "it was read");
        let soon = Searched::search(directory.path(), &Searched::default(), 0);
        assert!(soon.0.values().all(|finding| !finding.settled), "it was written after now");
        fs::write(directory.path().join("Default/Network/Cookies"), b"longer than it was before").unwrap();
        assert!(!Searched::search(directory.path(), &old, LATER).is_bound(), "it looks different");
    }

    #[test]
    fn a_link_or_nothing_is_not_followed() {
        let directory = written(b"v11");
        let cookies = directory.path().join("Default/Network/Cookies");
        fs::rename(&cookies, directory.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &cookies).unwrap();
        assert!(Searched::search(directory.path(), &Searched::default(), LATER).is_empty());
    }
}
