//! What the fuzz targets (`fuzz/`) feed and assert: every decoder that reads a stranger's bytes, below the seals and signatures
//! that keep strangers out in earnest.

mod account;

use cbrowse_protocol::{id::ProfileId, identity::SigningKey};

pub use self::account::{account_log, invitation};
use crate::{
    allowlist::{self, Class},
    chunk,
    codec::{Put as _, Take},
    extensions,
    grant::{GRANT_LENGTH, Grant},
    head::{self, HeadError, Unlock},
    keys::{AccountKey, ProfileKeys},
    manifest::{
        ChunkId, ChunkRef, Coding, MAX_CHUNK_LENGTH, MAX_FILES, MAX_PATH_LENGTH, MAX_PROFILE_LENGTH,
        Manifest, PackTable, decode_chunks, encode_chunks,
    },
    object::ObjectName,
    pack,
    pointer::{MAX_POINTER_LENGTH, Pointer},
    proposal::{MAX_PROPOSAL_LENGTH, Proposal},
    retain::RetainList,
    sanitize::{self, Settings},
    seal::{self, HEADER_LENGTH, Kind},
    secret::{Randomness, Secret},
    slot,
};

/// Not random at all: a fuzz target has to do the same with the same bytes.
struct Counter(u8);

impl Randomness for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(41);
            *byte = self.0;
        }
    }
}

fn keys() -> ProfileKeys {
    ProfileKeys::derive(&AccountKey::from_bytes([1; 32]), &profile())
}

fn profile() -> ProfileId {
    "0123456789abcdef0123456789abcdef".parse().expect("an id")
}

const KINDS: [Kind; 5] = [Kind::Pack, Kind::ManifestPack, Kind::Head, Kind::HeadKey, Kind::PassphraseSlot];

/// Bytes that nobody sealed never open; what was sealed opens as its own kind, and not once any byte is another.
pub fn sealed(data: &[u8]) {
    let key = Secret::from_bytes([3; 32]);
    let Some((&[kind, at, flip], rest)) = data.split_first_chunk() else { return };
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    assert!(seal::open(rest.to_vec(), kind, &profile(), &key).is_err());
    let mut buffer = seal::with_room(rest.len());
    buffer.extend_from_slice(rest);
    let mut sealed = seal::seal(buffer, kind, &profile(), &key, &mut Counter(at));
    assert_eq!(**seal::open(sealed.clone(), kind, &profile(), &key).expect("its own"), *rest);
    let at = usize::from(at) % sealed.len();
    sealed[at] ^= flip;
    assert_eq!(seal::open(sealed, kind, &profile(), &key).is_ok(), flip == 0);
}

/// What decodes as a manifest is one: it encodes to the same bytes, and keeps every limit.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::decode(data) else { return };
    assert_eq!(manifest.encode(), data);
    assert!(manifest.files.len() <= MAX_FILES && manifest.total_bytes() <= MAX_PROFILE_LENGTH);
    assert!(manifest.files.windows(2).all(|pair| pair[0].path < pair[1].path));
    assert!(manifest.has_same_files(&manifest));
    for file in &manifest.files {
        assert!(file.path.len() <= MAX_PATH_LENGTH);
        assert!(file.chunks.iter().all(|chunk| manifest.packs.get(chunk.pack).is_some()));
    }
}

/// A pack table and a list of chunks, as head and manifest hold them.
pub fn index(data: &[u8]) {
    let mut take = Take::new(data);
    let Ok(table) = PackTable::decode(&mut take) else { return };
    let Ok(chunks) = decode_chunks(&mut take, &table) else { return };
    let rest = take.rest().len();
    let mut encoded = Vec::new();
    table.encode(&mut encoded);
    encode_chunks(&chunks, &mut encoded);
    // A slot that is empty has no key, whatever stood there.
    assert_eq!(encoded.len() + rest, data.len());
    let mut again = Take::new(&encoded);
    let decoded = PackTable::decode(&mut again).and_then(|table| decode_chunks(&mut again, &table));
    assert_eq!(decoded.expect("what was encoded decodes"), chunks);
    assert_eq!(table.is_used_by(chunks.iter()), table.names().count() == used(&chunks));
}

