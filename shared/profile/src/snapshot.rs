//! A head that was opened and checked, with its manifest: what can be restored, compared and saved upon.

use std::collections::HashMap;

use cbrowse_protocol::{
    id::{ProfileId, SessionId},
    identity::IdentityKey,
};
use zeroize::Zeroizing;

use crate::{
    chunk::Decoder,
    head::{self, Head, HeadError, Root, Unlock},
    keys::{ProfileKeys, SealingKeys},
    manifest::{ChunkRef, Manifest},
    object::{ObjectName, ObjectStore, StoreError},
    pack::{self, ReadError},
    seal::Kind,
    secret::Secret,
};

/// Who opens a head, and whose signature is accepted.
#[derive(Debug)]
pub struct Access {
    pub(crate) profile: ProfileId,
    pub(crate) id_key: Secret,
    pub(crate) signer: IdentityKey,
    pub(crate) unlock: Unlock,
    /// The signer is the user, and not a session of theirs.
    pub(crate) is_users: bool,
}

impl ProfileKeys {
    /// Opens the authority's own heads of the current epoch. What a store offers as new must open with these: a device that was
    /// revoked can still sign with the keys of its epoch.
    pub fn access(&self) -> Access {
        Access { is_users: true, ..Access::of(self.sealing()) }
    }

    /// Opens what `session` proposed.
    pub fn session_access(&self, session: &SessionId) -> Access {
        Access::of(self.for_session(session))
    }
}

impl Access {
    fn of(keys: SealingKeys) -> Self {
        let signer = keys.verifying_key();
        Self {
            profile: keys.profile,
            id_key: keys.id_key,
            signer,
            unlock: Unlock::Wrap(keys.wrap_key),
            is_users: false,
        }
    }
}

/// Why a snapshot could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store lacks the head or gave other bytes.
    #[error("read the head")]
    Store(#[from] StoreError),
    /// The head was refused.
    #[error("open the head")]
    Head(#[from] HeadError),
    /// The manifest was.
    #[error("read the manifest")]
    Manifest(#[from] ReadError),
}

/// One generation of a profile, opened.
#[derive(Debug)]
pub struct Snapshot {
    name: ObjectName,
    head: Head,
    head_key: Secret,
    signer: IdentityKey,
    pub(crate) manifest: Manifest,
    pub(crate) id_key: Secret,
    is_users: bool,
}

/// Fetches, opens and checks the head `name` and its manifest.
pub fn open_snapshot(
    name: &ObjectName,
    store: &dyn ObjectStore,
    access: &Access,
) -> Result<Snapshot, OpenError> {
    let object = store.get(name)?;
    let (head, head_key) = head::open_head(name, &object, &access.profile, &access.signer, &access.unlock)?;
    let manifest = read_manifest(&head, store, &access.id_key)?;
    Ok(Snapshot {
        name: *name,
        head,
        head_key,
        signer: access.signer,
        manifest,
        id_key: access.id_key.duplicate(),
        is_users: access.is_users,
    })
}

fn read_manifest(head: &Head, store: &dyn ObjectStore, id_key: &Secret) -> Result<Manifest, ReadError> {
    let Root { length, packs, chunks } = &head.root;
    // The head's decoder has limited the length.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(*length).unwrap_or(0)));
    let mut opened: HashMap<u32, Zeroizing<Vec<u8>>> = HashMap::new();
    let mut decoder = Decoder::new();
    for chunk in chunks {
        let entry = packs.get(chunk.pack).expect("the decoder checked the slot");
        if let std::collections::hash_map::Entry::Vacant(vacant) = opened.entry(chunk.pack) {
            vacant.insert(pack::read_pack(store, entry, Kind::ManifestPack, &head.profile)?);
        }
        let clear = pack::find_chunk(&opened[&chunk.pack], chunk, id_key, &mut decoder)
            .ok_or(ReadError::Chunk(entry.name))?;
        bytes.extend_from_slice(clear);
    }
    Ok(Manifest::decode(&bytes)?)
}

impl Snapshot {
    /// The head's name.
    pub fn name(&self) -> ObjectName {
        self.name
    }

    /// What the head says.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its files.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Everything a store needs to hold for this generation, the head last.
    pub fn objects(&self) -> Vec<ObjectName> {
        let mut names: Vec<_> = self.manifest.packs.names().chain(self.head.root.packs.names()).collect();
        names.push(self.name);
        names
    }

    /// The same place in the history with nothing in it, to be saved upon with `keys`.
    pub(crate) fn emptied(self, keys: &ProfileKeys) -> Self {
        let head = Head { root: Root::default(), files: 0, bytes: 0, ..self.head };
        let id_key = keys.sealing().id_key;
        Self { head, manifest: Manifest::default(), id_key, ..self }
    }

    /// Whose signature it bears: of the user in some epoch, or of a session.
    pub fn signer(&self) -> &IdentityKey {
        &self.signer
    }

    /// Whether the user signed it; a worker's save that nobody took over yet says nothing about what may execute.
    pub(crate) fn is_users(&self) -> bool {
        self.is_users
    }

    pub(crate) fn head_key(&self) -> &Secret {
        &self.head_key
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &ChunkRef> + Clone {
        self.manifest.files.iter().flat_map(|file| &file.chunks)
    }
}
