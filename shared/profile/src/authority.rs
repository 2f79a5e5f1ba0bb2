//! The authority: the directory on the user's machine that says what each profile is.
//!
//! ```text
//! ROOT/<profile id>/profile.json       id, name, verifying key, time of creation
//!                   HEAD               generation and name of the current head; replaced by rename
//!                   SEEN               the newest that was ever current; HEAD may not be older
//!                   heads/<generation>.json             one record for each generation
//!                   heads/<generation>-<8 digits>.json  versions that lost a conflict, kept
//!                   objects/           everything sealed, heads too
//!                   stat-cache         how files looked when they were last read; a hint, see [`crate::stat_cache`]
//!                   lock               held while any of the above changes
//! ```
//! Nothing in these files opens anything: keys are in the user's key slots.

mod accept;
mod care;
mod invited;
pub mod lease;
pub(crate) mod lock;
mod pull;
mod revert;
mod rotate;
pub(crate) mod state;
mod version;
mod word;

use std::path::{Path, PathBuf};

use cbrowse_protocol::{
    id::{ProfileId, ProfileName},
    identity::IdentityKey,
};
use serde::{Deserialize, Serialize};

pub use self::{
    accept::{AcceptError, Accepted},
    invited::InvitedProfile,
    pull::{PullError, Pulled},
    revert::{RevertError, Reverted, Reverting},
    rotate::Resealed,
    state::{HeadRecord, HeadRef},
    version::Version,
};
use crate::{
    account::Account,
    directory::DirectoryStore,
    files,
    head::HeadError,
    keys::{AccountKey, ProfileKeys},
    meter::Meter,
    object::{ObjectName, ObjectStore, StoreError},
    save::{Memory, SaveError, SaveMeta, SaveStats, Saved, Saving, save_allowing},
    scan::LeftBehind,
    secret::{Randomness, random_array},
    snapshot::{OpenError, Snapshot, open_snapshot},
};

/// Version of the directory's layout.
pub const LAYOUT_VERSION: u32 = 1;

/// What is known of a profile without any key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileRecord {
    /// [`LAYOUT_VERSION`].
    pub version: u32,
    /// Random, 32 hexadecimal digits.
    pub id: ProfileId,
    /// What its owner calls it; never leaves this machine.
    pub name: ProfileName,
    /// Verifies the profile's heads; tells a wrong account key before anything is written with it.
    pub verifying_key: IdentityKey,
    /// Those of earlier epochs of the account, oldest first: what they verify was made before a rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_verifying_keys: Vec<IdentityKey>,
    /// Seconds since the Unix epoch.
    pub created: u64,
}

