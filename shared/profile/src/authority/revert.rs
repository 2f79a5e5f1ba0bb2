//! An older version made current again, and a version from elsewhere taken in: the same contents under a head of their own,
//! signed again. No object is copied or dropped, and what was current stays in the history.

use std::{fs, path::Path};

use cbrowse_protocol::id::ProfileName;

use super::{
    Authority, AuthorityError, HeadRecord, HeadRef, LAYOUT_VERSION, ProfileRecord, disk, list, lock, state,
};
use crate::{
    head::{Head, label},
    keys::ProfileKeys,
    meter::Meter,
    object::{ObjectStore, StoreError},
    save::{SaveMeta, store_head},
    secret::Randomness,
    snapshot::Snapshot,
};

/// Who makes a version current, and when.
#[derive(Debug, Clone)]
pub struct Reverting {
    /// Seconds since the Unix epoch.
    pub now: u64,
    /// This device; cut to a label's length.
    pub device: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reverted {
    /// The contents are the current generation now.
    Current(HeadRef),
    /// They were already.
    Unchanged(HeadRef),
}

/// Why nothing was made current. The profile is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RevertError {
    /// Somebody else made a head current after the caller looked.
    #[error("the profile moved on to generation {0} meanwhile; nothing was changed")]
    Moved(u64),
    /// The authority failed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl Authority {
    /// Makes the contents of `version`, whose objects this machine holds, the generation after `upon`, which has to be
    /// current still. After a crash the old head or the new one is current.
    pub fn revert(
        &self,
        version: &Snapshot,
        upon: Option<&HeadRef>,
        keys: &ProfileKeys,
        by: &Reverting,
        random: &mut dyn Randomness,
    ) -> Result<Reverted, RevertError> {
        if let Some(lost) = self.store.missing(&version.objects()).map_err(AuthorityError::from)?.first() {
            return Err(AuthorityError::from(StoreError::Missing(*lost)).into());
        }
        let _held = lock::hold(&self.directory)?;
        let current = state::current(&self.directory)?;
        if current.as_ref() != upon {
            return Err(RevertError::Moved(current.map_or(0, |current| current.generation)));
        }
        if let Some(current) = &current
            && self.snapshot_at(&current.name, keys)?.manifest().has_same_files(version.manifest())
        {
            return Ok(Reverted::Unchanged(current.clone()));
        }
        let next = self.next(version, current.as_ref(), keys, by, random)?;
        state::advance(&self.directory, &next)?;
        Ok(Reverted::Current(next.head))
    }

    /// A version of the current epoch keeps its objects; one from before a rotation is sealed again.
    fn next(
        &self,
        version: &Snapshot,
        upon: Option<&HeadRef>,
        keys: &ProfileKeys,
        by: &Reverting,
        random: &mut dyn Randomness,
    ) -> Result<HeadRecord, AuthorityError> {
        if *version.signer() != keys.verifying_key() {
            let meta = SaveMeta {
                now: by.now,
                device: by.device.clone(),
                browser_version: String::new(),
                closing: version.head().closing,
            };
            return self.reseal(version, upon, keys, &meta, &Meter::default(), random);
        }
        let head = next_head(version, upon, by);
        let (name, _) = store_head(&head, &keys.sealing(), &self.store, random)?;
        Ok(HeadRecord::of_head(&head, HeadRef { generation: head.generation, name }))
    }

