//! Sealing a Chromium user data directory of this machine as a profile's next generation.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use cbrowse_profile::{
    authority::{AuthorityError, HeadRef},
    extensions::{Choice, Word},
    head::Closing,
    meter::Meter,
    object::{ObjectName, ObjectStore, StoreError},
    save::{Memory, SaveMeta, SaveStats, Saving, save_allowing},
    scan::{LeftBehind, scan},
    secret::SystemRandom,
};
use serde_json::{Value, json};

use super::{extensions, words};
use crate::{
    credentials::seconds,
    failure::{Exit, Failure},
    output::Output,
    profile::{OpenProfile, chain, source::Source, store_trouble},
};

/// Where Chromium keeps what it encrypts.
const ENCRYPTED: [&str; 3] = ["Default/Cookies", "Default/Network/Cookies", "Default/Login Data"];
/// Longest of these that is searched, in bytes; a larger one holds what is looked for at its start, too.
const MAX_SEARCHED: u64 = 64 * 1024 * 1024;
/// What begins a value that Chromium encrypted with a key of the desktop's keyring.
const OF_KEYRING: &[u8] = b"v11";
/// Longest `Last Version`, and longest host name, that is read.
const MAX_LABEL: usize = 128;

/// A directory that can be sealed.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// A browser works in it now.
    pub(super) in_use: bool,
    /// What the user says of its extensions, if anything was said now.
    pub(super) extensions: Option<Choice>,
}

/// What was sealed, or would be.
pub(super) struct Sealed {
    pub(super) from: PathBuf,
    /// `None` when it was only tried.
    pub(super) head: Option<HeadRef>,
    pub(super) stats: SaveStats,
    pub(super) left_behind: Vec<LeftBehind>,
}

impl Directory {
    /// Looks at a directory, and refuses one that holds no profile.
    pub(super) fn look(path: &Path) -> Result<Self, Failure> {
        let path = fs::canonicalize(path).map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            Failure::new(Exit::Profile, "no_source", message)
                .hint("name a Chromium user data directory, such as ~/.config/chromium")
        })?;
        if !path.is_dir() {
            let message = format!("{} is not a directory", path.display());
            return Err(Failure::new(Exit::Profile, "no_source", message)
                .hint("name a Chromium user data directory, such as ~/.config/chromium"));
        }
        let scan = scan(&path).map_err(|error| {
            let (code, hint) = store_trouble(&error);
            Failure::new(Exit::Profile, code, chain(&error)).hint(hint)
        })?;
        if scan.files.iter().all(|file| file.size == 0) {
            return Err(no_profile_in(&path));
        }
        let in_use = is_in_use(&path);
        Ok(Self { path, in_use, extensions: None })
    }

    /// Seals it; blocks.
    pub(super) fn seal(&self, profile: &OpenProfile, output: &Output) -> Result<Sealed, Failure> {
        if self.in_use {
            output.warn(format_args!(
                "a browser is working in {}: this generation is as a crash would leave it; close the browser and sync again",
                self.path.display()
            ));
        }
        if is_bound_to_keyring(&self.path) {
            output.warn(
                "the browser encrypted cookies or logins with this desktop's keyring; no other machine can read those, so \
                 sessions ask for them again",
            );
        }
        if let (Some(_), Some(word)) = (&self.extensions, self.word(profile, output)?) {
            profile.authority().allow_extensions(&word)?;
        }
        let meter = Arc::new(Meter::default());
        let drawn = output.follow("sealing", meter.clone());
        let (authority, keys, meta) = (profile.authority(), profile.keys(), self.meta());
        let store = authority.store();
        let synced = authority.sync_through(&self.path, keys, &meta, store, &meter, &mut SystemRandom)?;
        drop(drawn);
        let source = Source { directory: self.path.clone(), head: synced.head.clone() };
        if let Err(error) = source.remember(authority.directory()) {
            output.warn(format_args!("cannot remember where this profile comes from: {error}"));
        }
        Ok(Sealed {
            from: self.path.clone(),
            head: Some(synced.head),
            stats: synced.stats,
            left_behind: synced.left_behind,
        })
    }

    /// What sealing would make; nothing is kept.
    pub(super) fn try_out(&self, profile: &OpenProfile, output: &Output) -> Result<Sealed, Failure> {
        let (authority, keys) = (profile.authority(), profile.keys());
        let (base, sealing, store) =
            (authority.snapshot(keys)?, keys.sealing(), Discarding(authority.store()));
        let saving = Saving {
            keys: &sealing,
            base: base.as_ref(),
            store: &store,
            meta: &self.meta(),
            meter: &Meter::default(),
        };
        let word = self.word(profile, output)?;
        let saved =
            save_allowing(&self.path, saving, word.as_ref(), &mut Memory::default(), &mut SystemRandom)
                .map_err(AuthorityError::from)?;
        Ok(Sealed { from: self.path.clone(), head: None, stats: saved.stats, left_behind: saved.left_behind })
    }

    fn word(&self, profile: &OpenProfile, output: &Output) -> Result<Option<Word>, Failure> {
        extensions::word(self.extensions.as_ref(), profile, &self.path, output)
    }

    fn meta(&self) -> SaveMeta {
        SaveMeta {
            now: seconds(SystemTime::now()),
            device: first_line(Path::new("/proc/sys/kernel/hostname")),
            browser_version: first_line(&self.path.join("Last Version")),
            closing: if self.in_use { Closing::Crash } else { Closing::Clean },
        }
    }
}

