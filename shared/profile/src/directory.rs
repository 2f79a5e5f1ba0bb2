//! A store in a directory: `xx/` of the first two digits, then the object's full name.
//!
//! Used for the user's own objects and for a node's cache. Files are written beside, flushed and linked into
//! place, so a reader sees a whole object or none; bytes are checked against the name on the way in and out. Objects that
//! are put soon are flushed together, get their names together, and their directories are flushed together, when they settle.

use std::{
    collections::BTreeSet,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    files::{self, Beside},
    object::{MAX_OBJECT_LENGTH, NamedObject, ObjectName, ObjectStore, StoreError, check_object},
};

/// Objects in one directory; any number of processes may use it at once.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
    unsettled: Arc<Mutex<Vec<Unplaced>>>,
}

/// An object that is written and not there yet.
#[derive(Debug)]
struct Unplaced {
    written: Beside,
    is_flushed: bool,
}

/// Objects from this length on are flushed by the thread that puts them, while others compress: in the end the disk would be
/// waited for. Smaller ones are flushed together in the end, since the disk takes as long for several as for one.
const FLUSHED_AT_ONCE: usize = 1024 * 1024;
/// Each object that is not there yet keeps a file open; with more than this many of them none waits any longer for its flush.
const MAX_UNFLUSHED: usize = 64;

impl DirectoryStore {
    /// Opens or makes it; directories are for their owner alone.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        files::make_directory(&root).map_err(|source| disk("make the object directory", &root, source))?;
        Ok(Self { root, unsettled: Arc::default() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn held(&self) -> MutexGuard<'_, Vec<Unplaced>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_beside(&self, name: &ObjectName, object: &[u8]) -> Result<Beside, StoreError> {
        let path = self.path(name);
        let parent = path.parent().expect("objects lie in a directory");
        files::make_directory(parent).map_err(|source| disk("make", parent, source))?;
        Beside::write(&path, object).map_err(|source| disk("write", &path, source))
    }

    /// First the bytes are durable, then they get their names, then those are, and the directories' own.
    fn place(&self, unplaced: &[Unplaced]) -> Result<(), StoreError> {
        let unflushed: Vec<&Unplaced> = unplaced.iter().filter(|object| !object.is_flushed).collect();
        files::at_once(&unflushed, |object| object.written.flush())
            .map_err(|source| disk("write objects below", &self.root, source))?;
        let mut directories = BTreeSet::from([self.root.as_path()]);
        for Unplaced { written, .. } in unplaced {
            written.link().map_err(|source| disk("write", written.path(), source))?;
            directories.extend(written.path().parent());
        }
        let directories: Vec<&Path> = directories.into_iter().collect();
        files::at_once(&directories, |directory| files::flush_directory(directory))
            .map_err(|source| disk("flush directories below", &self.root, source))
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        let text = name.to_string();
        self.root.join(&text[..2]).join(text)
    }
}

impl ObjectStore for DirectoryStore {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        let mut missing = Vec::new();
        for name in names {
            let path = self.path(name);
            if !path.try_exists().map_err(|source| disk("look for", &path, source))? {
                missing.push(*name);
            }
        }
        Ok(missing)
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let path = self.path(name);
        match files::read_limited(&path, MAX_OBJECT_LENGTH as u64) {
            Ok(object) => check_object(name, &object).map(|()| object),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing(*name)),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(StoreError::Corrupt(*name)),
            Err(source) => Err(disk("read", &path, source)),
        }
    }

    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        check_object(name, object)?;
        let path = self.path(name);
        if self.get(name).is_ok() {
            return Ok(());
        }
        if path.exists() {
            // A damaged copy is worth nothing; the right bytes may take its place.
            return files::replace(&path, object).map_err(|source| disk("mend", &path, source));
        }
        let written = self.write_beside(name, object)?;
        self.place(&[Unplaced { written, is_flushed: false }])
    }

    fn put_soon(&self, object: &NamedObject) -> Result<(), StoreError> {
        let path = self.path(object.name());
        if path.try_exists().map_err(|source| disk("look for", &path, source))? {
            return self.put(object.name(), object.bytes());
        }
        let written = self.write_beside(object.name(), object.bytes())?;
        let is_large = object.bytes().len() >= FLUSHED_AT_ONCE;
        let is_flushed = is_large || self.held().len() >= MAX_UNFLUSHED;
        if is_flushed {
            written.flush().map_err(|source| disk("write", &path, source))?;
        }
        self.held().push(Unplaced { written, is_flushed });
        Ok(())
    }

    fn settle(&self) -> Result<(), StoreError> {
        let unplaced = mem::take(&mut *self.held());
        if unplaced.is_empty() { Ok(()) } else { self.place(&unplaced) }
    }
}

fn disk(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Disk { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_there_once_and_checked() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path().join("objects")).unwrap();
        let name = ObjectName::of(b"object");
        assert!(matches!(store.get(&name), Err(StoreError::Missing(_))));
        assert_eq!(store.missing(&[name]).unwrap(), [name]);
        store.put(&name, b"object").unwrap();
        store.put(&name, b"object").unwrap();
        assert_eq!(store.get(&name).unwrap(), b"object");
        assert!(store.missing(&[name]).unwrap().is_empty());
        assert!(matches!(store.put(&name, b"other"), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn what_is_put_soon_is_there_once_it_has_settled_and_leaves_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        let object = NamedObject::of(b"object".to_vec());
        store.put_soon(&object).unwrap();
        assert_eq!(store.missing(&[*object.name()]).unwrap(), [*object.name()], "not durable, so not there");
        store.put_soon(&object).unwrap();
        store.clone().settle().unwrap();
        assert_eq!(store.get(object.name()).unwrap(), b"object");
        store.put_soon(&object).unwrap();
        let given_up = NamedObject::of(b"given up".to_vec());
        store.put_soon(&given_up).unwrap();
        let left = store.path(given_up.name());
        drop(store);
        assert!(!left.exists());
        let entries = |path: &Path| std::fs::read_dir(path).unwrap().count();
        assert_eq!(entries(left.parent().unwrap()), 0, "what never settled is gone");
    }

    #[test]
    fn damage_is_noticed_and_mended_by_the_right_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        let name = ObjectName::of(b"object");
        store.put(&name, b"object").unwrap();
        std::fs::write(store.path(&name), b"damage").unwrap();
        assert!(matches!(store.get(&name), Err(StoreError::Corrupt(_))));
        store.put(&name, b"object").unwrap();
        assert_eq!(store.get(&name).unwrap(), b"object");
    }
}