fn used(chunks: &[ChunkRef]) -> usize {
    chunks.iter().map(|chunk| chunk.pack).collect::<std::collections::BTreeSet<_>>().len()
}

/// A chunk anywhere in a pack's clear bytes, of whatever length it claims: never more comes out than it said.
pub fn pack(data: &[u8]) {
    let mut take = Take::new(data);
    let Ok((offset, stored, clear, coding)) = chunk_claim(&mut take) else { return };
    let pack = take.rest();
    let id_key = Secret::from_bytes([5; 32]);
    let chunk = ChunkRef { id: ChunkId([0; 32]), pack: 0, offset, stored, clear, coding };
    assert!(pack::read_chunk(pack, &chunk, &id_key).is_none(), "nothing has this id");
    let clear = clear.min(MAX_CHUNK_LENGTH) as usize;
    if let Some(bytes) = chunk::decode(pack, coding, clear) {
        assert_eq!(bytes.len(), clear);
        let id = chunk::chunk_id(&id_key, &bytes);
        let stored = u32::try_from(pack.len()).expect("fuzzed packs are small");
        let whole =
            ChunkRef { id, offset: 0, stored, clear: u32::try_from(clear).expect("limited"), ..chunk };
        assert_eq!(pack::read_chunk(pack, &whole, &id_key), Some(bytes));
    }
}

fn chunk_claim(take: &mut Take<'_>) -> Result<(u32, u32, u32, Coding), crate::Malformed> {
    let coding = |byte| if byte % 2 == 0 { Coding::Raw } else { Coding::Zstd };
    Ok((take.u32()?, take.u32()?, take.u32()?, coding(take.u8()?)))
}

/// The inside of a head, unsigned, and the same bytes as the body of a sealed one, which is refused for its signature.
pub fn head(data: &[u8]) {
    if let Ok(head) = head::decode(data) {
        assert_eq!(head::encode(&head).len(), data.len());
        assert!(head.generation > 0);
        for text in [&head.device, &head.browser_version] {
            assert!(!text.chars().any(char::is_control) && text.len() <= head::MAX_LABEL_LENGTH);
        }
    }
    let (keys, key) = (keys().sealing(), Secret::from_bytes([7; 32]));
    let mut object = vec![0; 96];
    let mut body = seal::with_room(data.len());
    body.extend_from_slice(data);
    object.append(&mut seal::seal(body, Kind::Head, &profile(), &key, &mut Counter(1)));
    let unlock = Unlock::Direct(key);
    let opened =
        head::open_head(&ObjectName::of(&object), &object, &profile(), &keys.verifying_key(), &unlock);
    assert!(matches!(opened, Err(HeadError::Malformed(_) | HeadError::Signature)));
}

/// A signed head of any inside: what a worker with a session's key could make.
pub fn signed_head(data: &[u8]) {
    let signing = SigningKey::from_seed(&[9; 32]);
    let mut body = seal::with_room(data.len() + 68);
    body.put_u32(u32::try_from(data.len()).expect("fuzzed heads are small"));
    body.put_bytes(data);
    body.put_bytes(&signing.sign(head::CONTEXT, data));
    let key = Secret::from_bytes([7; 32]);
    let mut object = vec![0; 96];
    object.append(&mut seal::seal(body, Kind::Head, &profile(), &key, &mut Counter(1)));
    let unlock = Unlock::Direct(key);
    match head::open_head(&ObjectName::of(&object), &object, &profile(), &signing.public(), &unlock) {
        Ok((head, _)) => assert_eq!(head.profile, profile()),
        Err(error) => assert!(matches!(error, HeadError::Malformed(_) | HeadError::OtherProfile(_))),
    }
}