/// Why the authority did not answer or act.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// No profile has that name.
    #[error("there is no profile {0:?}")]
    Unknown(String),
    /// One has it already.
    #[error("a profile {:?} exists already", .0.as_str())]
    Exists(ProfileName),
    /// The account key at hand did not make this profile.
    #[error("this account key does not belong to profile {0}; nothing was read or written")]
    WrongKey(ProfileName),
    /// It is the account's, from before a rotation; see [`Authority::rotate`].
    #[error("profile {0} is still sealed under an earlier key of this account")]
    EarlierEpoch(ProfileName),
    /// A file of the layout cannot be read as what it should be.
    #[error("{0} is damaged")]
    Damaged(PathBuf),
    /// A newer program made it.
    #[error("the profile has layout version {0}, which is newer than this program; update it")]
    Version(u32),
    /// HEAD is older than what was current once.
    #[error("generation {found} is offered, but {seen} was current once: the profile was rolled back")]
    RolledBack {
        /// What HEAD says.
        found: u64,
        /// What SEEN says.
        seen: u64,
    },
    /// HEAD names another head of the same generation.
    #[error("generation {0} is not the one that was current before: the profile was forked")]
    Forked(u64),
    /// Somebody made another head current meanwhile; what was to be adopted is kept under this name.
    #[error("the profile changed meanwhile; this version is kept as {kept_as}")]
    Conflict {
        /// File name stem below `heads/`.
        kept_as: String,
    },
    /// There is no such version, or several go by that name.
    #[error("profile {name} has no version \"{version}\"")]
    NoVersion {
        /// Of which profile.
        name: ProfileName,
        /// What was asked for.
        version: Version,
    },
    /// Another process holds the profile for too long.
    #[error("another cbrowse is using the profile; try again when it is done")]
    Busy,
    /// The disk said no.
    #[error("{action} {path}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The object store failed.
    #[error("use the object store")]
    Store(#[from] StoreError),
    /// The current head does not open.
    #[error("open the current head")]
    Open(#[from] OpenError),
    /// The save failed.
    #[error("save the profile")]
    Save(#[from] SaveError),
}

/// One profile's directory, opened.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    record: ProfileRecord,
    store: DirectoryStore,
}

/// What a save by the authority did.
#[derive(Debug)]
pub struct Synced {
    /// What is current now.
    pub head: HeadRef,
    /// What it took; where nothing changed, nothing new was made current.
    pub stats: SaveStats,
    /// What did not come along.
    pub left_behind: Vec<LeftBehind>,
}

impl Authority {
    /// Makes a profile that was never saved. `now` in seconds since the Unix epoch.
    pub fn create(
        root: &Path,
        name: &ProfileName,
        account: &AccountKey,
        now: u64,
        random: &mut dyn Randomness,
    ) -> Result<Self, AuthorityError> {
        if list(root)?.iter().any(|record| record.name == *name) {
            return Err(AuthorityError::Exists(name.clone()));
        }
        let id: ProfileId = format!("{:032x}", u128::from_be_bytes(random_array(random)))
            .parse()
            .expect("hexadecimal digits are an id");
        let verifying_key = ProfileKeys::derive(account, &id).verifying_key();
        let record = ProfileRecord {
            version: LAYOUT_VERSION,
            id,
            name: name.clone(),
            verifying_key,
            earlier_verifying_keys: Vec::new(),
            created: now,
        };
        let directory = root.join(record.id.as_str());
        state::write_json(&directory, "profile.json", &record)?;
        Self::at(directory, record)
    }

    /// Opens the profile that has this name or id.
    pub fn open(root: &Path, name: &str) -> Result<Self, AuthorityError> {
        let fits = |record: &ProfileRecord| record.name.as_str() == name || record.id.as_str() == name;
        let record =
            list(root)?.into_iter().find(fits).ok_or_else(|| AuthorityError::Unknown(name.into()))?;
        Self::at(root.join(record.id.as_str()), record)
    }

    fn at(directory: PathBuf, record: ProfileRecord) -> Result<Self, AuthorityError> {
        let store = DirectoryStore::open(directory.join("objects"))?;
        Ok(Self { directory, record, store })
    }

    /// What is known without a key.
    pub fn record(&self) -> &ProfileRecord {
        &self.record
    }

    /// Its objects, to be sent to a node.
    pub fn store(&self) -> &DirectoryStore {
        &self.store
    }

    /// The profile's keys, if `account` is the key it was made with. To be asked before anything is written.
    pub fn keys(&self, account: &AccountKey) -> Result<ProfileKeys, AuthorityError> {
        let keys = ProfileKeys::derive(account, &self.record.id);
        if keys.verifying_key() == self.record.verifying_key {
            Ok(keys)
        } else {
            Err(AuthorityError::WrongKey(self.record.name.clone()))
        }
    }

    /// The same with every epoch of the account, so that generations from before a rotation open too.
    pub fn keys_of(&self, account: &Account) -> Result<ProfileKeys, AuthorityError> {
        let keys = ProfileKeys::of(account, &self.record.id);
        let epoch = keys.epochs().position(|keys| keys.verifying_key() == self.record.verifying_key);
        match epoch {
            Some(0) => Ok(keys),
            Some(_) => Err(AuthorityError::EarlierEpoch(self.record.name.clone())),
            None => Err(AuthorityError::WrongKey(self.record.name.clone())),
        }
    }

    /// The current head; `None` before the first save. Refuses a directory that was rolled back or forked.
    pub fn head(&self) -> Result<Option<HeadRef>, AuthorityError> {
        state::current(&self.directory)
    }

    /// Every generation and every kept version, oldest first.
    pub fn history(&self) -> Result<Vec<HeadRecord>, AuthorityError> {
        state::history(&self.directory)
    }

    /// The current generation, opened.
    pub fn snapshot(&self, keys: &ProfileKeys) -> Result<Option<Snapshot>, AuthorityError> {
        let Some(head) = self.head()? else { return Ok(None) };
        self.snapshot_at(&head.name, keys).map(Some)
    }

    /// Any head of this machine's own history, opened with the newest of `keys` that fits. What a stranger offers as new is
    /// opened with [`ProfileKeys::access`] instead, which knows no earlier epoch.
    pub fn snapshot_at(&self, name: &ObjectName, keys: &ProfileKeys) -> Result<Snapshot, AuthorityError> {
        let newest = open_snapshot(name, &self.store, &keys.access());
        if !matches!(newest, Err(OpenError::Head(HeadError::WrongKey))) {
            return Ok(newest?);
        }
        for earlier in keys.epochs().skip(1) {
            let opened = open_snapshot(name, &self.store, &earlier.access());
            if !matches!(opened, Err(OpenError::Head(HeadError::WrongKey))) {
                return Ok(opened?);
            }
        }
        Ok(newest?)
    }

    /// Saves a data directory of this machine as the next generation.
    pub fn sync(
        &self,
        data_directory: &Path,
        keys: &ProfileKeys,
        meta: &SaveMeta,
        random: &mut dyn Randomness,
    ) -> Result<Synced, AuthorityError> {
        self.sync_through(data_directory, keys, meta, &self.store, &Meter::default(), random)
    }

    /// The same through `store`, which hands everything on to [`Authority::store`] and may watch it pass. `meter` counts what was read.
    pub fn sync_through(
        &self,
        data_directory: &Path,
        keys: &ProfileKeys,
        meta: &SaveMeta,
        store: &dyn ObjectStore,
        meter: &Meter,
        random: &mut dyn Randomness,
    ) -> Result<Synced, AuthorityError> {
        let base = self.base_for(keys, meta, random)?;
        let sealing = keys.sealing();
        let saving = Saving { keys: &sealing, base: base.as_ref(), store, meta, meter };
        let mut memory = Memory::load(&self.directory, &sealing);
        let word = self.extensions()?;
        let Saved { name, generation, stats, left_behind } =
            save_allowing(data_directory, saving, word.as_ref(), &mut memory, random)?;
        memory.keep(&self.directory, &sealing);
        let expected = base.as_ref().map(head_ref);
        let head = match expected {
            Some(current) if !stats.changed => current,
            expected => {
                let next = HeadRecord::of(HeadRef { generation, name }, meta, &stats);
                self.adopt(expected.as_ref(), &next)?
            }
        };
        Ok(Synced { head, stats, left_behind })
    }

    /// Makes `next` current if `expected` still is. Its objects are in the store. On conflict it is kept beside.
    pub fn adopt(&self, expected: Option<&HeadRef>, next: &HeadRecord) -> Result<HeadRef, AuthorityError> {
        if !self.store.missing(&[next.head.name])?.is_empty() {
            return Err(StoreError::Missing(next.head.name).into());
        }
        let _held = lock::hold(&self.directory)?;
        if state::current(&self.directory)?.as_ref() != expected {
            let kept_as = state::keep_beside(&self.directory, next)?;
            return Err(AuthorityError::Conflict { kept_as });
        }
        state::advance(&self.directory, next)?;
        Ok(next.head.clone())
    }
}

/// Every profile below `root`, by name. A directory that is no profile is passed over.
pub fn list(root: &Path) -> Result<Vec<ProfileRecord>, AuthorityError> {
    files::make_directory(root).map_err(|source| disk("make", root, source))?;
    let mut records = Vec::new();
    for entry in std::fs::read_dir(root).map_err(|source| disk("list", root, source))? {
        let entry = entry.map_err(|source| disk("list", root, source))?;
        let Some(record) = state::read_json::<ProfileRecord>(&entry.path(), "profile.json")? else {
            continue;
        };
        if record.version > LAYOUT_VERSION {
            return Err(AuthorityError::Version(record.version));
        }
        if *entry.file_name() != *record.id.as_str() {
            return Err(AuthorityError::Damaged(entry.path()));
        }
        records.push(record);
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

fn head_ref(snapshot: &Snapshot) -> HeadRef {
    HeadRef { generation: snapshot.head().generation, name: snapshot.name() }
}

fn disk(action: &'static str, path: &Path, source: std::io::Error) -> AuthorityError {
    AuthorityError::Disk { action, path: path.into(), source }
}
