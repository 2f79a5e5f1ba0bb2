//! A head: the one object that says what a profile is at one generation, signed by whoever saved it.
//!
//! ```text
//! object:  head key, sealed under the manifest key (or a session's wrap key)     96 bytes
//!          body, sealed under the head key
//! body:    u32 length of the signed part, signed part, Ed25519 signature 64, zeros up to a Padmé length
//! signed:  profile text, u64 generation, previous (u8 0, or u8 1 and 32), u64 time, u8 closing (0 clean, 1 crash),
//!          device text, browser version text, u64 files, u64 bytes, u64 manifest length,
//!          the manifest's own pack table and chunk list (see the manifest's encoding)
//! ```
//! The signature's context is [`CONTEXT`].

use cbrowse_protocol::{
    id::ProfileId,
    identity::{IdentityKey, SIGNATURE_LENGTH, SigningKey},
};
use serde::{Deserialize, Serialize};

use crate::{
    codec::{Malformed, Put as _, Take},
    keys::SealingKeys,
    manifest::{ChunkRef, MAX_MANIFEST_LENGTH, PackTable, decode_chunks, encode_chunks},
    object::ObjectName,
    padding::padded_length,
    seal::{self, HEADER_LENGTH, Kind, SealError, TAG_LENGTH},
    secret::{KEY_LENGTH, Randomness, Secret},
};

/// Context of a head's signature.
pub const CONTEXT: &str = "cbrowse profile head v1";
/// Longest name of a device, and longest browser version, in bytes.
pub const MAX_LABEL_LENGTH: usize = 128;
const WRAPPED_LENGTH: usize = HEADER_LENGTH + KEY_LENGTH + TAG_LENGTH;

/// How the browser ended before the save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// It closed by itself.
    Clean,
    /// It was killed, or still ran: databases may hold a journal that the next start plays back.
    Crash,
}

/// What a head says.
#[derive(Debug)]
pub struct Head {
    /// Whose.
    pub profile: ProfileId,
    /// 1 is the first save.
    pub generation: u64,
    /// The head it was made from.
    pub previous: Option<ObjectName>,
    /// Seconds since the Unix epoch, by the saver's clock.
    pub time: u64,
    /// How the browser ended.
    pub closing: Closing,
    /// Who saved: a device's or a node's name.
    pub device: String,
    /// The browser that wrote the files; an older one would silently drop what it does not know.
    pub browser_version: String,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    pub(crate) root: Root,
}

/// Where the manifest is.
#[derive(Debug, Default)]
pub(crate) struct Root {
    pub(crate) length: u64,
    pub(crate) packs: PackTable,
    pub(crate) chunks: Vec<ChunkRef>,
}

impl Root {
    /// A second holder of the same manifest.
    pub(crate) fn duplicate(&self) -> Self {
        Self { length: self.length, packs: self.packs.duplicate(), chunks: self.chunks.clone() }
    }
}