/// A grant's inside, and a key slot's parameters.
pub fn envelope(data: &[u8]) {
    let mut padded = data.to_vec();
    padded.resize(GRANT_LENGTH, 0);
    for bytes in [data, &padded] {
        if let Ok(grant) = Grant::decode(bytes) {
            assert_eq!(**grant.encode(), *bytes);
            assert_eq!(grant.head.is_some(), grant.generation > 0);
        }
    }
    // Never stretches a passphrase: a sum that fits is not to be found.
    assert!(slot::open_slot(data, "passphrase").is_err());
}

/// A proposal, with and without a signature that fits.
pub fn proposal(data: &[u8]) {
    if let Ok(read) = Proposal::read(data, &keys()) {
        assert_eq!(crate::proposal::sign(&read, &keys().for_session(&read.session)), data);
    }
    let Ok(proposal) = Proposal::decode(data) else { return };
    assert_eq!(proposal.encode(), data);
    assert!(data.len() <= MAX_PROPOSAL_LENGTH);
    let signed = crate::proposal::sign(&proposal, &keys().for_session(&proposal.session));
    match Proposal::read(&signed, &keys()) {
        Ok(read) => assert_eq!((read, proposal.profile.clone()), (proposal, profile())),
        Err(_) => assert_ne!(proposal.profile, profile()),
    }
}

/// Pointers, lists of objects to retain and deletions.
pub fn statements(data: &[u8]) {
    let (keys, profile) = (keys(), profile());
    let key = keys.verifying_key();
    assert!(Pointer::read(data, &profile, &key).is_err());
    if let Ok(list) = RetainList::read(data, &profile, &key) {
        assert_eq!(list.sign(&keys), data);
    }
    assert!(crate::retain::Deletion::read(data, &profile, &key).is_err());
    if let Ok(pointer) = Pointer::decode(data) {
        assert_eq!(pointer.encode(), data);
        assert!(data.len() <= MAX_POINTER_LENGTH);
        if pointer.profile == profile {
            assert_eq!(Pointer::read(&pointer.sign(&keys), &profile, &key), Ok(pointer.clone()));
        }
        let _ = pointer.name(&keys);
    }
}

/// A path from a manifest: what is written stays below the directory that it is written into.
pub fn path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let extension = allowlist::extension(path);
    match allowlist::classify(path) {
        Ok(class) => {
            assert!(!path.is_empty() && path.len() <= MAX_PATH_LENGTH && !path.contains(['\\', '\0']));
            let inside = std::path::Path::new(path).components();
            assert!(inside.clone().all(|part| matches!(part, std::path::Component::Normal(_))));
            assert_eq!(inside.count(), path.split('/').count());
            assert!(extension.is_none() || class == Class::Executable);
        }
        Err(refused) => assert!(extension.is_none() && refused.0.len() <= MAX_PATH_LENGTH * 4),
    }
    if let Some((id, _)) = extension {
        assert!(allowlist::is_extension_id(id) && path.contains(id));
    }
}

/// Settings files and listings of extensions: cleaning leaves nothing to be cleaned.
pub fn settings(data: &[u8]) {
    for settings in [Settings::Preferences, Settings::LocalState] {
        let _ = sanitize::offending(settings, data);
        let Some(clean) = sanitize::sanitize(settings, data) else { continue };
        assert_eq!(sanitize::sanitize(settings, &clean).as_deref(), Some(&*clean));
        assert_eq!(sanitize::offending(settings, &clean), Vec::<String>::new());
    }
    assert!(extensions::decode_listing(data) <= extensions::MAX_EXTENSIONS);
    if let Some(word) = extensions::Word::decode(data) {
        assert_eq!(extensions::Word::decode(&word.encode()), Some(word));
    }
}

/// Bytes of the header that every sealed object has.
pub const SEAL_HEADER_LENGTH: usize = HEADER_LENGTH;
