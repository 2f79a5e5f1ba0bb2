//! A grant: what one worker needs to open one head and propose the next, sealed to its one-use key.
//!
//! ```text
//! sealed:  encapsulated X25519 key 32, then ChaCha20-Poly1305 ciphertext (RFC 9180, base mode, HKDF-SHA256)
//! info:    "cbrowse profile grant v1", 0, node id, 0, profile id
//! grant:   u8 version 1, session, node, profile (texts), u64 generation, u64 expiry,
//!          id key 32, wrap key 32, signing seed 32, verifying key 32, u8 1 and head name 32, head key 32 (or u8 0)
//! ```
//! Nothing in it opens a head before or after the one it names. Padded with zeros to [`GRANT_LENGTH`].

use cbrowse_protocol::{
    id::{NodeId, ProfileId, SessionId},
    identity::{IdentityKey, SigningKey},
};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::X25519HkdfSha256, rand_core,
};
use zeroize::Zeroizing;

use crate::{
    codec::{Malformed, Put as _, Take},
    head::Unlock,
    keys::{ProfileKeys, SealingKeys},
    object::ObjectName,
    secret::{Randomness, Secret, random_array},
    snapshot::{Access, Snapshot},
};

/// Length of a grant before sealing, in bytes: three ids of any length fit.
pub const GRANT_LENGTH: usize = 768;
/// Most bytes of an id inside.
const MAX_ID_LENGTH: usize = cbrowse_protocol::id::MAX_ID_LENGTH;
const INFO: &str = "cbrowse profile grant v1";
const GRANT_VERSION: u8 = 1;
const ENCAPSULATED_LENGTH: usize = 32;

type Kem = X25519HkdfSha256;

/// The right to open one head, or to make the first, in one session on one node.
#[derive(Debug)]
pub struct Grant {
    /// Names the delegated keys; see [`session_of`].
    pub session: SessionId,
    /// The only node that may use it.
    pub node: NodeId,
    /// Which profile.
    pub profile: ProfileId,
    /// Generation of the head; 0 when there is none yet.
    pub generation: u64,
    /// The head to open; `None` for a profile that was never saved.
    pub head: Option<GrantedHead>,
    /// Seconds since the Unix epoch after which a worker must not begin with it.
    pub expiry: u64,
    id_key: Secret,
    wrap_key: Secret,
    signing_seed: Secret,
    verifying_key: IdentityKey,
}

/// One head and its key.
#[derive(Debug)]
pub struct GrantedHead {
    /// Its name.
    pub name: ObjectName,
    key: Secret,
}

/// Why a grant does not open, or must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No public key of X25519.
    #[error("the session key is not a usable X25519 key")]
    PublicKey,
    /// Sealed to another key, for another node or profile, or changed on the way.
    #[error("the grant does not open with this session's key for this node and profile")]
    Opening,
    /// Opens, but its inside is not a grant.
    #[error("the grant is malformed")]
    Malformed(#[from] Malformed),
    /// Too late, or one of the two clocks is wrong.
    #[error(
        "the grant expired {0} seconds ago by this node's clock; the clock of the user's machine set its end, so compare the two"
    )]
    Expired(u64),
}

/// The session's name inside a grant, from the one-use key it is sealed to: 32 hexadecimal digits.
/// Client and worker know it before any session exists on the node.
pub fn session_of(public: &[u8; 32]) -> SessionId {
    let hash = blake3::hash(public).to_hex();
    hash[..32].parse().expect("hexadecimal digits are an id")
}

impl Grant {
    /// For the worker that holds the private half of `public`. `base` is the head it may open.
    pub fn new(
        keys: &ProfileKeys,
        public: &[u8; 32],
        node: NodeId,
        base: Option<&Snapshot>,
        expiry: u64,
    ) -> Self {
        let session = session_of(public);
        // A generation from before a rotation opens with the keys of its time.
        let keys = base.map_or(keys, |base| keys.of_snapshot(base));
        let delegated = keys.for_session(&session);
        let head = base.map(|base| GrantedHead { name: base.name(), key: base.head_key().duplicate() });
        Self {
            node,
            profile: keys.profile().clone(),
            generation: base.map_or(0, |base| base.head().generation),
            head,
            expiry,
            id_key: delegated.id_key,
            wrap_key: delegated.wrap_key,
            signing_seed: keys.session_signing_seed(&session),
            verifying_key: keys.verifying_key(),
            session,
        }
    }

    /// For a session whose changes nobody keeps: it seals under keys that the user cannot derive, so that no save of it is
    /// ever taken over, whatever its node does.
    #[must_use]
    pub fn throwaway(self, random: &mut dyn Randomness) -> Self {
        let mut secret = || Secret::from_bytes(random_array(random));
        Self { wrap_key: secret(), signing_seed: secret(), ..self }
    }

    /// Opens the granted head, and no other.
    pub fn access(&self) -> Option<Access> {
        let head = self.head.as_ref()?;
        Some(Access {
            profile: self.profile.clone(),
            id_key: self.id_key.duplicate(),
            signer: self.verifying_key,
            unlock: Unlock::Direct(head.key.duplicate()),
            is_users: true,
        })
    }