/// Why a head was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not the bytes that were asked for.
    #[error("the head's bytes are not those of {0}: damaged, cut short or swapped")]
    Corrupt(ObjectName),
    /// Whole, but sealed for somebody else.
    #[error(
        "this key does not open the head; it was sealed with another account's key, or for another profile"
    )]
    WrongKey,
    /// A later format.
    #[error("the head cannot be read")]
    Format(#[source] SealError),
    /// Opens, but its inside is not a head.
    #[error("the head is malformed")]
    Malformed(#[from] Malformed),
    /// Signed by another key.
    #[error("the head is not signed by the key that must have signed it")]
    Signature,
    /// Says another profile.
    #[error("the head is of profile {0}")]
    OtherProfile(ProfileId),
}

/// With which key a head's own key is found.
#[derive(Debug)]
pub(crate) enum Unlock {
    /// Unwrap it from the object.
    Wrap(Secret),
    /// It came with a grant.
    Direct(Secret),
}

/// A sealed head, ready to be stored.
#[derive(Debug)]
pub struct SealedHead {
    /// Its name.
    pub name: ObjectName,
    /// Its bytes.
    pub object: Vec<u8>,
}

/// Signs and seals with a fresh head key.
pub(crate) fn seal_head(head: &Head, keys: &SealingKeys, random: &mut dyn Randomness) -> SealedHead {
    let key = Secret::random(random);
    let mut wrapped = seal::with_room(KEY_LENGTH);
    wrapped.extend_from_slice(key.expose());
    let mut object = seal::seal(wrapped, Kind::HeadKey, &keys.profile, &keys.wrap_key, random);
    let body = signed_body(head, &keys.signing);
    object.append(&mut seal::seal(body, Kind::Head, &keys.profile, &key, random));
    SealedHead { name: ObjectName::of(&object), object }
}

fn signed_body(head: &Head, signing: &SigningKey) -> Vec<u8> {
    let signed = encode(head);
    let mut body = seal::with_room(signed.len() + SIGNATURE_LENGTH);
    body.put_u32(u32::try_from(signed.len()).expect("heads are small"));
    body.put_bytes(&signed);
    body.put_bytes(&signing.sign(CONTEXT, &signed));
    let padded = padded_length(body.len() - HEADER_LENGTH);
    body.resize(HEADER_LENGTH + padded, 0);
    body
}

/// Opens and checks a head; gives its key too, for a grant.
pub(crate) fn open_head(
    name: &ObjectName,
    object: &[u8],
    profile: &ProfileId,
    signer: &IdentityKey,
    unlock: &Unlock,
) -> Result<(Head, Secret), HeadError> {
    if ObjectName::of(object) != *name {
        return Err(HeadError::Corrupt(*name));
    }
    let (wrapped, body) = object.split_at_checked(WRAPPED_LENGTH).ok_or(Malformed { at: 0 })?;
    let key = match unlock {
        Unlock::Direct(key) => key.duplicate(),
        Unlock::Wrap(wrap) => unwrap(wrapped, profile, wrap)?,
    };
    let clear = seal::open(body.to_vec(), Kind::Head, profile, &key).map_err(refused)?;
    let mut take = Take::new(&clear);
    let length = take.count(1)?;
    let signed = take.bytes(length)?;
    if !signer.verifies(CONTEXT, signed, take.bytes(SIGNATURE_LENGTH)?) {
        return Err(HeadError::Signature);
    }
    if take.rest().iter().any(|byte| *byte != 0) {
        return Err(Malformed { at: length }.into());
    }
    let head = decode(signed)?;
    if head.profile == *profile { Ok((head, key)) } else { Err(HeadError::OtherProfile(head.profile)) }
}

fn unwrap(wrapped: &[u8], profile: &ProfileId, wrap: &Secret) -> Result<Secret, HeadError> {
    let clear = seal::open(wrapped.to_vec(), Kind::HeadKey, profile, wrap).map_err(refused)?;
    let bytes: [u8; KEY_LENGTH] = clear.as_slice().try_into().map_err(|_| Malformed { at: 0 })?;
    Ok(Secret::from_bytes(bytes))
}

/// The object's bytes are the right ones, so a seal that stays shut means another key.
fn refused(error: SealError) -> HeadError {
    match error {
        SealError::Opening => HeadError::WrongKey,
        other => HeadError::Format(other),
    }
}

pub(crate) fn encode(head: &Head) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_text(head.profile.as_str());
    out.put_u64(head.generation);
    match &head.previous {
        None => out.put_u8(0),
        Some(previous) => {
            out.put_u8(1);
            out.put_bytes(previous.as_bytes());
        }
    }
    out.put_u64(head.time);
    out.put_u8(match head.closing {
        Closing::Clean => 0,
        Closing::Crash => 1,
    });
    out.put_text(&head.device);
    out.put_text(&head.browser_version);
    out.put_u64(head.files);
    out.put_u64(head.bytes);
    out.put_u64(head.root.length);
    head.root.packs.encode(&mut out);
    encode_chunks(&head.root.chunks, &mut out);
    out
}

