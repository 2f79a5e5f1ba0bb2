//! Sealed profiles as the node sees them: named ciphertext, signed words of its owner, and saves that wait for that owner.
//!
//! Profiles lie on a [`Shelf`]: this node's directory `DATA_DIR/profiles`, or a bucket that the nodes of a fleet share, with
//! the directory as a bounded cache in front. Names are checked against the bytes on the way in and out, whatever the shelf.
//! Saves that wait always lie in the directory, as `PROFILE/proposals/TIME-SESSION`.

pub mod bucket;
mod cache;
pub mod directory;
pub mod figures;
mod garbage;
mod heads;
#[cfg(test)]
mod kills;
mod proposals;
pub mod quota;
pub mod shelf;
pub mod sweep;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use cbrowse_protocol::{api::MAX_OBJECT_LENGTH, id::ProfileId};

use self::{
    cache::Cache,
    directory::Directory,
    figures::Figures,
    quota::{Ledger, Quotas, Refused},
    shelf::{Clearable as _, Folder, Key, Shelf, ShelfError},
};
pub use self::{
    cache::DEFAULT_CACHE,
    garbage::{Collected, Removal},
    heads::WordError,
};
use crate::node::unix_now;

/// Longest subject of a token in bytes that is read back.
const MAX_OWNER_LENGTH: usize = 4096;
/// Owners that are remembered, so that a shared store is not asked for each object.
const MAX_OWNERS: usize = 10_000;
/// Seconds for which that counts: so long a node may go on giving out a profile that was deleted through another.
const OWNER_REMEMBERED_FOR: u64 = 60;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not 64 hexadecimal digits.
    #[error("{0:?} is not an object name (64 lower-case hexadecimal digits)")]
    Name(String),
    /// The bytes do not hash to the name.
    #[error("the bytes sent are not those of object {0}")]
    Mismatch(String),
    /// Too large.
    #[error("an object of {0} bytes is over the limit of {MAX_OBJECT_LENGTH}")]
    TooLong(usize),
    /// The profile belongs to somebody else, or is unknown: a stranger is not told which.
    #[error("no such profile on this node")]
    Foreign,
    /// Its owner has deleted it.
    #[error("the profile was deleted by its owner")]
    Deleted,
    /// No such object.
    #[error("no such object on this node")]
    Missing,
    /// What lies under the name is something else.
    #[error("object {0} is damaged in the store")]
    Damaged(String),
    /// More profiles than one owner can have.
    #[error("the owner has {0} profiles here; no more are kept")]
    TooMany(usize),
    /// No room, by the rules.
    #[error("the store has no room: {0:?}")]
    Full(Refused),
    /// A signed word of the owner that does not count.
    #[error(transparent)]
    Word(#[from] WordError),
    /// The disk, or the store elsewhere.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// What is known of a profile's owner, and since when.
type Owners = HashMap<ProfileId, (String, u64)>;

/// All profiles of a node. All calls block on the disk, or on the shared store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where profiles are.
    shelf: Arc<dyn Shelf>,
    /// Where waiting saves are; where profiles are too, unless the shelf is shared.
    local: Directory,
    /// In front of a shared shelf.
    cache: Option<Cache>,
    quotas: Quotas,
    ledger: Mutex<Ledger>,
    owners: Mutex<Owners>,
    figures: Figures,
}

impl Objects {
    /// Opens `DATA_DIR/profiles` with the usual quotas.
    pub fn open(data_dir: &Path) -> Result<Self, ObjectError> {
        Self::in_directory(data_dir, Quotas::default(), Figures::default())
    }

    /// Opens `DATA_DIR/profiles`.
    pub fn in_directory(data_dir: &Path, quotas: Quotas, figures: Figures) -> Result<Self, ObjectError> {
        let local = Directory::open(&data_dir.join("profiles"))?;
        let (bytes, objects) = local.total()?;
        figures.set(bytes, objects);
        let shelf = Arc::new(local.clone());
        Ok(Self::of(shelf, local, None, quotas, figures))
    }