    /// Seals what the session leaves behind, for the user alone.
    pub fn sealing(&self) -> SealingKeys {
        SealingKeys {
            profile: self.profile.clone(),
            id_key: self.id_key.duplicate(),
            wrap_key: self.wrap_key.duplicate(),
            signing: SigningKey::from_seed(self.signing_seed.expose()),
        }
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(GRANT_LENGTH));
        out.put_u8(GRANT_VERSION);
        out.put_text(self.session.as_str());
        out.put_text(self.node.as_str());
        out.put_text(self.profile.as_str());
        out.put_u64(self.generation);
        out.put_u64(self.expiry);
        for secret in [&self.id_key, &self.wrap_key, &self.signing_seed] {
            out.put_bytes(secret.expose());
        }
        out.put_bytes(self.verifying_key.as_bytes());
        match &self.head {
            None => out.put_u8(0),
            Some(head) => {
                out.put_u8(1);
                out.put_bytes(head.name.as_bytes());
                out.put_bytes(head.key.expose());
            }
        }
        out.resize(GRANT_LENGTH, 0);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        if bytes.len() != GRANT_LENGTH || take.u8()? != GRANT_VERSION {
            return Err(take.malformed());
        }
        let session = take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?;
        let node = take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?;
        let profile = take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?;
        let (generation, expiry) = (take.u64()?, take.u64()?);
        let mut secret = || take.array().map(Secret::from_bytes);
        let (id_key, wrap_key, signing_seed) = (secret()?, secret()?, secret()?);
        let verifying_key = IdentityKey::from_bytes(take.array()?);
        let head = match take.u8()? {
            0 => None,
            1 => Some(GrantedHead {
                name: ObjectName::from_bytes(take.array()?),
                key: Secret::from_bytes(take.array()?),
            }),
            _ => return Err(take.malformed()),
        };
        if head.is_some() != (generation > 0) || take.rest().iter().any(|byte| *byte != 0) {
            return Err(take.malformed());
        }
        Ok(Self {
            session,
            node,
            profile,
            generation,
            head,
            expiry,
            id_key,
            wrap_key,
            signing_seed,
            verifying_key,
        })
    }
}

/// Seals `grant` so that only the holder of `public`'s private half can read it, as `grant.node`, for
/// `grant.profile`.
pub fn seal_grant(
    public: &[u8; 32],
    grant: &Grant,
    random: &mut dyn Randomness,
) -> Result<Vec<u8>, GrantError> {
    let recipient = <Kem as hpke::Kem>::PublicKey::from_bytes(public).map_err(|_| GrantError::PublicKey)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &recipient,
        &info(&grant.node, &grant.profile),
        &grant.encode(),
        &[],
        &mut Draw(random),
    )
    .map_err(|_| GrantError::PublicKey)?;
    Ok([encapsulated.to_bytes().as_slice(), &ciphertext].concat())
}

/// The private half of a one-use key; made by the worker, spent by [`SessionSecret::open`].
pub struct SessionSecret {
    private: <Kem as hpke::Kem>::PrivateKey,
    public: [u8; 32],
}

impl SessionSecret {
    /// A new one, with its public half.
    pub fn generate(random: &mut dyn Randomness) -> (Self, [u8; 32]) {
        let seed = Zeroizing::new(random_array::<32>(random));
        let (private, public) = Kem::derive_keypair(seed.as_ref());
        let public: [u8; 32] = public.to_bytes().into();
        (Self { private, public }, public)
    }

    /// Opens a grant that was sealed to this key, for `node` and `profile`, and not past its expiry at `now`
    /// (seconds since the Unix epoch). Whatever happens, the key is gone afterwards.
    pub fn open(
        self,
        sealed: &[u8],
        node: &NodeId,
        profile: &ProfileId,
        now: u64,
    ) -> Result<Grant, GrantError> {
        let (encapsulated, ciphertext) =
            sealed.split_at_checked(ENCAPSULATED_LENGTH).ok_or(GrantError::Opening)?;
        let encapsulated =
            <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| GrantError::Opening)?;
        let clear = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            &info(node, profile),
            ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(|_| GrantError::Opening)?;
        let grant = Grant::decode(&clear)?;
        let is_ours = grant.node == *node && grant.profile == *profile;
        if !is_ours || grant.session != session_of(&self.public) {
            return Err(GrantError::Opening);
        }
        if now > grant.expiry {
            return Err(GrantError::Expired(now - grant.expiry));
        }
        Ok(grant)
    }
}

impl std::fmt::Debug for SessionSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionSecret(..)")
    }
}

fn info(node: &NodeId, profile: &ProfileId) -> Vec<u8> {
    [INFO.as_bytes(), &[0], node.as_str().as_bytes(), &[0], profile.as_str().as_bytes()].concat()
}

/// Our source of random bytes in the shape that `hpke` asks for.
pub(crate) struct Draw<'a>(pub(crate) &'a mut dyn Randomness);

impl rand_core::TryRng for Draw<'_> {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(random_array(self.0)))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(random_array(self.0)))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Draw<'_> {}
