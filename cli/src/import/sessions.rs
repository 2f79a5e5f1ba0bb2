//! Open tabs that the browser keeps encrypted (`Sessions_Encrypted`): each record opened and sealed again.
//!
//! ```text
//! "SNSS", u32 version (5: its records are encrypted), then u32 length and that many bytes for each record
//! ```
//! A record that is cut short is the last one of a browser that still writes; it is left out.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::{
    ImportError,
    copy::{create, read_small},
    crypt::{Expected, Keys, Undecryptable, is_of_keyring},
};

const DIRECTORY: &str = "Sessions_Encrypted";
const MAGIC: &[u8; 4] = b"SNSS";
const HEADER_LENGTH: usize = 8;
/// Longest such file, in bytes. A window with a thousand tabs makes a few megabytes.
const MAX_LENGTH: u64 = 64 * 1024 * 1024;

/// What became of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Carried,
    /// It stays behind.
    Dropped(String, Undecryptable),
}

/// Whether any of them needs a key that is in the keyring.
pub(super) fn want_keyring(profile: &Path) -> bool {
    let first = |path: &PathBuf| {
        let bytes = read_small(path, MAX_LENGTH).unwrap_or_default();
        records(&bytes).and_then(|mut records| records.next().map(is_of_keyring)).unwrap_or(false)
    };
    files(profile).iter().any(first)
}

/// Makes them readable elsewhere, or removes them.
pub(super) fn rewrite(profile: &Path, keys: &Keys) -> Result<Vec<Told>, ImportError> {
    let mut told = Vec::new();
    for path in files(profile) {
        let failed = |source| ImportError::Write { path: path.clone(), source };
        let bytes = read_small(&path, MAX_LENGTH).map_err(failed)?;
        match seal_again(&bytes, keys) {
            Ok(sealed) => {
                create(&path).and_then(|mut file| file.write_all(&sealed)).map_err(failed)?;
                told.push(Told::Carried);
            }
            Err(reason) => {
                fs::remove_file(&path).map_err(failed)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                told.push(Told::Dropped(format!("{DIRECTORY}/{name}"), reason));
            }
        }
    }
    Ok(told)
}

fn files(profile: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(profile.join(DIRECTORY)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn records(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let (header, mut rest) = bytes.split_at_checked(HEADER_LENGTH)?;
    (header[..4] == *MAGIC).then(|| {
        std::iter::from_fn(move || {
            let (length, after) = rest.split_at_checked(4)?;
            let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
            let (record, after) = after.split_at_checked(length)?;
            rest = after;
            Some(record)
        })
    })
}

fn seal_again(bytes: &[u8], keys: &Keys) -> Result<Vec<u8>, Undecryptable> {
    let records = records(bytes).ok_or(Undecryptable::Unknown)?;
    let mut sealed = bytes[..HEADER_LENGTH].to_vec();
    for record in records {
        let record = keys.seal(&keys.open(record, Expected::Bytes)?);
        let length = u32::try_from(record.len()).map_err(|_| Undecryptable::Unknown)?;
        sealed.extend_from_slice(&length.to_le_bytes());
        sealed.extend_from_slice(&record);
    }
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::import::crypt::tests_seal;

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"SNSS\x05\0\0\0".to_vec();
        for record in records {
            bytes.extend_from_slice(&u32::try_from(record.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(record);
        }
        bytes
    }

    #[test]
    fn records_are_sealed_again_and_a_cut_one_is_left_out() {
        let keys = Keys::new(&[b"peanuts"], &[Zeroizing::new(b"k".to_vec())]);
        let (one, two) = (tests_seal(b"v11", b"k", b"one"), tests_seal(b"v11", b"k", b"two"));
        let expected = file(&[keys.seal(b"one"), keys.seal(b"two")]);
        let whole = file(&[one.clone(), two]);
        assert_eq!(seal_again(&whole, &keys).unwrap(), expected);
        assert_eq!(seal_again(&whole[..whole.len() - 1], &keys).unwrap(), file(&[keys.seal(b"one")]));
        let none = Keys::new(&[b"peanuts"], &[]);
        assert_eq!(seal_again(&whole, &none), Err(Undecryptable::NoKey));
        assert_eq!(seal_again(b"SNS", &keys), Err(Undecryptable::Unknown));
        assert_eq!(seal_again(b"something else", &keys), Err(Undecryptable::Unknown));
    }

    #[test]
    fn a_file_that_does_not_open_is_removed_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let sessions = directory.path().join(DIRECTORY);
        fs::create_dir(&sessions).unwrap();
        fs::write(sessions.join("Tabs_1"), file(&[tests_seal(b"v11", b"k", b"one")])).unwrap();
        fs::write(sessions.join("Tabs_2"), file(&[tests_seal(b"v10", b"peanuts", b"two")])).unwrap();
        assert!(want_keyring(directory.path()));
        let told = rewrite(directory.path(), &Keys::new(&[b"peanuts"], &[])).unwrap();
        let dropped = Told::Dropped("Sessions_Encrypted/Tabs_1".into(), Undecryptable::NoKey);
        assert_eq!(told, [dropped, Told::Carried]);
        assert!(!sessions.join("Tabs_1").exists() && sessions.join("Tabs_2").exists());
    }
}
