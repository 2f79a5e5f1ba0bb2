//! A sealed file: everything that one generation of a profile is made of, in one file that may lie anywhere.
//!
//! ```text
//!  0   4  "cbx1"
//!  4   1  version, 1
//!  5   1  1 where a passphrase opens it, else 0
//!  6   2  0
//!         the profile's id (text), the head's name 32
//!         where a passphrase opens it: a key slot 160, the access 192 (below)
//!         u32 count of objects; each: name 32, u32 length, bytes; the head comes last
//!    32  BLAKE3 of everything before
//! ```
//! The account key opens it as it opens the objects in a store. A passphrase opens a key slot that holds a random key, and
//! that key the access (kind `BundleAccess`): the verifying key, head's name, head key and id key, 32 bytes each. So whoever
//! is told the passphrase reads this generation and no other, and cannot sign anything.
//!
//! Format version 1; frozen once released.

mod read;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use cbrowse_protocol::{id::ProfileId, identity::IdentityKey};

pub use self::read::Bundle;
use crate::{
    codec::{Malformed, Put as _},
    keys::{AccountKey, ProfileKeys},
    meter::Meter,
    object::{ObjectName, ObjectStore, StoreError, check_object},
    seal::{self, HEADER_LENGTH, Kind, SealError, TAG_LENGTH},
    secret::{KEY_LENGTH, Randomness, Secret},
    slot::{Cost, SlotError, seal_slot},
    snapshot::Snapshot,
};

/// The first bytes of a sealed file.
pub const MAGIC: [u8; 4] = *b"cbx1";
/// The format's version.
pub const VERSION: u8 = 1;
/// Most objects in one file: a profile of the largest size has a few thousand. More would be an index that only costs memory.
pub const MAX_OBJECTS: u32 = 65_536;
const PREFIX_LENGTH: usize = 8;
const OBJECT_HEADER_LENGTH: usize = 36;
const SUM_LENGTH: usize = 32;
const ACCESS_CLEAR_LENGTH: usize = 4 * KEY_LENGTH;
const ACCESS_LENGTH: usize = HEADER_LENGTH + ACCESS_CLEAR_LENGTH + TAG_LENGTH;

/// Why a sealed file was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It begins otherwise.
    #[error("the file is no sealed profile")]
    NotABundle,
    /// A later format.
    #[error("the sealed file has version {0}, which is newer than this program; update it")]
    Version(u8),
    /// It ends before what it announces.
    #[error("the sealed file is cut short at byte {0}")]
    Cut(u64),
    /// Something follows its end.
    #[error("{0} bytes follow the end of the sealed file")]
    Trailing(u64),
    /// Its fields make no sense.
    #[error("the sealed file is malformed")]
    Malformed(#[from] Malformed),
    /// An object is not what its name says.
    #[error("object {0} in the sealed file is damaged or swapped")]
    Object(ObjectName),
    /// All objects are whole, and the whole is not what was written.
    #[error("the sealed file was changed after it was written")]
    Sum,
    /// It lacks an object of its generation, or holds more than those.
    #[error("the sealed file does not hold exactly the objects of its generation")]
    Objects,
    /// It was written without one.
    #[error("no passphrase opens this sealed file; it takes the account key it was made with")]
    NoPassphrase,
    /// The slot stays shut.
    #[error("open the sealed file's key slot")]
    Slot(#[from] SlotError),
    /// The slot opens, and what it guards does not.
    #[error("open the sealed file")]
    Access(#[source] SealError),
    /// An object could not be had.
    #[error("read an object")]
    Store(#[from] StoreError),
    /// The disk said no.
    #[error("{action} the sealed file")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A passphrase that opens the file, and what a guess costs.
#[derive(Clone, Copy)]
pub struct Passphrase<'a> {
    /// The words.
    pub text: &'a str,
    /// What stretching them costs.
    pub cost: Cost,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bundled {
    /// Objects in the file.
    pub objects: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes the generation `snapshot` with its objects from `store`, one in memory at a time; `meter` counts them. Whoever
/// calls flushes `out` and puts it in place.
pub fn write_bundle(
    snapshot: &Snapshot,
    keys: &ProfileKeys,
    store: &dyn ObjectStore,
    passphrase: Option<Passphrase<'_>>,
    out: &mut dyn Write,
    meter: &Meter,
    random: &mut dyn Randomness,
) -> Result<Bundled, BundleError> {
    let names = snapshot.objects();
    let mut out = Summing { out, sum: blake3::Hasher::new(), length: 0 };
    out.write(&header(snapshot, &keys.verifying_key(), passphrase, random)?)?;
    let count = u32::try_from(names.len()).ok().filter(|count| *count <= MAX_OBJECTS);
    out.write(&count.ok_or(BundleError::Objects)?.to_le_bytes())?;
    meter.expect(names.len() as u64, 0);
    for name in &names {
        let object = store.get(name)?;
        check_object(name, &object)?;
        let length = u32::try_from(object.len()).expect("objects are limited");
        out.write(name.as_bytes())?;
        out.write(&length.to_le_bytes())?;
        out.write(&object)?;
        meter.done(1, object.len() as u64);
    }
    let sum = *out.sum.finalize().as_bytes();
    out.write(&sum)?;
    Ok(Bundled { objects: names.len() as u64, bytes: out.length })
}

fn header(
    snapshot: &Snapshot,
    signer: &IdentityKey,
    passphrase: Option<Passphrase<'_>>,
    random: &mut dyn Randomness,
) -> Result<Vec<u8>, BundleError> {
    let profile = &snapshot.head().profile;
    let mut header = MAGIC.to_vec();
    header.put_bytes(&[VERSION, u8::from(passphrase.is_some()), 0, 0]);
    header.put_text(profile.as_str());
    header.put_bytes(snapshot.name().as_bytes());
    if let Some(Passphrase { text, cost }) = passphrase {
        let key = Secret::random(random);
        header.put_bytes(&seal_slot(&AccountKey::from_bytes(*key.expose()), text, cost, random)?);
        let mut clear = seal::with_room(ACCESS_CLEAR_LENGTH);
        clear.put_bytes(signer.as_bytes());
        clear.put_bytes(snapshot.name().as_bytes());
        clear.put_bytes(snapshot.head_key().expose());
        clear.put_bytes(snapshot.id_key.expose());
        header.put_bytes(&seal::seal(clear, Kind::BundleAccess, profile, &key, random));
    }
    Ok(header)
}

struct Summing<'a> {
    out: &'a mut dyn Write,
    sum: blake3::Hasher,
    length: u64,
}

impl Summing<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.sum.update(bytes);
        self.length += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| BundleError::Disk { action: "write", source })
    }
}

/// The slot and the access, as they lie in the file.
struct Sealed {
    slot: Vec<u8>,
    access: Vec<u8>,
}

impl Sealed {
    fn open(&self, profile: &ProfileId, passphrase: &str) -> Result<Opened, BundleError> {
        let key = crate::slot::open_slot(&self.slot, passphrase)?;
        let key = Secret::from_bytes(*key.expose());
        let clear = seal::open(self.access.clone(), Kind::BundleAccess, profile, &key)
            .map_err(BundleError::Access)?;
        let mut take = crate::codec::Take::new(&clear);
        Ok(Opened {
            signer: IdentityKey::from_bytes(take.array()?),
            head: ObjectName::from_bytes(take.array()?),
            head_key: Secret::from_bytes(take.array()?),
            id_key: Secret::from_bytes(take.array()?),
        })
    }
}

struct Opened {
    signer: IdentityKey,
    head: ObjectName,
    head_key: Secret,
    id_key: Secret,
}
