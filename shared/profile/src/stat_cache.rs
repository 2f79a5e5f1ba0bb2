//! Which files need not be read again: what each looked like on disk when it was last read for a head.
//!
//! ```text
//! "cbsc", u8 version, head's name 32, u64 time of the save in seconds, u32 count, then for each file of that head's
//! manifest, in its order: u64 device, u64 inode, u64 size, i64 mtime, u32 its nanoseconds, i64 ctime, u32 its nanoseconds
//! (all zero: the file is to be read); BLAKE3 of all before, keyed for this profile, 32
//! ```
//! There is no path in it, clear or hashed: entries stand in the order of a manifest that only the profile's keys open. It
//! lies on the machine whose files it tells of and is only ever a hint: whatever is wrong with it, every file is read.
//!
//! A file counts as unchanged if all of these are *equal*, not newer: so a clock that was set back or forward hides nothing.
//! What was touched shortly before a save, or after it by the clock, is not noted, because the same time may be given to a
//! later change ([`RACY_WINDOW`]); and notes made at a time that has not come yet are not believed at all. Changes through a
//! shared memory mapping do not touch these times on every file system; Chromium writes no file that travels in this way.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use crate::{
    codec::{Malformed, Put as _, Take},
    files,
    keys::SealingKeys,
    manifest::MAX_FILES,
    object::ObjectName,
    secret::Secret,
};

/// A file that was changed less than this many seconds before a save is read again by the next one. Shorter, and a change
/// right after the save may carry the time that was noted: file systems count in steps of up to two seconds.
pub const RACY_WINDOW: i64 = 2;
/// Version of the file's format.
pub const VERSION: u8 = 1;
/// What it is called in a profile's directory.
pub(crate) const FILE_NAME: &str = "stat-cache";
const MAGIC: [u8; 4] = *b"cbsc";
const KEY_CONTEXT: &str = "cbrowse profile v1 stat cache key";
const MAC_LENGTH: usize = 32;
const STAMP_LENGTH: usize = 48;
const HEADER_LENGTH: usize = 4 + 1 + 32 + 8 + 4;
const MAX_LENGTH: u64 = (HEADER_LENGTH + STAMP_LENGTH * MAX_FILES + MAC_LENGTH) as u64;

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    device: u64,
    /// Never 0 for a file.
    inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Stamp {
    /// Of a file that was looked at. A link has none of its own.
    pub fn of(metadata: &fs::Metadata) -> Self {
        // Nanoseconds are below 10^9.
        let short = |nanoseconds: i64| u32::try_from(nanoseconds).unwrap_or(u32::MAX);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), short(metadata.mtime_nsec())),
            changed: (metadata.ctime(), short(metadata.ctime_nsec())),
        }
    }

    /// Whether a change that comes after a look at `now` must show.
    fn is_settled(&self, now: u64) -> bool {
        let limit = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(RACY_WINDOW);
        self.inode != 0 && self.modified.0 < limit && self.changed.0 < limit
    }
}

/// What the files of one head looked like; empty where nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatCache {
    head: Option<ObjectName>,
    now: u64,
    stamps: Vec<Option<Stamp>>,
}

impl StatCache {
    /// Notes what the files of `head` looked like, in the order of its manifest, when they were read for a save that
    /// began at `now`.
    pub(crate) fn note(head: ObjectName, now: u64, stamps: Vec<Option<Stamp>>) -> Self {
        let settled = |stamp: Option<Stamp>| stamp.filter(|stamp| stamp.is_settled(now));
        Self { head: Some(head), now, stamps: stamps.into_iter().map(settled).collect() }
    }

    /// Whether file number `index` of `head` still is what was read, for a save that begins at `now`.
    pub(crate) fn is_unchanged(&self, head: &ObjectName, index: usize, stamp: &Stamp, now: u64) -> bool {
        self.head.as_ref() == Some(head)
            && self.now <= now
            && self.stamps.get(index).is_some_and(|noted| noted.as_ref() == Some(stamp))
    }

    /// Reads what [`StatCache::keep`] left in a profile's directory. Whatever is wrong with it, nothing is known.
    pub(crate) fn load(directory: &Path, keys: &SealingKeys) -> Self {
        let bytes = files::read_limited(&directory.join(FILE_NAME), MAX_LENGTH).unwrap_or_default();
        Self::decode(&bytes, &key(keys)).unwrap_or_default()
    }

    /// Leaves it in a profile's directory. It is not waited for: a crash costs the next save some reading.
    pub(crate) fn keep(&self, directory: &Path, keys: &SealingKeys) {
        if let Some(bytes) = self.encode(&key(keys)) {
            // A full disk keeps the old notes or none, and either is sound.
            let _ = files::replace_carelessly(&directory.join(FILE_NAME), &bytes);
        }
    }

