//! What differs between two versions of a profile, file by file. Contents are told apart by the ids of their chunks, so
//! nothing is fetched or opened for it.

use std::cmp::Ordering;

use serde::Serialize;

use crate::manifest::{FileEntry, Manifest};

/// A file that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Relative to the data directory.
    pub path: String,
    /// Its bytes before; `None` where it was not there.
    pub before: Option<u64>,
    /// Its bytes after; `None` where it is gone.
    pub after: Option<u64>,
}

/// Every file that is added, removed or changed on the way from one to the other, in ascending order of path. Both are of
/// one profile: other profiles name the same chunks otherwise.
pub fn compare(before: &Manifest, after: &Manifest) -> Vec<Change> {
    let (mut old, mut new) = (before.files().iter().peekable(), after.files().iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        let gone = if order.is_gt() { None } else { old.next() };
        let come = if order.is_lt() { None } else { new.next() };
        if gone.zip(come).is_some_and(|(a, b)| is_same(a, b)) {
            continue;
        }
        let path = gone.or(come).expect("one of them was there").path.clone();
        changes.push(Change { path, before: gone.map(|file| file.size), after: come.map(|file| file.size) });
    }
}

fn is_same(a: &FileEntry, b: &FileEntry) -> bool {
    let ids = |file: &FileEntry| file.chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>();
    a.size == b.size && ids(a) == ids(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{ChunkId, ChunkRef, Coding};

    fn manifest(files: &[(&str, u8)]) -> Manifest {
        let chunk = |byte| ChunkRef {
            id: ChunkId([byte; 32]),
            pack: 0,
            offset: u32::from(byte),
            stored: 9,
            clear: 9,
            coding: Coding::Raw,
        };
        let entry = |(path, byte): &(&str, u8)| FileEntry {
            path: (*path).into(),
            size: 9,
            chunks: vec![chunk(*byte)],
        };
        Manifest { files: files.iter().map(entry).collect(), ..Manifest::default() }
    }

    #[test]
    fn added_removed_and_changed_files_are_named_and_no_others() {
        let before = manifest(&[("a", 1), ("b", 2), ("d", 4)]);
        let after = manifest(&[("b", 3), ("c", 5), ("d", 4), ("e", 6)]);
        let told: Vec<_> = compare(&before, &after)
            .into_iter()
            .map(|change| (change.path, change.before, change.after))
            .collect();
        let expected =
            [("a", Some(9), None), ("b", Some(9), Some(9)), ("c", None, Some(9)), ("e", None, Some(9))];
        assert_eq!(told, expected.map(|(path, before, after)| (path.to_owned(), before, after)));
        assert!(compare(&after, &after).is_empty());
        assert!(compare(&Manifest::default(), &Manifest::default()).is_empty());
        assert_eq!(compare(&Manifest::default(), &before).len(), 3);
    }

    #[test]
    fn where_a_chunk_lies_is_no_difference() {
        let mut moved = manifest(&[("a", 1)]);
        moved.files[0].chunks[0].offset = 77;
        assert!(compare(&manifest(&[("a", 1)]), &moved).is_empty());
    }
}
