//! The user's keys: one random account key, and what is derived from it for each profile.
//!
//! ```text
//! account key --derive(profile)--> root --+--> id key        names chunks; goes to a node with a grant
//!                                         +--> manifest key  wraps each generation's head key; never leaves
//!                                         +--> signing seed  Ed25519; never leaves
//!                                         +--> session(id)   --> signing seed, wrap key: for one session's proposals
//! ```
//! Derivation is BLAKE3 in key derivation mode; the contexts below are part of format version 1.

use cbrowse_protocol::{
    id::{ProfileId, SessionId},
    identity::{IdentityKey, SigningKey},
};

use crate::{
    account::Account,
    secret::{Randomness, Secret},
    snapshot::Snapshot,
};

const ROOT_CONTEXT: &str = "cbrowse profile v1 root";
const ID_CONTEXT: &str = "cbrowse profile v1 chunk id key";
const MANIFEST_CONTEXT: &str = "cbrowse profile v1 manifest key";
const SIGNING_CONTEXT: &str = "cbrowse profile v1 signing seed";
const SESSION_SIGNING_CONTEXT: &str = "cbrowse profile v1 session signing seed";
const SESSION_WRAP_CONTEXT: &str = "cbrowse profile v1 session wrap key";
const ACCOUNT_SIGNING_CONTEXT: &str = "cbrowse account v1 signing seed";
const EARLIER_CONTEXT: &str = "cbrowse account v1 earlier key";
const NEXT_CONTEXT: &str = "cbrowse account v1 next key";

/// The one secret a user must not lose. Kept in key slots, never stored as it is.
#[derive(Debug)]
pub struct AccountKey(Secret);

impl AccountKey {
    /// A new random one.
    pub fn generate(random: &mut dyn Randomness) -> Self {
        Self(Secret::random(random))
    }

    /// From a slot.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// For a slot.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// A second holder of the same key, said out loud.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }

    /// Verifies the account's membership log for as long as this key is current; public.
    pub fn verifying_key(&self) -> IdentityKey {
        self.signing().public()
    }

    pub(crate) fn signing(&self) -> SigningKey {
        SigningKey::from_seed(self.0.derive(ACCOUNT_SIGNING_CONTEXT, b"").expose())
    }

    /// Seals the key of the epoch before.
    pub(crate) fn earlier_wrap(&self) -> Secret {
        self.0.derive(EARLIER_CONTEXT, b"")
    }

    /// Seals the key that a rotation is going to put in this one's place.
    pub(crate) fn next_wrap(&self) -> Secret {
        self.0.derive(NEXT_CONTEXT, b"")
    }
}

/// What the user's machine needs for one profile: the keys of the account's current epoch, which alone seal and sign, and
/// those of earlier epochs, which open what was sealed before a rotation.
#[derive(Debug)]
pub struct ProfileKeys {
    profile: ProfileId,
    root: Secret,
    /// Newest first; each without earlier ones of its own.
    earlier: Vec<ProfileKeys>,
}

impl ProfileKeys {
    /// Derives those of one account key. What was sealed with an earlier one stays shut.
    pub fn derive(account: &AccountKey, profile: &ProfileId) -> Self {
        let root = account.0.derive(ROOT_CONTEXT, profile.as_str().as_bytes());
        Self { profile: profile.clone(), root, earlier: Vec::new() }
    }

    /// Derives those of every epoch of an account.
    pub fn of(account: &Account, profile: &ProfileId) -> Self {
        let earlier = account.earlier().map(|key| Self::derive(key, profile)).collect();
        Self { earlier, ..Self::derive(account.key(), profile) }
    }

