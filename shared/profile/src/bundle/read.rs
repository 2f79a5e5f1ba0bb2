//! Reading a sealed file: once through from end to end, before anything in it is used; then object by object.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt as _,
    path::Path,
};

use cbrowse_protocol::id::{MAX_ID_LENGTH, ProfileId};

use super::{
    ACCESS_LENGTH, BundleError, MAGIC, MAX_OBJECTS, OBJECT_HEADER_LENGTH, PREFIX_LENGTH, SUM_LENGTH, Sealed,
    VERSION,
};
use crate::{
    codec::{Malformed, Take},
    head::Unlock,
    meter::Meter,
    object::{MAX_OBJECT_LENGTH, ObjectName, ObjectStore, StoreError, check_object},
    slot::SLOT_LENGTH,
    snapshot::{Access, OpenError, Snapshot, open_snapshot},
};

/// A sealed file whose every byte was checked. It is a store of its objects, which can only be read.
pub struct Bundle {
    file: File,
    profile: ProfileId,
    head: ObjectName,
    sealed: Option<Sealed>,
    /// Where each object lies, and its length.
    places: HashMap<ObjectName, (u64, u32)>,
    length: u64,
}

impl Bundle {
    /// Whether the file at `path` begins like one. No promise that it is whole.
    pub fn begins(path: &Path) -> io::Result<bool> {
        let mut first = [0; 4];
        match File::open(path)?.read_exact(&mut first) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| first == MAGIC),
        }
    }

    /// Reads all of it and checks every object against its name and the whole against its sum. At most one object is in
    /// memory at a time; `meter` counts.
    pub fn open(path: &Path, meter: &Meter) -> Result<Self, BundleError> {
        let failed = |source| BundleError::Disk { action: "open", source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let second = file.try_clone().map_err(failed)?;
        let mut walk = Walk { input: BufReader::new(second), sum: blake3::Hasher::new(), at: 0, length };
        let (profile, head, sealed) = walk.header()?;
        let places = walk.objects(meter)?;
        walk.end()?;
        if !places.contains_key(&head) {
            return Err(BundleError::Objects);
        }
        Ok(Self { file, profile, head, sealed, places, length })
    }

    /// Whose it is.
    pub fn profile(&self) -> &ProfileId {
        &self.profile
    }

    /// The head of the generation that it holds.
    pub fn head(&self) -> ObjectName {
        self.head
    }

    /// Whether a passphrase opens it.
    pub fn takes_passphrase(&self) -> bool {
        self.sealed.is_some()
    }

    /// Objects and bytes.
    pub fn size(&self) -> (u64, u64) {
        (self.places.len() as u64, self.length)
    }

    /// What the passphrase opens; never an extension, since anybody can seal a file and tell its passphrase. Takes tenths of a
    /// second, on purpose.
    pub fn access(&self, passphrase: &str) -> Result<Access, BundleError> {
        let opened =
            self.sealed.as_ref().ok_or(BundleError::NoPassphrase)?.open(&self.profile, passphrase)?;
        if opened.head != self.head {
            return Err(BundleError::Objects);
        }
        Ok(Access {
            profile: self.profile.clone(),
            id_key: opened.id_key,
            signer: opened.signer,
            unlock: Unlock::Direct(opened.head_key),
            // The signer's key came with the file: it tells that one hand made all of it, and not whose. What only the user's
            // word lets in, extensions above all, needs the account key.
            is_users: false,
        })
    }

    /// The generation that it holds.
    pub fn snapshot(&self, access: &Access) -> Result<Snapshot, OpenError> {
        open_snapshot(&self.head, self, access)
    }

    /// Whether it holds the objects of `snapshot` and no others: nothing is smuggled along.
    pub fn is_exactly(&self, snapshot: &Snapshot) -> bool {
        let mut names = snapshot.objects();
        names.sort_unstable();
        names.dedup();
        names.len() == self.places.len() && names.iter().all(|name| self.places.contains_key(name))
    }
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Bundle({}, {} objects)", self.profile, self.places.len())
    }
}