    /// Makes a profile of this account, made on another machine, a profile of this one: its id, its objects from `from`, its
    /// head as it is, that of an earlier epoch included. The record that gives it its name comes last, so that a crash leaves
    /// no half of it.
    pub fn unpack(
        root: &Path,
        name: &ProfileName,
        keys: &ProfileKeys,
        version: &Snapshot,
        from: &dyn ObjectStore,
        now: u64,
    ) -> Result<Self, AuthorityError> {
        let id = version.head().profile.clone();
        if list(root)?.iter().any(|record| record.name == *name || record.id == id) {
            return Err(AuthorityError::Exists(name.clone()));
        }
        let mut epochs: Vec<_> = keys.epochs().map(ProfileKeys::verifying_key).collect();
        let verifying_key = epochs.remove(0);
        epochs.reverse();
        let profile = ProfileRecord {
            version: LAYOUT_VERSION,
            id,
            name: name.clone(),
            verifying_key,
            earlier_verifying_keys: epochs,
            created: now,
        };
        let directory = root.join(profile.id.as_str());
        clear_unfinished(&directory)?;
        let authority = Self::at(directory, profile)?;
        crate::object::copy_objects(&version.objects(), from, &authority.store)?;
        let first = HeadRef { generation: version.head().generation, name: version.name() };
        authority.adopt(None, &HeadRecord::of_head(version.head(), first))?;
        state::write_json(&authority.directory, "profile.json", &authority.record)?;
        Ok(authority)
    }
}

/// What an earlier attempt left has no name, so nobody can have used it.
fn clear_unfinished(directory: &Path) -> Result<(), AuthorityError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| disk("remove", directory, source)),
    }
}

