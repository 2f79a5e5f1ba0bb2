//! What an owner does with a whole profile: give it another name, or let go of this machine's copy.

use std::{fs, path::Path};

use cbrowse_protocol::id::ProfileName;

use super::{Authority, AuthorityError, disk, list, lock, state};

impl Authority {
    /// Gives the profile another name, which no other profile below `root` may have. Nodes never knew the old one.
    pub fn rename(&mut self, root: &Path, name: &ProfileName) -> Result<(), AuthorityError> {
        if list(root)?.iter().any(|other| other.name == *name && other.id != self.record.id) {
            return Err(AuthorityError::Exists(name.clone()));
        }
        let _held = lock::hold(&self.directory)?;
        let renamed = super::ProfileRecord { name: name.clone(), ..self.record.clone() };
        state::write_json(&self.directory, "profile.json", &renamed)?;
        self.record = renamed;
        Ok(())
    }

    /// Removes this machine's copy with every generation. After a crash midway the profile is gone by name, and what
    /// is left of it is sealed.
    pub fn delete(self) -> Result<(), AuthorityError> {
        let _held = lock::hold(&self.directory)?;
        let record = self.directory.join("profile.json");
        fs::remove_file(&record).map_err(|source| disk("remove", &record, source))?;
        fs::remove_dir_all(&self.directory).map_err(|source| disk("remove", &self.directory, source))
    }

    /// Where the profile lies; whoever keeps notes about it keeps them there, so that they go with it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::AccountKey, secret::SystemRandom};

    fn make(root: &Path, account: &AccountKey, name: &str) -> Authority {
        Authority::create(root, &name.parse().unwrap(), account, 1, &mut SystemRandom).unwrap()
    }

    #[test]
    fn a_renamed_profile_keeps_id_and_key_and_takes_nobodys_name() {
        let directory = tempfile::tempdir().unwrap();
        let (root, account) = (directory.path(), AccountKey::generate(&mut SystemRandom));
        let mut work = make(root, &account, "work");
        make(root, &account, "play");
        assert!(matches!(work.rename(root, &"play".parse().unwrap()), Err(AuthorityError::Exists(_))));
        work.rename(root, &"job".parse().unwrap()).unwrap();
        assert!(matches!(Authority::open(root, "work"), Err(AuthorityError::Unknown(_))));
        let job = Authority::open(root, "job").unwrap();
        assert_eq!(job.record().id, work.record().id);
        job.keys(&account).unwrap();
    }

    #[test]
    fn a_deleted_profile_leaves_nothing_and_its_name_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let (root, account) = (directory.path(), AccountKey::generate(&mut SystemRandom));
        let work = make(root, &account, "work");
        let place = work.directory().to_owned();
        work.delete().unwrap();
        assert!(!place.exists());
        make(root, &account, "work");
    }
}