impl ObjectStore for Bundle {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        Ok(names.iter().filter(|name| !self.places.contains_key(name)).copied().collect())
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let (at, length) = self.places.get(name).ok_or(StoreError::Missing(*name))?;
        let mut object = vec![0; *length as usize];
        self.file.read_exact_at(&mut object, *at).map_err(|source| StoreError::Disk {
            action: "read",
            path: "the sealed file".into(),
            source,
        })?;
        // It may have been changed since it was read through.
        check_object(name, &object).map(|()| object)
    }

    fn put(&self, name: &ObjectName, _object: &[u8]) -> Result<(), StoreError> {
        let message = format!("a sealed file takes no object ({name})");
        Err(StoreError::Remote { message, retryable: false })
    }
}

/// One way through the file, summing up.
struct Walk<R> {
    input: R,
    sum: blake3::Hasher,
    at: u64,
    length: u64,
}

impl<R: Read> Walk<R> {
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), BundleError> {
        if self.length.saturating_sub(self.at) < bytes.len() as u64 {
            return Err(BundleError::Cut(self.length));
        }
        self.input.read_exact(bytes).map_err(|source| match source.kind() {
            // It became shorter while it was read.
            io::ErrorKind::UnexpectedEof => BundleError::Cut(self.at),
            _ => BundleError::Disk { action: "read", source },
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn summed(&mut self, length: usize) -> Result<Vec<u8>, BundleError> {
        let mut bytes = vec![0; length];
        self.take(&mut bytes)?;
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn malformed<T>(&self) -> Result<T, BundleError> {
        Err(Malformed { at: usize::try_from(self.at).unwrap_or(usize::MAX) }.into())
    }

    fn header(&mut self) -> Result<(ProfileId, ObjectName, Option<Sealed>), BundleError> {
        let prefix = match self.summed(PREFIX_LENGTH) {
            Err(BundleError::Cut(_)) => return Err(BundleError::NotABundle),
            prefix => prefix?,
        };
        let has_slot = match prefix[4..] {
            _ if prefix[..4] != MAGIC => return Err(BundleError::NotABundle),
            [VERSION, slot @ (0 | 1), 0, 0] => slot == 1,
            [VERSION, ..] => return self.malformed(),
            [version, ..] => return Err(BundleError::Version(version)),
            [] => return Err(BundleError::NotABundle),
        };
        let length = self.summed(2)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        if length > MAX_ID_LENGTH {
            return self.malformed();
        }
        let text = self.summed(length)?;
        let profile = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
        let Some(profile) = profile else { return self.malformed() };
        let head = self.name()?;
        let sealed = if has_slot {
            Some(Sealed { slot: self.summed(SLOT_LENGTH)?, access: self.summed(ACCESS_LENGTH)? })
        } else {
            None
        };
        Ok((profile, head, sealed))
    }

    fn name(&mut self) -> Result<ObjectName, BundleError> {
        let bytes = self.summed(SUM_LENGTH)?;
        Ok(ObjectName::from_bytes(Take::new(&bytes).array()?))
    }

    fn u32(&mut self) -> Result<u32, BundleError> {
        let bytes = self.summed(size_of::<u32>())?;
        Ok(Take::new(&bytes).u32()?)
    }

    fn objects(&mut self, meter: &Meter) -> Result<HashMap<ObjectName, (u64, u32)>, BundleError> {
        let count = self.u32()?;
        let room = self.length.saturating_sub(self.at) / OBJECT_HEADER_LENGTH as u64;
        if count > MAX_OBJECTS {
            return self.malformed();
        }
        if u64::from(count) > room {
            return Err(BundleError::Cut(self.length));
        }
        meter.expect(count.into(), self.length - self.at);
        let mut places = HashMap::with_capacity(count as usize);
        for _ in 0..count {
            let (name, length) = (self.name()?, self.u32()?);
            if length as usize > MAX_OBJECT_LENGTH {
                return self.malformed();
            }
            let at = self.at;
            let object = self.summed(length as usize)?;
            if ObjectName::of(&object) != name {
                return Err(BundleError::Object(name));
            }
            if places.insert(name, (at, length)).is_some() {
                return self.malformed();
            }
            meter.done(1, u64::from(length));
        }
        Ok(places)
    }

    fn end(mut self) -> Result<(), BundleError> {
        let expected = *self.sum.finalize().as_bytes();
        let mut sum = [0; SUM_LENGTH];
        self.take(&mut sum)?;
        if sum != expected {
            return Err(BundleError::Sum);
        }
        if self.at < self.length {
            return Err(BundleError::Trailing(self.length - self.at));
        }
        Ok(())
    }
}