    /// Profiles lie on a shelf that several nodes share; `DATA_DIR/profiles` holds copies of at most `cache` bytes.
    pub fn shared(
        shelf: Arc<dyn Shelf>,
        data_dir: &Path,
        cache: u64,
        quotas: Quotas,
        figures: Figures,
    ) -> Result<Self, ObjectError> {
        let local = Directory::open(&data_dir.join("profiles"))?;
        let cache = Cache::open(local.clone(), cache, figures.clone())?;
        Ok(Self::of(shelf, local, Some(cache), quotas, figures))
    }

    fn of(
        shelf: Arc<dyn Shelf>,
        local: Directory,
        cache: Option<Cache>,
        quotas: Quotas,
        figures: Figures,
    ) -> Self {
        let (ledger, owners) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { shelf, local, cache, quotas, ledger, owners, figures }))
    }

    /// Whether several nodes share the profiles: nobody but the operator removes anything then.
    pub fn is_shared(&self) -> bool {
        self.0.cache.is_some()
    }

    /// Where profiles are, in words for a person.
    pub fn describe(&self) -> String {
        self.0.shelf.describe()
    }

    /// Makes `subject` the owner of a profile that nobody has yet; refuses anybody but its owner afterwards.
    pub fn claim(&self, profile: &ProfileId, subject: &str) -> Result<(), ObjectError> {
        match self.check_owner(profile, subject) {
            Err(ObjectError::Foreign) => {}
            known => return known,
        }
        let owned = self.0.shelf.profiles_of(subject)?.len();
        if owned >= cbrowse_protocol::api::MAX_PROFILES {
            return Err(ObjectError::TooMany(owned));
        }
        // A directory finds an owner's profiles by looking at each.
        if self.0.shelf.put_new(&Key::owner(profile), subject.as_bytes())? && self.is_shared() {
            self.0.shelf.put_new(&Key::of_owner(subject, profile), b"")?;
        }
        self.check_owner(profile, subject)
    }

    /// Refuses anybody but the owner.
    pub fn check_owner(&self, profile: &ProfileId, subject: &str) -> Result<(), ObjectError> {
        match self.owner(profile)? {
            Some(owner) if owner == subject => Ok(()),
            _ => Err(ObjectError::Foreign),
        }
    }

    fn owner(&self, profile: &ProfileId) -> Result<Option<String>, ObjectError> {
        let now = unix_now();
        if let Some((owner, since)) = self.owners().get(profile)
            && now.saturating_sub(*since) < OWNER_REMEMBERED_FOR
        {
            return Ok(Some(owner.clone()));
        }
        let Some(bytes) = self.0.shelf.get(&Key::owner(profile), MAX_OWNER_LENGTH)? else { return Ok(None) };
        if self.is_deleted(profile)? {
            return Err(ObjectError::Deleted);
        }
        let owner = String::from_utf8_lossy(&bytes).into_owned();
        if self.is_shared() {
            let mut owners = self.owners();
            if owners.len() >= MAX_OWNERS {
                owners.clear();
            }
            owners.insert(profile.clone(), (owner.clone(), now));
        }
        Ok(Some(owner))
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.0.owners.lock().expect("no holder panics")
    }

    /// Asked afresh before an upload and before a head: what another node was told to delete must not look safe here.
    fn check_present(&self, profile: &ProfileId) -> Result<(), ObjectError> {
        if self.is_deleted(profile)? {
            self.owners().remove(profile);
            return Err(ObjectError::Deleted);
        }
        Ok(())
    }

    /// Those of `names` that are not here.
    pub fn missing(&self, profile: &ProfileId, names: &[String]) -> Result<Vec<String>, ObjectError> {
        names.iter().try_for_each(|name| check_name(name))?;
        self.check_present(profile)?;
        Ok(self.0.shelf.missing(&Folder::objects(profile), names)?)
    }

    /// One object's bytes.
    pub fn get(&self, profile: &ProfileId, name: &str) -> Result<Vec<u8>, ObjectError> {
        check_name(name)?;
        let is_right = |bytes: &[u8]| blake3::hash(bytes).to_hex().as_str() == name;
        if let Some(cache) = &self.0.cache
            && let Some(bytes) = cache.get(profile, name, MAX_OBJECT_LENGTH)
        {
            if is_right(&bytes) {
                return Ok(bytes);
            }
            cache.drop_one(profile, name, bytes.len() as u64);
        }
        let key = Folder::objects(profile).with(name);
        let bytes = self.0.shelf.get(&key, MAX_OBJECT_LENGTH)?.ok_or(ObjectError::Missing)?;
        if !is_right(&bytes) {
            self.give_up(&key, bytes.len() as u64);
            return Err(ObjectError::Damaged(name.to_owned()));
        }
        if let Some(cache) = &self.0.cache {
            cache.put(profile, name, &bytes);
        }
        Ok(bytes)
    }

    /// A damaged object of this node's own is worth less than its absence: then its owner sends it again.
    fn give_up(&self, key: &Key, length: u64) {
        tracing::error!("{key} is damaged in {}", self.describe());
        if !self.is_shared() && matches!(self.0.local.remove(key), Ok(true)) {
            self.0.figures.removed(length);
            self.ledger().forget();
        }
    }

    /// Keeps one object, durably; `false` if it was here already.
    pub fn put(&self, profile: &ProfileId, name: &str, bytes: &[u8]) -> Result<bool, ObjectError> {
        if bytes.len() > MAX_OBJECT_LENGTH {
            return Err(ObjectError::TooLong(bytes.len()));
        }
        check_name(name)?;
        if blake3::hash(bytes).to_hex().as_str() != name {
            return Err(ObjectError::Mismatch(name.to_owned()));
        }
        let owner = self.owner(profile)?.ok_or(ObjectError::Foreign)?;
        let (key, length) = (Folder::objects(profile).with(name), bytes.len() as u64);
        if !self.is_shared() && self.0.local.path(&key).is_file() {
            self.0.local.touch(&key);
            return Ok(false);
        }
        self.admit(&owner, length)?;
        let put = self.0.shelf.put_new(&key, bytes);
        match put {
            Ok(true) if !self.is_shared() => self.0.figures.added(length),
            Ok(true) => {}
            _ => self.ledger().release(&owner, length),
        }
        if let (Ok(_), Some(cache)) = (&put, &self.0.cache) {
            cache.put(profile, name, bytes);
        }
        put.map_err(full)
    }

    fn admit(&self, owner: &str, length: u64) -> Result<(), ObjectError> {
        let (now, quotas) = (unix_now(), &self.0.quotas);
        if self.ledger().lacks(owner, now) {
            let used = self.measure(owner)?;
            self.ledger().measured(owner, used, now);
        }
        if quotas.store.is_some() && self.ledger().lacks_all(now) {
            let (bytes, objects) = self.0.shelf.total()?;
            if !self.is_shared() {
                self.0.figures.set(bytes, objects);
            }
            self.ledger().measured_all(bytes, now);
        }
        let admitted = self.ledger().admit(owner, length, quotas, self.0.shelf.free());
        admitted.map_err(|refused| {
            self.0.figures.refused(match refused {
                Refused::Owner { .. } => "profile_quota",
                Refused::Store { .. } => "store_quota",
                Refused::Disk => "disk_full",
            });
            ObjectError::Full(refused)
        })
    }

    fn measure(&self, owner: &str) -> Result<u64, ObjectError> {
        let mut used = 0;
        for profile in self.0.shelf.profiles_of(owner)? {
            used +=
                self.0.shelf.list(&Folder::objects(&profile))?.iter().map(|entry| entry.length).sum::<u64>();
        }
        Ok(used)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().expect("no holder panics")
    }
}

/// A disk that filled up although there was room a moment ago.
fn full(error: ShelfError) -> ObjectError {
    match &error {
        ShelfError::Disk { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            ObjectError::Full(Refused::Disk)
        }
        _ => error.into(),
    }
}

fn check_name(name: &str) -> Result<(), ObjectError> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if name.len() == 64 && digits { Ok(()) } else { Err(ObjectError::Name(name.chars().take(80).collect())) }
}

/// Random bytes from the crypto provider.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source answers");
    bytes
}