pub(crate) fn decode(signed: &[u8]) -> Result<Head, Malformed> {
    let mut take = Take::new(signed);
    let profile = take.text(MAX_LABEL_LENGTH)?.parse().map_err(|_| take.malformed())?;
    let generation = take.u64()?;
    let previous = match take.u8()? {
        0 => None,
        1 => Some(ObjectName::from_bytes(take.array()?)),
        _ => return Err(take.malformed()),
    };
    let time = take.u64()?;
    let closing = match take.u8()? {
        0 => Closing::Clean,
        1 => Closing::Crash,
        _ => return Err(take.malformed()),
    };
    let device = take_label(&mut take)?;
    let browser_version = take_label(&mut take)?;
    let (files, bytes) = (take.u64()?, take.u64()?);
    let length = take.u64()?;
    let packs = PackTable::decode(&mut take)?;
    let chunks = decode_chunks(&mut take, &packs)?;
    let sum: u64 = chunks.iter().map(|chunk| u64::from(chunk.clear)).sum();
    let is_sound = generation > 0 && sum == length && length <= MAX_MANIFEST_LENGTH;
    if !is_sound || !packs.is_used_by(chunks.iter()) {
        return Err(take.malformed());
    }
    take.finish()?;
    let root = Root { length, packs, chunks };
    Ok(Head { profile, generation, previous, time, closing, device, browser_version, files, bytes, root })
}

/// A label as [`label`] would have made it: what a node wrote may reach a terminal.
fn take_label(take: &mut Take<'_>) -> Result<String, Malformed> {
    let text = take.text(MAX_LABEL_LENGTH)?;
    if label(text) == text { Ok(text.to_owned()) } else { Err(take.malformed()) }
}

/// At most [`MAX_LABEL_LENGTH`] bytes of a name, without control characters.
pub(crate) fn label(text: &str) -> String {
    let mut label = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if label.len() + character.len_utf8() > MAX_LABEL_LENGTH {
            break;
        }
        label.push(character);
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::AccountKey, keys::ProfileKeys, secret::tests::Seeded};

    fn keys() -> SealingKeys {
        let account = AccountKey::from_bytes([1; 32]);
        ProfileKeys::derive(&account, &"p1".parse().unwrap()).sealing()
    }

    fn sample() -> Head {
        Head {
            profile: "p1".parse().unwrap(),
            generation: 3,
            previous: Some(ObjectName::from_bytes([4; 32])),
            time: 5,
            closing: Closing::Crash,
            device: "laptop".into(),
            browser_version: "156".into(),
            files: 1,
            bytes: 2,
            root: Root::default(),
        }
    }

    fn open(object: &[u8], profile: &str, keys: &SealingKeys) -> Result<Head, HeadError> {
        let unlock = Unlock::Wrap(keys.wrap_key.duplicate());
        let name = ObjectName::of(object);
        open_head(&name, object, &profile.parse().unwrap(), &keys.verifying_key(), &unlock)
            .map(|(head, _)| head)
    }

    #[test]
    fn a_head_comes_back_as_it_was() {
        let sealed = seal_head(&sample(), &keys(), &mut Seeded::new("head"));
        let head = open(&sealed.object, "p1", &keys()).unwrap();
        assert_eq!(encode(&head), encode(&sample()));
        assert_eq!(open(&sealed.object, "p2", &keys()).unwrap_err(), HeadError::WrongKey);
    }

    #[test]
    fn flipped_and_cut_objects_never_open_even_under_their_own_names() {
        let sealed = seal_head(&sample(), &keys(), &mut Seeded::new("head"));
        for at in (0..sealed.object.len()).step_by(3) {
            let mut changed = sealed.object.clone();
            changed[at] ^= 1;
            assert!(open(&changed, "p1", &keys()).is_err(), "flipped at {at}");
            assert!(open(&sealed.object[..at], "p1", &keys()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_inside_is_decoded_without_panic_however_it_was_changed() {
        let bytes = encode(&sample());
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let _ = decode(&changed);
            }
        }
    }

    #[test]
    fn a_head_signed_with_another_key_is_refused() {
        let mut other = keys();
        other.signing = SigningKey::generate();
        let sealed = seal_head(&sample(), &other, &mut Seeded::new("head"));
        assert_eq!(open(&sealed.object, "p1", &keys()).unwrap_err(), HeadError::Signature);
    }

    #[test]
    fn labels_hold_nothing_that_a_terminal_would_obey() {
        assert_eq!(label("a\u{1b}[2Jb\n"), "a[2Jb");
        assert_eq!(label(&"ü".repeat(100)).len(), MAX_LABEL_LENGTH);
        let hostile = Head { device: "\u{1b}[2J".into(), ..sample() };
        assert!(decode(&encode(&hostile)).is_err());
    }
}
