//! Verifying: every object that a generation lists is fetched, opened and checked chunk by chunk; nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::{
    manifest::{ChunkRef, FileEntry},
    object::{ObjectName, ObjectStore},
    pack::{self, ReadError},
    seal::Kind,
    snapshot::Snapshot,
};

/// An object that does not hold what a generation needs of it.
#[derive(Debug)]
pub struct Damage {
    /// Which.
    pub object: ObjectName,
    /// What is wrong.
    pub error: ReadError,
    /// Files that cannot be restored in full.
    pub files: BTreeSet<String>,
}

/// Looks through generations; what several of them share is read once.
#[derive(Debug, Default)]
pub struct Verifier {
    /// Chunks that were found good, by pack and offset.
    good: HashSet<(ObjectName, u32)>,
    /// Objects that were opened.
    pub objects: HashSet<ObjectName>,
    /// Everything that was found wrong.
    pub damage: Vec<Damage>,
}

impl Verifier {
    /// Checks one generation. Head and manifest were checked when it was opened. `progress` is called after each pack
    /// with the number done and the number there are.
    pub fn check(
        &mut self,
        snapshot: &Snapshot,
        store: &dyn ObjectStore,
        mut progress: impl FnMut(usize, usize),
    ) {
        self.objects.insert(snapshot.name());
        self.objects.extend(snapshot.head().root.packs.names());
        let packs = by_pack(snapshot.manifest().files());
        let total = packs.len();
        for (done, (slot, places)) in packs.into_iter().enumerate() {
            self.check_pack(snapshot, slot, &places, store);
            progress(done + 1, total);
        }
    }

    fn check_pack(&mut self, snapshot: &Snapshot, slot: u32, places: &[Place<'_>], store: &dyn ObjectStore) {
        let entry = snapshot.manifest.packs.get(slot).expect("the decoder checked the slot");
        let unchecked = |place: &&Place<'_>| !self.good.contains(&(entry.name, place.1.offset));
        let places: Vec<_> = places.iter().filter(unchecked).collect();
        if places.is_empty() {
            return;
        }
        self.objects.insert(entry.name);
        let clear = match pack::read_pack(store, entry, Kind::Pack, &snapshot.head().profile) {
            Ok(clear) => clear,
            Err(error) => {
                let files = places.iter().map(|(file, _)| file.path.clone()).collect();
                self.damage.push(Damage { object: entry.name, error, files });
                return;
            }
        };
        let mut files = BTreeSet::new();
        for (file, chunk) in places {
            if pack::read_chunk(&clear, chunk, &snapshot.id_key).is_some() {
                self.good.insert((entry.name, chunk.offset));
            } else {
                files.insert(file.path.clone());
            }
        }
        if !files.is_empty() {
            self.damage.push(Damage { object: entry.name, error: ReadError::Chunk(entry.name), files });
        }
    }
}

type Place<'a> = (&'a FileEntry, &'a ChunkRef);

fn by_pack(files: &[FileEntry]) -> BTreeMap<u32, Vec<Place<'_>>> {
    let mut places: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for file in files {
        for chunk in &file.chunks {
            places.entry(chunk.pack).or_default().push((file, chunk));
        }
    }
    places
}