fn next_head(version: &Snapshot, upon: Option<&HeadRef>, by: &Reverting) -> Head {
    let from = version.head();
    Head {
        profile: from.profile.clone(),
        generation: upon.map_or(0, |upon| upon.generation) + 1,
        previous: upon.map(|upon| upon.name),
        time: by.now,
        closing: from.closing,
        device: label(&by.device),
        browser_version: from.browser_version.clone(),
        files: from.files,
        bytes: from.bytes,
        root: from.root.duplicate(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::Version, directory::DirectoryStore, files::tests::crash_after, head::Closing,
        keys::AccountKey, restore::restore, save::SaveMeta, secret::SystemRandom,
    };

    struct World {
        directory: tempfile::TempDir,
        account: AccountKey,
    }

    impl World {
        /// A profile with two generations, whose cookies are `1` and `2`.
        fn new() -> Self {
            let world =
                Self { directory: tempfile::tempdir().unwrap(), account: AccountKey::from_bytes([3; 32]) };
            Authority::create(&world.root(), &"work".parse().unwrap(), &world.account, 1, &mut SystemRandom)
                .unwrap();
            world.save("1");
            world.save("2");
            world
        }

        fn root(&self) -> std::path::PathBuf {
            self.directory.path().join("profiles")
        }

        fn open(&self) -> (Authority, ProfileKeys) {
            let authority = Authority::open(&self.root(), "work").unwrap();
            let keys = authority.keys(&self.account).unwrap();
            (authority, keys)
        }

        fn save(&self, cookies: &str) {
            let data = self.directory.path().join("data");
            fs::create_dir_all(data.join("Default")).unwrap();
            fs::write(data.join("Default/Cookies"), cookies).unwrap();
            let meta = SaveMeta {
                now: 1,
                device: "d".into(),
                browser_version: "156".into(),
                closing: Closing::Crash,
            };
            let (authority, keys) = self.open();
            authority.sync(&data, &keys, &meta, &mut SystemRandom).unwrap();
        }

        fn cookies(&self) -> String {
            let (authority, keys) = self.open();
            let snapshot = authority.snapshot(&keys).unwrap().unwrap();
            let out = tempfile::tempdir().unwrap();
            restore(&snapshot, authority.store(), out.path()).unwrap();
            fs::read_to_string(out.path().join("Default/Cookies")).unwrap()
        }

        fn revert(&self, to: u64) -> Result<Reverted, RevertError> {
            let (authority, keys) = self.open();
            let upon = authority.head()?;
            let record = authority.record_of(&Version::Generation(to))?;
            let version = authority.snapshot_at(&record.head.name, &keys)?;
            let by = Reverting { now: 9, device: "here".into() };
            authority.revert(&version, upon.as_ref(), &keys, &by, &mut SystemRandom)
        }
    }

    #[test]
    fn an_older_version_becomes_a_new_generation_and_the_history_stays() {
        let world = World::new();
        let (authority, keys) = world.open();
        let before = authority.head().unwrap().unwrap();
        let objects = |authority: &Authority| authority.snapshot(&keys).unwrap().unwrap().objects();
        let Reverted::Current(head) = world.revert(1).unwrap() else { panic!("it differs") };
        assert_eq!((head.generation, world.cookies().as_str()), (3, "1"));
        let history = authority.history().unwrap();
        assert_eq!(history.iter().map(|record| record.head.generation).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(
            (history[2].time, history[2].device.as_str(), history[2].closing),
            (9, "here", Closing::Crash)
        );
        let snapshot = authority.snapshot(&keys).unwrap().unwrap();
        assert_eq!(snapshot.head().previous, Some(before.name));
        let first = authority.snapshot_at(&history[0].head.name, &keys).unwrap();
        assert_eq!(
            objects(&authority).split_last().unwrap().1,
            first.objects().split_last().unwrap().1,
            "no copy"
        );
        assert_eq!(world.revert(1).unwrap(), Reverted::Unchanged(head));
        world.save("4");
        assert_eq!(authority.head().unwrap().unwrap().generation, 4);
    }

    #[test]
    fn nothing_is_made_current_over_what_came_meanwhile_or_from_lost_objects() {
        let world = World::new();
        let (authority, keys) = world.open();
        let history = authority.history().unwrap();
        let first = authority.snapshot_at(&history[0].head.name, &keys).unwrap();
        let by = Reverting { now: 9, device: String::new() };
        let revert = |upon| authority.revert(&first, upon, &keys, &by, &mut SystemRandom);
        assert!(matches!(revert(Some(&history[0].head)), Err(RevertError::Moved(2))));
        assert!(matches!(revert(None), Err(RevertError::Moved(2))));
        let pack = first.objects()[0].to_string();
        fs::remove_file(authority.store().root().join(&pack[..2]).join(&pack)).unwrap();
        let lost = revert(Some(&history[1].head));
        assert!(matches!(lost, Err(RevertError::Authority(AuthorityError::Store(StoreError::Missing(_))))));
        assert_eq!(authority.head().unwrap().unwrap().generation, 2);
    }

    #[test]
    fn after_a_crash_at_any_step_the_old_head_or_the_new_one_is_current() {
        let (mut old, mut new) = (0, 0);
        for steps in 0.. {
            let world = World::new();
            crash_after(steps);
            let finished = world.revert(1).is_ok();
            crash_after(u32::MAX);
            match world.cookies().as_str() {
                "2" if !finished => old += 1,
                "1" => new += 1,
                other => panic!("{other} after step {steps}"),
            }
            world.revert(1).unwrap();
            assert_eq!(world.cookies(), "1", "it can be given again after a crash at step {steps}");
            if finished {
                break;
            }
        }
        assert!(old >= 4 && new >= 2, "{old} old, {new} new");
    }

    #[test]
    fn a_received_profile_is_whole_or_not_there() {
        let world = World::new();
        let (authority, keys) = world.open();
        let version = authority.snapshot(&keys).unwrap().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let name: ProfileName = "job".parse().unwrap();
        let receive = || {
            let store = DirectoryStore::open(authority.store().root()).unwrap();
            Authority::unpack(elsewhere.path(), &name, &keys, &version, &store, 5)
        };
        for steps in 0.. {
            crash_after(steps);
            let received = receive();
            crash_after(u32::MAX);
            let known = list(elsewhere.path()).unwrap();
            if received.is_ok() {
                break;
            }
            let whole = known.iter().all(|_| {
                let there = Authority::open(elsewhere.path(), "job").unwrap();
                there.head().unwrap().is_some_and(|head| head.generation == 2)
            });
            assert!(whole, "half a profile after step {steps}");
            fs::remove_dir_all(elsewhere.path().join(authority.record().id.as_str())).unwrap_or_default();
        }
        let there = Authority::open(elsewhere.path(), "job").unwrap();
        assert_eq!(there.record().id, authority.record().id);
        assert_eq!(there.head().unwrap(), authority.head().unwrap());
        there.snapshot(&there.keys(&world.account).unwrap()).unwrap().unwrap();
        assert!(matches!(receive(), Err(AuthorityError::Exists(_))));
    }
}