    fn encode(&self, key: &Secret) -> Option<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        out.reserve(HEADER_LENGTH + STAMP_LENGTH * self.stamps.len() + MAC_LENGTH);
        out.put_u8(VERSION);
        out.put_bytes(self.head.as_ref()?.as_bytes());
        out.put_u64(self.now);
        out.put_u32(u32::try_from(self.stamps.len()).ok()?);
        for stamp in &self.stamps {
            let Stamp { device, inode, size, modified, changed } = stamp.unwrap_or_default();
            out.put_u64(device);
            out.put_u64(inode);
            out.put_u64(size);
            for (seconds, nanoseconds) in [modified, changed] {
                out.put_bytes(&seconds.to_le_bytes());
                out.put_u32(nanoseconds);
            }
        }
        let mac = blake3::keyed_hash(key.expose(), &out);
        out.put_bytes(mac.as_bytes());
        Some(out)
    }

    fn decode(bytes: &[u8], key: &Secret) -> Result<Self, Malformed> {
        let end = bytes.len().checked_sub(MAC_LENGTH).ok_or(Malformed { at: 0 })?;
        let (noted, mac) = bytes.split_at(end);
        let mut take = Take::new(noted);
        // The comparison of two hashes takes the same time whatever they are.
        let is_ours = blake3::keyed_hash(key.expose(), noted) == *mac;
        if !is_ours || take.array::<4>()? != MAGIC || take.u8()? != VERSION {
            return Err(take.malformed());
        }
        let (head, now) = (ObjectName::from_bytes(take.array()?), take.u64()?);
        let count = take.count(STAMP_LENGTH)?;
        let mut stamps = Vec::with_capacity(count);
        for _ in 0..count {
            let stamp = Stamp {
                device: take.u64()?,
                inode: take.u64()?,
                size: take.u64()?,
                modified: (i64::from_le_bytes(take.array()?), take.u32()?),
                changed: (i64::from_le_bytes(take.array()?), take.u32()?),
            };
            stamps.push((stamp.inode != 0).then_some(stamp));
        }
        take.finish()?;
        Ok(Self { head: Some(head), now, stamps })
    }
}

fn key(keys: &SealingKeys) -> Secret {
    keys.id_key.derive(KEY_CONTEXT, keys.profile.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000;

    fn stamp(modified: i64, changed: i64) -> Stamp {
        Stamp { device: 1, inode: 2, size: 3, modified: (modified, 4), changed: (changed, 5) }
    }

    fn head() -> ObjectName {
        ObjectName::of(b"head")
    }

    fn sample() -> StatCache {
        StatCache::note(head(), NOW, vec![Some(stamp(10, 20)), None, Some(stamp(-5, 0))])
    }

    #[test]
    fn what_was_touched_within_the_window_or_later_is_not_noted() {
        let is_noted = |modified, changed| {
            let cache = StatCache::note(head(), NOW, vec![Some(stamp(modified, changed))]);
            cache.is_unchanged(&head(), 0, &stamp(modified, changed), NOW)
        };
        assert!(is_noted(997, 997), "just outside");
        for (modified, changed) in [(998, 900), (900, 998), (1_000, 900), (900, 5_000), (i64::MAX, 0)] {
            assert!(!is_noted(modified, changed), "{modified} {changed}");
        }
    }

    #[test]
    fn any_difference_another_head_and_a_clock_set_back_mean_reading() {
        let cache = sample();
        let same = stamp(10, 20);
        assert!(cache.is_unchanged(&head(), 0, &same, NOW));
        assert!(cache.is_unchanged(&head(), 0, &same, u64::MAX), "a clock set forward changes nothing");
        assert!(!cache.is_unchanged(&head(), 0, &same, NOW - 1), "the notes are of a time yet to come");
        assert!(!cache.is_unchanged(&ObjectName::of(b"other"), 0, &same, NOW));
        for other in [1, 2, 3] {
            assert!(!cache.is_unchanged(&head(), other, &same, NOW), "{other}");
        }
        for changed in [
            Stamp { device: 9, ..same },
            Stamp { inode: 9, ..same },
            Stamp { size: 9, ..same },
            Stamp { modified: (10, 5), ..same },
            Stamp { modified: (9, 4), ..same },
            Stamp { changed: (20, 4), ..same },
            Stamp { changed: (19, 5), ..same },
        ] {
            assert!(!cache.is_unchanged(&head(), 0, &changed, NOW), "{changed:?}");
        }
    }

    #[test]
    fn round_trip_and_exact_bytes() {
        let key = Secret::from_bytes([7; 32]);
        let bytes = sample().encode(&key).unwrap();
        assert_eq!(bytes.len(), HEADER_LENGTH + 3 * STAMP_LENGTH + MAC_LENGTH);
        assert_eq!(StatCache::decode(&bytes, &key).unwrap(), sample());
        assert_eq!(bytes[..5], *b"cbsc\x01");
        assert_eq!(
            bytes[HEADER_LENGTH..HEADER_LENGTH + 16],
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
        );
        assert!(
            bytes[HEADER_LENGTH + STAMP_LENGTH..HEADER_LENGTH + 2 * STAMP_LENGTH].iter().all(|b| *b == 0)
        );
    }

    #[test]
    fn cut_flipped_foreign_and_newer_notes_are_none() {
        let key = Secret::from_bytes([7; 32]);
        let bytes = sample().encode(&key).unwrap();
        for at in 0..bytes.len() {
            assert!(StatCache::decode(&bytes[..at], &key).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(StatCache::decode(&changed, &key).is_err(), "flipped at {at}");
        }
        assert!(StatCache::decode(&bytes, &Secret::from_bytes([8; 32])).is_err(), "of another profile");
        let mut newer = bytes[..bytes.len() - MAC_LENGTH].to_vec();
        newer[4] = VERSION + 1;
        newer.extend_from_slice(blake3::keyed_hash(key.expose(), &newer.clone()).as_bytes());
        assert!(StatCache::decode(&newer, &key).is_err(), "of a newer program");
    }
}