impl Sealed {
    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "from": self.from,
            "generation": self.head.as_ref().map(|head| head.generation),
            "changed": self.stats.changed,
            "files": self.stats.files,
            "bytes": self.stats.bytes,
            "new_objects": self.stats.new_objects,
            "sealed_bytes": self.stats.sent_bytes,
            "left_behind": self.left_behind,
        })
    }

    /// One sentence for a person.
    pub(super) fn sentence(&self) -> String {
        let SaveStats { files, bytes, new_objects, sent_bytes, changed } = self.stats;
        let from = self.from.display();
        let all = format!("{}, {}", words::count(files, "file"), words::size(bytes));
        let objects = format!("{}, {}", words::count(new_objects, "new object"), words::size(sent_bytes));
        match (&self.head, changed) {
            (Some(head), true) => {
                format!("sealed as generation {}: {all} from {from}; {objects}", head.generation)
            }
            (None, true) => format!("would seal {all} from {from}; about {objects}"),
            (_, false) => format!("nothing changed in {from}: {all}"),
        }
    }
}

fn no_profile_in(path: &Path) -> Failure {
    let is_inner = path.join("Preferences").exists() && path.parent().is_some_and(is_data_directory);
    let hint = if is_inner && path.ends_with("Default") {
        format!(
            "that is the profile inside; name the directory around it: {}",
            path.parent().unwrap_or(path).display()
        )
    } else if is_inner {
        "that is one of several profiles; only the one in the directory Default can be taken".into()
    } else {
        "name a Chromium user data directory: it holds \"Local State\" and a directory \"Default\"".into()
    };
    let message = format!("{} holds no browser profile; nothing was made", path.display());
    Failure::new(Exit::Profile, "no_browser_profile", message).hint(hint)
}

fn is_data_directory(path: &Path) -> bool {
    path.join("Local State").exists() || path.join("Last Version").exists()
}

/// Chromium holds a link `HOST-PID` while it runs; one that a crash left names a process that is gone.
fn is_in_use(path: &Path) -> bool {
    let Ok(target) = fs::read_link(path.join("SingletonLock")) else { return false };
    let text = target.to_string_lossy();
    let Some((host, pid)) = text.rsplit_once('-') else { return false };
    let elsewhere = host != first_line(Path::new("/proc/sys/kernel/hostname"));
    elsewhere || Path::new("/proc").join(pid).exists()
}

/// Such values stay unreadable wherever else the profile is opened.
fn is_bound_to_keyring(path: &Path) -> bool {
    let holds = |file: &&'static str| {
        let mut bytes = Vec::new();
        let read =
            fs::File::open(path.join(file)).and_then(|file| file.take(MAX_SEARCHED).read_to_end(&mut bytes));
        read.is_ok() && bytes.windows(OF_KEYRING.len()).any(|window| window == OF_KEYRING)
    };
    ENCRYPTED.iter().any(holds)
}

/// Empty where there is none.
fn first_line(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    cbrowse_protocol::node::printable(text.lines().next().unwrap_or_default().trim(), MAX_LABEL)
}

/// Takes what is put and keeps nothing of it.
struct Discarding<'a>(&'a dyn ObjectStore);

impl ObjectStore for Discarding<'_> {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.0.missing(names)
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.0.get(name)
    }

    fn put(&self, _name: &ObjectName, _object: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_keyring_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let cookies = directory.path().join("Default/Network/Cookies");
        fs::create_dir_all(cookies.parent().unwrap()).unwrap();
        for (content, expected) in [("SQLite\0v10abc", false), ("SQLite\0v11abc", true)] {
            fs::write(&cookies, content).unwrap();
            assert_eq!(is_bound_to_keyring(directory.path()), expected, "{content:?}");
        }
    }

    #[test]
    fn a_lock_counts_while_its_process_lives() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("SingletonLock");
        assert!(!is_in_use(directory.path()));
        let host = first_line(Path::new("/proc/sys/kernel/hostname"));
        let cases = [
            (format!("{host}-{}", std::process::id()), true),
            (format!("{host}-999999999"), false),
            (format!("not{host}-1"), true),
        ];
        for (target, expected) in cases {
            let _ = fs::remove_file(&lock);
            std::os::unix::fs::symlink(&target, &lock).unwrap();
            assert_eq!(is_in_use(directory.path()), expected, "{target}");
        }
    }
}
