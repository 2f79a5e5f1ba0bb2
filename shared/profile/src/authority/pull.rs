//! Taking over what a shared store holds: on a second device, after a loss, or because another device moved on.
//!
//! A store is trusted with nothing. Its pointer is signed by the profile's owner; beyond that, this device remembers in
//! `STORE` what a store pointed to last. An older offer is a rollback, another head of the same generation is a fork, and
//! both are refused. What this device changed meanwhile, and no store has seen, is never lost: the pulled state becomes the
//! next generation *after* it, so both are in the history.

use std::path::Path;

use cbrowse_protocol::id::ProfileName;

use super::{
    Authority, AuthorityError, HeadRecord, HeadRef, LAYOUT_VERSION, ProfileRecord, list, lock, state,
};
use crate::{
    directory::DirectoryStore,
    head::Head,
    keys::ProfileKeys,
    object::{ObjectName, ObjectStore, StoreError},
    pointer::Pointer,
    save::store_head,
    secret::Randomness,
    snapshot::{OpenError, Snapshot, open_snapshot},
};

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulled {
    /// It is current now.
    Current(HeadRef),
    /// It was current before.
    Already(HeadRef),
    /// This device has moved on from it, and no store has seen that yet. This is what stays current.
    Ahead(HeadRef),
    /// This device had changes that no store has seen: they are generation `kept`, and what was pulled comes after them.
    Merged {
        /// The pulled state, as this device's next generation.
        current: HeadRef,
        /// What this device had.
        kept: HeadRef,
        /// The name under which the pulled head itself is kept.
        pulled_as: String,
    },
}

/// Why an offer was refused. The profile is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Older than what a store pointed to before.
    #[error(
        "the store offers generation {offered}, but this device knows of generation {seen}: an older state is not taken"
    )]
    RolledBack {
        /// What it offers.
        offered: u64,
        /// What this device knows of.
        seen: u64,
    },
    /// Another head of a generation that a store pointed to before.
    #[error(
        "the store offers another generation {0} than this device has seen: the store was forked, or another's was put in its place"
    )]
    Forked(u64),
    /// Signed, and yet the head is not what the pointer says.
    #[error("the store's pointer names generation {pointer}, but the head there is generation {head}")]
    Mismatch {
        /// By the pointer.
        pointer: u64,
        /// By the head.
        head: u64,
    },
    /// The head or its manifest does not open.
    #[error("open what the store offers")]
    Open(#[from] OpenError),
    /// An object is missing or damaged.
    #[error("fetch what the store offers")]
    Store(#[from] StoreError),
    /// This device's own copy.
    #[error("take over what the store offers")]
    Authority(#[from] AuthorityError),
}

/// What an offer is to this device, by what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// Nothing here is lost by taking it.
    Forward,
    Already,
    Ahead,
    /// Both have something that the other lacks.
    Diverged,
}

/// Pure: `noted` is what a store pointed to last, `local` what is current here.
fn judge(
    noted: Option<&HeadRef>,
    local: Option<&HeadRef>,
    history: &[HeadRecord],
    offered: &HeadRef,
) -> Result<Offer, PullError> {
    if let Some(noted) = noted {
        if offered.generation < noted.generation {
            return Err(PullError::RolledBack { offered: offered.generation, seen: noted.generation });
        }
        if offered.generation == noted.generation && offered.name != noted.name {
            return Err(PullError::Forked(offered.generation));
        }
    }
    let Some(local) = local else { return Ok(Offer::Forward) };
    if local == offered {
        return Ok(Offer::Already);
    }
    if noted == Some(offered) {
        return Ok(Offer::Ahead);
    }
    if noted == Some(local) {
        return Ok(Offer::Forward);
    }
    if noted.is_some() || offered.generation > local.generation {
        return Ok(Offer::Diverged);
    }
    // This device never heard of a store, so its own history is all there is to compare with.
    let own = history
        .iter()
        .find(|record| record.kept_as.is_none() && record.head.generation == offered.generation);
    match own {
        Some(own) if own.head == *offered => Ok(Offer::Ahead),
        Some(_) => Err(PullError::Forked(offered.generation)),
        None => Err(PullError::RolledBack { offered: offered.generation, seen: local.generation }),
    }
}

/// Reads from elsewhere and keeps what came, so that nothing travels twice.
struct Through<'a> {
    from: &'a dyn ObjectStore,
    to: &'a DirectoryStore,
}

impl ObjectStore for Through<'_> {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.from.missing(names)
    }
    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        if let Ok(object) = self.to.get(name) {
            return Ok(object);
        }
        let object = self.from.get(name)?;
        self.to.put(name, &object)?;
        Ok(object)
    }
    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        self.to.put(name, object)
    }
}

impl Authority {
    /// Makes the directory of a profile that this machine knows only from a store. Nothing is current in it until it is
    /// pulled. `keys` are those that the pointer was read with.
    pub fn receive(
        root: &Path,
        name: &ProfileName,
        keys: &ProfileKeys,
        now: u64,
    ) -> Result<Self, AuthorityError> {
        let known = list(root)?;
        if known.iter().any(|record| record.name == *name || record.id == *keys.profile()) {
            return Err(AuthorityError::Exists(name.clone()));
        }
        let record = ProfileRecord {
            version: LAYOUT_VERSION,
            id: keys.profile().clone(),
            name: name.clone(),
            verifying_key: keys.verifying_key(),
            earlier_verifying_keys: Vec::new(),
            created: now,
        };
        let directory = root.join(record.id.as_str());
        state::write_json(&directory, "profile.json", &record)?;
        Self::at(directory, record)
    }