    /// The keys of each epoch, newest first.
    pub fn epochs(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.earlier)
    }

    /// The keys of the epoch in which `snapshot` was sealed; the current ones where none fits.
    pub fn of_snapshot(&self, snapshot: &Snapshot) -> &Self {
        self.epochs().find(|keys| keys.verifying_key() == *snapshot.signer()).unwrap_or(self)
    }

    /// Whose they are.
    pub fn profile(&self) -> &ProfileId {
        &self.profile
    }

    /// Verifies the authority's heads; public.
    pub fn verifying_key(&self) -> IdentityKey {
        self.signing().public()
    }

    /// To save and open as the authority.
    pub fn sealing(&self) -> SealingKeys {
        SealingKeys {
            profile: self.profile.clone(),
            id_key: self.root.derive(ID_CONTEXT, b""),
            wrap_key: self.root.derive(MANIFEST_CONTEXT, b""),
            signing: self.signing(),
        }
    }

    /// What `session` proposes is signed and wrapped with these; derived again when its proposal arrives, so
    /// the user's machine keeps nothing per session.
    pub fn for_session(&self, session: &SessionId) -> SealingKeys {
        let label = session.as_str().as_bytes();
        SealingKeys {
            profile: self.profile.clone(),
            id_key: self.root.derive(ID_CONTEXT, b""),
            wrap_key: self.root.derive(SESSION_WRAP_CONTEXT, label),
            signing: SigningKey::from_seed(self.session_signing_seed(session).expose()),
        }
    }

    pub(crate) fn session_signing_seed(&self, session: &SessionId) -> Secret {
        self.root.derive(SESSION_SIGNING_CONTEXT, session.as_str().as_bytes())
    }

    fn signing(&self) -> SigningKey {
        SigningKey::from_seed(self.root.derive(SIGNING_CONTEXT, b"").expose())
    }
}

/// What it takes to seal a save: the authority's own, or what a grant gave a worker.
#[derive(Debug)]
pub struct SealingKeys {
    pub(crate) profile: ProfileId,
    pub(crate) id_key: Secret,
    pub(crate) wrap_key: Secret,
    pub(crate) signing: SigningKey,
}

impl SealingKeys {
    /// Whose they are.
    pub fn profile(&self) -> &ProfileId {
        &self.profile
    }

    /// Verifies what these sign.
    pub fn verifying_key(&self) -> IdentityKey {
        self.signing.public()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_its_own() {
        let account = AccountKey::from_bytes([1; 32]);
        let keys = ProfileKeys::derive(&account, &"p1".parse().unwrap());
        let other = ProfileKeys::derive(&account, &"p2".parse().unwrap());
        let session = keys.for_session(&"s1".parse().unwrap());
        let own = keys.sealing();
        assert_ne!(keys.verifying_key(), other.verifying_key());
        assert_ne!(session.verifying_key(), keys.verifying_key());
        assert_ne!(session.verifying_key(), keys.for_session(&"s2".parse().unwrap()).verifying_key());
        assert_ne!(session.wrap_key.expose(), own.wrap_key.expose());
        assert_ne!(own.wrap_key.expose(), own.id_key.expose());
        assert_eq!(session.id_key.expose(), own.id_key.expose(), "a worker finds the chunks that are there");
    }

    /// Frozen: a profile sealed today opens with keys derived tomorrow.
    #[test]
    fn derivation_is_golden() {
        let account = AccountKey::from_bytes([1; 32]);
        let keys = ProfileKeys::derive(&account, &"0123456789abcdef0123456789abcdef".parse().unwrap());
        let own = keys.sealing();
        let hex = |secret: &Secret| blake3::Hash::from_bytes(*secret.expose()).to_hex().to_string();
        assert_eq!(
            [hex(&own.id_key), hex(&own.wrap_key), keys.verifying_key().to_string()],
            [
                "e5d4675bcdfdf4870f30cea1f0b6d217adb5e6ee55fe5c6474f11e786e8b1c79",
                "6c2f76de3555ea2b74b77bd133e35dccb5cfaa76956f0355f01b59d48532d2eb",
                "LOoB70iHJyjMk4IkdBTtjPDHWlCbd5T-NaKFB7alzUY"
            ]
        );
    }
}
