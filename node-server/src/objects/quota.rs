//! How much may be kept: decided over plain numbers, before anything is written.

use std::collections::HashMap;

/// What an owner may keep, all profiles together, where nobody says otherwise.
pub const DEFAULT_OWNER_QUOTA: u64 = 4 << 30;
/// Free bytes that a disk keeps whatever the quotas say: sessions, logs and keys need room, too. More: a small disk takes no
/// profile at all; less: a full one takes the node down.
pub const LEAST_FREE: u64 = 256 << 20;
/// The store's share of its disk where nobody says otherwise: one half. More: sessions and logs find no room; less: profiles
/// are refused on a disk that is empty.
const USUAL_SHARE: u64 = 2;
/// Owners whose use is remembered. Others are measured again when they come.
const MAX_REMEMBERED: usize = 10_000;
/// Seconds for which a measured use counts; another server on the same store may have added or removed meanwhile.
const REMEMBERED_FOR: u64 = 300;

/// What is allowed, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// To each owner.
    pub owner: u64,
    /// To all together; `None` where nothing but the disk is a limit.
    pub store: Option<u64>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { owner: DEFAULT_OWNER_QUOTA, store: None }
    }
}

impl Quotas {
    /// The store's part of a disk of this size.
    pub fn usual_share(disk: u64) -> u64 {
        disk / USUAL_SHARE
    }
}

/// Why an object is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The owner has enough.
    Owner {
        /// What the owner keeps here.
        used: u64,
        /// What the owner may.
        quota: u64,
    },
    /// The store has.
    Store {
        /// What all owners keep here.
        used: u64,
        /// What they may.
        quota: u64,
    },
    /// The disk is nearly full.
    Disk,
}

/// What is kept, as far as it was measured.
#[derive(Debug, Default)]
pub struct Ledger {
    owners: HashMap<String, Use>,
    all: Option<Use>,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    bytes: u64,
    measured: u64,
}

impl Use {
    fn counts(&self, now: u64) -> bool {
        now.saturating_sub(self.measured) < REMEMBERED_FOR
    }
}

impl Ledger {
    /// Whether an owner's use has to be measured first.
    pub fn lacks(&self, owner: &str, now: u64) -> bool {
        !self.owners.get(owner).is_some_and(|known| known.counts(now))
    }

    /// Whether the use of all has to be.
    pub fn lacks_all(&self, now: u64) -> bool {
        !self.all.is_some_and(|known| known.counts(now))
    }

    /// Notes an owner's use.
    pub fn measured(&mut self, owner: &str, bytes: u64, now: u64) {
        if self.owners.len() >= MAX_REMEMBERED {
            self.owners.clear();
        }
        self.owners.insert(owner.to_owned(), Use { bytes, measured: now });
    }

    /// Notes the use of all.
    pub fn measured_all(&mut self, bytes: u64, now: u64) {
        self.all = Some(Use { bytes, measured: now });
    }

    /// Everything is measured again before it counts.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Counts an object in, or says why not. `free` is what the disk has left, where that is known.
    pub fn admit(
        &mut self,
        owner: &str,
        length: u64,
        quotas: &Quotas,
        free: Option<u64>,
    ) -> Result<(), Refused> {
        let used = self.owners.get(owner).map_or(0, |known| known.bytes);
        if used.saturating_add(length) > quotas.owner {
            return Err(Refused::Owner { used, quota: quotas.owner });
        }
        let all = self.all.map_or(0, |known| known.bytes);
        if let Some(quota) = quotas.store.filter(|quota| all.saturating_add(length) > *quota) {
            return Err(Refused::Store { used: all, quota });
        }
        if free.is_some_and(|free| free < length.saturating_add(LEAST_FREE)) {
            return Err(Refused::Disk);
        }
        self.add(owner, length);
        Ok(())
    }

    /// It was not kept after all, or was here already.
    pub fn release(&mut self, owner: &str, length: u64) {
        for known in self.owners.get_mut(owner).into_iter().chain(self.all.as_mut()) {
            known.bytes = known.bytes.saturating_sub(length);
        }
    }

    fn add(&mut self, owner: &str, length: u64) {
        for known in self.owners.get_mut(owner).into_iter().chain(self.all.as_mut()) {
            known.bytes = known.bytes.saturating_add(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.measured("ada", 10, 0);
        ledger.measured_all(15, 0);
        ledger
    }

    #[test]
    fn a_quota_admits_what_reaches_it_and_nothing_more() {
        let quotas = Quotas { owner: 20, store: Some(24) };
        assert_eq!(ledger().admit("ada", 9, &quotas, None), Ok(()));
        assert_eq!(ledger().admit("ada", 10, &quotas, None), Err(Refused::Store { used: 15, quota: 24 }));
        assert_eq!(ledger().admit("ada", 11, &quotas, None), Err(Refused::Owner { used: 10, quota: 20 }));
        assert_eq!(
            ledger().admit("ada", u64::MAX, &quotas, None),
            Err(Refused::Owner { used: 10, quota: 20 })
        );
    }

    #[test]
    fn a_disk_keeps_its_reserve() {
        let admit = |free| ledger().admit("ada", 5, &Quotas::default(), free);
        assert_eq!(admit(Some(LEAST_FREE + 4)), Err(Refused::Disk));
        assert_eq!(admit(Some(LEAST_FREE + 5)), Ok(()));
        assert_eq!(admit(None), Ok(()));
    }

    #[test]
    fn what_was_counted_in_counts_until_it_is_released() {
        let (quotas, mut ledger) = (Quotas { owner: 20, store: None }, ledger());
        assert_eq!(ledger.admit("ada", 10, &quotas, None), Ok(()));
        assert!(ledger.admit("ada", 1, &quotas, None).is_err());
        ledger.release("ada", 1);
        assert_eq!(ledger.admit("ada", 1, &quotas, None), Ok(()));
    }

    #[test]
    fn a_measured_use_counts_for_five_minutes() {
        let ledger = ledger();
        assert!(!ledger.lacks("ada", REMEMBERED_FOR - 1) && !ledger.lacks_all(REMEMBERED_FOR - 1));
        assert!(ledger.lacks("ada", REMEMBERED_FOR) && ledger.lacks_all(REMEMBERED_FOR));
        assert!(ledger.lacks("bob", 0));
    }
}