    /// What a store pointed to last, as far as this device knows.
    pub fn noted_pointer(&self) -> Result<Option<HeadRef>, AuthorityError> {
        state::read_json(&self.directory, "STORE")
    }

    /// A store took this device's pointer to `head`. An older note stays where a later one is there.
    pub fn note_pointer(&self, head: &HeadRef) -> Result<(), AuthorityError> {
        let _held = lock::hold(&self.directory)?;
        self.note_held(head)
    }

    fn note_held(&self, head: &HeadRef) -> Result<(), AuthorityError> {
        let noted = self.noted_pointer()?;
        if noted.is_some_and(|noted| noted.generation >= head.generation) {
            return Ok(());
        }
        state::write_json(&self.directory, "STORE", head)
    }

    /// Refuses an offer that goes back or aside, before anything is fetched for it.
    pub fn check_offer(&self, pointer: &Pointer) -> Result<(), PullError> {
        self.judge_offer(pointer).map(drop)
    }

    fn judge_offer(&self, pointer: &Pointer) -> Result<Offer, PullError> {
        if let Some(invited) = self.invited()? {
            // Another device of the account vouched for it, so nothing before it is the newest.
            judge(Some(&invited), None, &[], &pointer.head)?;
        }
        let (noted, local) = (self.noted_pointer()?, self.head()?);
        judge(noted.as_ref(), local.as_ref(), &self.history()?, &pointer.head)
    }

    /// Fetches head and manifest of an offer, checks them, and tells which of its objects this machine lacks.
    pub fn fetch_offer(
        &self,
        pointer: &Pointer,
        keys: &ProfileKeys,
        from: &dyn ObjectStore,
    ) -> Result<Vec<ObjectName>, PullError> {
        if matches!(self.judge_offer(pointer)?, Offer::Already | Offer::Ahead) {
            return Ok(Vec::new());
        }
        let snapshot = open_offer(pointer, keys, &Through { from, to: self.store() })?;
        Ok(self.store().missing(&snapshot.objects())?)
    }

    /// Makes an offer current whose objects are all here.
    pub fn pull(
        &self,
        pointer: &Pointer,
        keys: &ProfileKeys,
        random: &mut dyn Randomness,
    ) -> Result<Pulled, PullError> {
        let _held = lock::hold(&self.directory)?;
        let local = self.head()?;
        let offer = self.judge_offer(pointer)?;
        match (offer, local) {
            (Offer::Already, _) => {
                self.note_held(&pointer.head)?;
                return Ok(Pulled::Already(pointer.head.clone()));
            }
            (Offer::Ahead, Some(local)) => {
                self.note_held(&pointer.head)?;
                return Ok(Pulled::Ahead(local));
            }
            (Offer::Diverged, Some(local)) => self.merge(pointer, keys, local, random),
            (_, local) => {
                let snapshot = self.whole(pointer, keys)?;
                if local.is_none() {
                    // Killed between the two, this device must not look as if it had saved what it only pulled: the next
                    // offer would pass for a fork.
                    self.note_held(&pointer.head)?;
                }
                state::advance(&self.directory, &HeadRecord::of_head(snapshot.head(), pointer.head.clone()))?;
                Ok(Pulled::Current(pointer.head.clone()))
            }
        }
        .and_then(|pulled| {
            self.note_held(&pointer.head)?;
            Ok(pulled)
        })
    }

    /// Opened from this machine's own store, every object of it here.
    fn whole(&self, pointer: &Pointer, keys: &ProfileKeys) -> Result<Snapshot, PullError> {
        let snapshot = open_offer(pointer, keys, self.store())?;
        match self.store().missing(&snapshot.objects())?.first() {
            Some(name) => Err(StoreError::Missing(*name).into()),
            None => Ok(snapshot),
        }
    }

    fn merge(
        &self,
        pointer: &Pointer,
        keys: &ProfileKeys,
        local: HeadRef,
        random: &mut dyn Randomness,
    ) -> Result<Pulled, PullError> {
        let snapshot = self.whole(pointer, keys)?;
        let from = snapshot.head();
        let head = Head {
            profile: from.profile.clone(),
            generation: local.generation.max(pointer.head.generation) + 1,
            previous: Some(local.name),
            time: from.time,
            closing: from.closing,
            device: from.device.clone(),
            browser_version: from.browser_version.clone(),
            files: from.files,
            bytes: from.bytes,
            root: from.root.duplicate(),
        };
        let (name, _) =
            store_head(&head, &keys.sealing(), self.store(), random).map_err(AuthorityError::from)?;
        let current = HeadRef { generation: head.generation, name };
        let pulled_as =
            state::keep_beside(&self.directory, &HeadRecord::of_head(from, pointer.head.clone()))?;
        state::advance(&self.directory, &HeadRecord::of_head(&head, current.clone()))?;
        Ok(Pulled::Merged { current, kept: local, pulled_as })
    }
}

fn open_offer(pointer: &Pointer, keys: &ProfileKeys, store: &dyn ObjectStore) -> Result<Snapshot, PullError> {
    let snapshot = open_snapshot(&pointer.head.name, store, &keys.access())?;
    let (told, head) = (pointer.head.generation, snapshot.head().generation);
    if told == head { Ok(snapshot) } else { Err(PullError::Mismatch { pointer: told, head }) }
}

#[cfg(test)]
mod tests;
