//! Sealing a Chromium user data directory of this machine as a profile's next generation.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use cbrowse_profile::{
    authority::{AuthorityError, HeadRef},
    extensions::{Choice, Word},
    head::Closing,
    meter::Meter,
    object::{ObjectName, ObjectStore, StoreError},
    save::{Memory, SaveMeta, SaveStats, Saved, Saving, save_allowing},
    scan::{LeftBehind, scan},
    seal::Kind,
    secret::SystemRandom,
    snapshot::{Snapshot, open_snapshot},
};
use serde_json::{Value, json};

use super::{extensions, words};
use crate::{
    credentials::seconds,
    failure::{Exit, Failure},
    import::find::{host_name, is_in_use},
    output::Output,
    profile::{OpenProfile, bound::Searched, chain, source::Source, store_trouble},
};

/// Settings that every browser writes and every profile carries: where one of them says anything, there is a profile.
const SETTINGS: [&str; 2] = ["Local State", "Default/Preferences"];
/// Longest `Last Version` that is read.
const MAX_LABEL: usize = 128;

/// A directory that can be sealed.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// A browser works in it now.
    pub(super) in_use: bool,
    /// What the user says of its extensions, if anything was said now.
    pub(super) extensions: Option<Choice>,
    /// Where its contents were taken from, if it was made to be sealed once and is gone then.
    pub(super) made_from: Option<PathBuf>,
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
        if !has_settings(&path) {
            let scan = scan(&path).map_err(|error| {
                let (code, hint) = store_trouble(&error);
                Failure::new(Exit::Profile, code, chain(&error)).hint(hint)
            })?;
            if scan.files.iter().all(|file| file.size == 0) {
                return Err(no_profile_in(&path));
            }
        }
        let in_use = is_in_use(&path);
        Ok(Self { path, in_use, made_from: None, extensions: None })
    }

    /// One that was made from `made_from`, where a browser was at work if `in_use`.
    pub(super) fn made(path: PathBuf, made_from: PathBuf, in_use: bool) -> Self {
        Self { path, in_use, made_from: Some(made_from), extensions: None }
    }

    /// Seals it; blocks.
    pub(super) fn seal(&self, profile: &OpenProfile, output: &Output) -> Result<Sealed, Failure> {
        self.seal_into(profile, profile.authority().store(), output)
    }

    /// The same through a store that hands everything on to the profile's.
    pub(super) fn seal_into(
        &self,
        profile: &OpenProfile,
        store: &dyn ObjectStore,
        output: &Output,
    ) -> Result<Sealed, Failure> {
        let directory = profile.authority().directory();
        let before = Source::of(directory).filter(|before| before.directory == self.path);
        let searched = self.warn(before.as_ref(), output);
        let sealed = self.seal_through(profile, store, output)?;
        if let (Some(head), None) = (&sealed.head, &self.made_from) {
            let source = Source { directory: self.path.clone(), head: head.clone(), searched };
            // Writing waits for the disk, longer than a sync that finds nothing changed takes.
            if before.as_ref() != Some(&source)
                && let Err(error) = source.remember(directory)
            {
                output.warn(format_args!("cannot remember where this profile comes from: {error}"));
            }
        }
        Ok(sealed)
    }

    /// Says what its owner should know of it; `before`: what an earlier sync saw.
    fn warn(&self, before: Option<&Source>, output: &Output) -> Searched {
        if self.in_use {
            output.warn(format_args!(
                "a browser is working in {}: this generation is as a crash would leave it; close the browser and sync again",
                self.path.display()
            ));
        }
        let known = before.map(|before| before.searched.clone()).unwrap_or_default();
        let searched = Searched::search(&self.path, &known, seconds(SystemTime::now()));
        if searched.is_bound() {
            output.warn(
                "the browser encrypted cookies or logins with this desktop's keyring; no other machine can read those, so \
                 sessions ask for them again",
            );
        }
        searched
    }

    /// The same without warnings, and without a note of where it came from.
    pub(super) fn seal_through(
        &self,
        profile: &OpenProfile,
        store: &dyn ObjectStore,
        output: &Output,
    ) -> Result<Sealed, Failure> {
        if let (Some(_), Some(word)) = (&self.extensions, self.word(profile, output)?) {
            profile.authority().allow_extensions(&word)?;
        }
        let meter = Arc::new(Meter::default());
        let drawn = output.follow("sealing", "files", meter.clone());
        let (authority, keys, meta) = (profile.authority(), profile.keys(), self.meta());
        let synced = authority.sync_through(&self.path, keys, &meta, store, &meter, &mut SystemRandom)?;
        drop(drawn);
        Ok(Sealed {
            from: self.origin(),
            head: Some(synced.head),
            stats: synced.stats,
            left_behind: synced.left_behind,
        })
    }

    /// What sealing would make; nothing is kept.
    pub(super) fn try_out(&self, profile: &OpenProfile, output: &Output) -> Result<Sealed, Failure> {
        let store = Trying::before(profile.authority().store());
        let saved = self.save_into(profile, &store, &Meter::default(), output)?;
        Ok(Sealed { from: self.origin(), head: None, stats: saved.stats, left_behind: saved.left_behind })
    }

    /// What is in it as a version, to be compared with others of the profile. Nothing is kept.
    pub(super) fn as_version(&self, profile: &OpenProfile, output: &Output) -> Result<Snapshot, Failure> {
        let (store, meter) = (Trying::before(profile.authority().store()), Arc::new(Meter::default()));
        let drawn = output.follow("reading", "files", meter.clone());
        let saved = self.save_into(profile, &store, &meter, output)?;
        drop(drawn);
        let opened = open_snapshot(&saved.name, &store, &profile.keys().access());
        Ok(opened.map_err(AuthorityError::from)?)
    }

    fn save_into(
        &self,
        profile: &OpenProfile,
        store: &Trying<'_>,
        meter: &Meter,
        output: &Output,
    ) -> Result<Saved, Failure> {
        let (authority, keys) = (profile.authority(), profile.keys());
        let (base, sealing) = (authority.snapshot(keys)?, keys.sealing());
        let saving = Saving { keys: &sealing, base: base.as_ref(), store, meta: &self.meta(), meter };
        let word = self.word(profile, output)?;
        let saved =
            save_allowing(&self.path, saving, word.as_ref(), &mut Memory::default(), &mut SystemRandom);
        Ok(saved.map_err(AuthorityError::from)?)
    }

    /// Where its contents come from.
    fn origin(&self) -> PathBuf {
        self.made_from.clone().unwrap_or_else(|| self.path.clone())
    }

    fn word(&self, profile: &OpenProfile, output: &Output) -> Result<Option<Word>, Failure> {
        extensions::word(self.extensions.as_ref(), profile, &self.path, output)
    }

    fn meta(&self) -> SaveMeta {
        SaveMeta {
            now: seconds(SystemTime::now()),
            device: host_name(),
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

/// A cheap look before the scan that every save makes.
fn has_settings(path: &Path) -> bool {
    let says_anything = |name: &&str| {
        fs::symlink_metadata(path.join(name)).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
    };
    SETTINGS.iter().any(says_anything)
}

/// Empty where there is none.
fn first_line(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    cbrowse_protocol::node::printable(text.lines().next().unwrap_or_default().trim(), MAX_LABEL)
}

/// Where the kind of a sealed object is said, and which one is a pack of files.
const KIND_AT: usize = 6;

/// Takes what is put and keeps of it, in memory, what tells of files and not what is in them.
struct Trying<'a> {
    behind: &'a dyn ObjectStore,
    kept: Mutex<HashMap<ObjectName, Vec<u8>>>,
}

impl<'a> Trying<'a> {
    fn before(behind: &'a dyn ObjectStore) -> Self {
        Self { behind, kept: Mutex::default() }
    }
}

impl ObjectStore for Trying<'_> {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.behind.missing(names)
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        kept.map_or_else(|| self.behind.get(name), Ok)
    }

    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        if object.get(KIND_AT) != Some(&(Kind::Pack as u8)) {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(*name, object.to_vec());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_known_by_its_settings_or_by_anything_that_travels() {
        let planted = |name: &str, content: &str| {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("Default")).unwrap();
            fs::write(directory.path().join(name), content).unwrap();
            directory
        };
        for (name, content, expected) in [
            ("Local State", "{}", true),
            ("Default/Preferences", "{}", true),
            ("Default/Bookmarks", "{}", true),
            ("Local State", "", false),
            ("holiday.jpg", "not a profile", false),
        ] {
            let looked = Directory::look(planted(name, content).path());
            let code = looked.map(drop).map_err(|failure| failure.code);
            assert_eq!(code.is_ok(), expected, "{name} {code:?}");
        }
    }
}
