//! A profile under a new account key: its current generation sealed again as the next one, its record with the new verifying key.
//!
//! The order is objects, record of the generation, HEAD, SEEN, profile.json. A crash between any two leaves a profile that opens
//! with both keys at hand, and the same call made again finishes it: profile.json with the new key says that nothing is left to do.

use super::{Authority, AuthorityError, HeadRecord, HeadRef, ProfileRecord, lock, state};
use crate::{
    keys::ProfileKeys,
    meter::Meter,
    object::StoreError,
    pack::ReadError,
    reseal::{ResealError, reseal},
    save::SaveMeta,
    secret::Randomness,
    snapshot::{OpenError, Snapshot},
};

/// What a rotation did to one profile.
#[derive(Debug)]
pub enum Resealed {
    /// Its contents are this new generation.
    As(HeadRef),
    /// It was never saved, or was sealed again before: only the record changed, or nothing.
    Nothing,
    /// Its current generation is damaged and stays under the earlier key, which opens what is whole of it.
    Damaged(AuthorityError),
}

impl Authority {
    /// Puts the profile under the current epoch of `keys`, which were derived with the earlier ones
    /// ([`ProfileKeys::of`]). `meta` gives time and device; how the browser ended and which it was stays as it is.
    pub fn rotate(
        &mut self,
        keys: &ProfileKeys,
        meta: &SaveMeta,
        meter: &Meter,
        random: &mut dyn Randomness,
    ) -> Result<Resealed, AuthorityError> {
        let verifying_key = keys.verifying_key();
        if self.record.verifying_key == verifying_key {
            return Ok(Resealed::Nothing);
        }
        if !keys.epochs().any(|keys| keys.verifying_key() == self.record.verifying_key) {
            return Err(AuthorityError::WrongKey(self.record.name.clone()));
        }
        let done = match self.seal_again(keys, meta, meter, random) {
            Ok(done) => done,
            Err(error) if is_damage(&error) => Resealed::Damaged(error),
            Err(error) => return Err(error),
        };
        self.trust(verifying_key)?;
        Ok(done)
    }

    fn seal_again(
        &self,
        keys: &ProfileKeys,
        meta: &SaveMeta,
        meter: &Meter,
        random: &mut dyn Randomness,
    ) -> Result<Resealed, AuthorityError> {
        let Some(base) = self.snapshot(keys)? else { return Ok(Resealed::Nothing) };
        if *base.signer() == keys.verifying_key() {
            return Ok(Resealed::Nothing);
        }
        let upon = super::head_ref(&base);
        let next = self.reseal(&base, Some(&upon), keys, meta, meter, random)?;
        self.adopt(Some(&upon), &next).map(Resealed::As)
    }

    /// Seals `version` again under the current epoch of `keys` as the generation after `upon`; nobody's current one yet.
    pub(super) fn reseal(
        &self,
        version: &Snapshot,
        upon: Option<&HeadRef>,
        keys: &ProfileKeys,
        meta: &SaveMeta,
        meter: &Meter,
        random: &mut dyn Randomness,
    ) -> Result<HeadRecord, AuthorityError> {
        let saved =
            reseal(version, upon, &keys.sealing(), &self.store, meta, meter, random).map_err(|error| {
                match error {
                    ResealError::Read(error) => AuthorityError::Open(OpenError::Manifest(error)),
                    ResealError::Save(error) => AuthorityError::Save(error),
                }
            })?;
        let from = version.head();
        let meta =
            SaveMeta { browser_version: from.browser_version.clone(), closing: from.closing, ..meta.clone() };
        let head = HeadRef { generation: saved.generation, name: saved.name };
        Ok(HeadRecord::of(head, &meta, &saved.stats))
    }

    /// What a save is made upon: the current generation, sealed again first where it is of an earlier epoch. Where it cannot be,
    /// because it is damaged, nothing of it is used but its place in the history.
    pub(super) fn base_for(
        &self,
        keys: &ProfileKeys,
        meta: &SaveMeta,
        random: &mut dyn Randomness,
    ) -> Result<Option<Snapshot>, AuthorityError> {
        let Some(base) = self.snapshot(keys)? else { return Ok(None) };
        if *base.signer() == keys.verifying_key() {
            return Ok(Some(base));
        }
        match self.seal_again(keys, meta, &Meter::default(), random) {
            Ok(_) => self.snapshot(keys),
            Err(error) if is_damage(&error) => Ok(Some(base.emptied(keys))),
            Err(error) => Err(error),
        }
    }

    /// Seals the current generation again if it is of an earlier epoch: a worker is granted no key that was rotated away, and what
    /// it would save with one could not be taken over.
    pub fn bring_up(
        &self,
        keys: &ProfileKeys,
        meta: &SaveMeta,
        random: &mut dyn Randomness,
    ) -> Result<(), AuthorityError> {
        if self.record.earlier_verifying_keys.is_empty() {
            return Ok(());
        }
        match self.seal_again(keys, meta, &Meter::default(), random) {
            Err(error) if !is_damage(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// From now on `verifying_key` is the profile's; the one before is kept, for what it signed.
    pub(super) fn trust(
        &mut self,
        verifying_key: cbrowse_protocol::identity::IdentityKey,
    ) -> Result<(), AuthorityError> {
        let _held = lock::hold(&self.directory)?;
        let mut record = ProfileRecord { verifying_key, ..self.record.clone() };
        record.earlier_verifying_keys.push(self.record.verifying_key);
        state::write_json(&self.directory, "profile.json", &record)?;
        self.record = record;
        Ok(())
    }
}

/// Whether the generation itself is broken, which no second try mends. A disk that is full or does not answer is not that.
fn is_damage(error: &AuthorityError) -> bool {
    let AuthorityError::Open(error) = error else { return false };
    let store = match error {
        OpenError::Store(error) | OpenError::Manifest(ReadError::Store(error)) => error,
        OpenError::Head(_) | OpenError::Manifest(_) => return true,
    };
    matches!(store, StoreError::Missing(_) | StoreError::Corrupt(_))
}
