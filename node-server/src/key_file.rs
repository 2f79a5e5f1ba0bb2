//! Private keys on disk: PKCS #8 PEM, made exclusively with mode 0600, never overwritten, read with suspicion.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbrowse_protocol::{encoding, identity::SigningKey};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

/// Longest key file in bytes; an Ed25519 key in PEM has about 180.
const MAX_FILE_LENGTH: u64 = 16 * 1024;
/// Width of a line of base64 in PEM (RFC 7468).
const PEM_WIDTH: usize = 64;

/// Why a key cannot be used. Never carries any of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Nothing there.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// There already; a key is never overwritten.
    #[error("{} exists already; a key is never overwritten: move it away, or use it", .0.display())]
    Exists(PathBuf),
    /// Others may read it, so others may have it.
    #[error(
        "{} can be read by other users (mode {mode:04o}); if nobody has taken it: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what [`create`] writes.
    #[error(
        "{} holds no Ed25519 private key in PKCS #8 PEM; restore it from a backup, or move it away to have a new one made",
        .0.display()
    )]
    Corrupt(PathBuf),
    /// The file system.
    #[error("{verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { verb, path: path.to_owned(), source }
}

/// The key in `path`; made there when there is none. Two processes that race get the same key.
pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyFileError> {
    match load(path) {
        Err(KeyFileError::Missing(_)) => match create(path) {
            Err(KeyFileError::Exists(_)) => load(path),
            made => made,
        },
        found => found,
    }
}

/// The key in `path`.
pub fn load(path: &Path) -> Result<SigningKey, KeyFileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyFileError::Missing(path.to_owned()));
        }
        opened => opened.map_err(failed("open", path))?,
    };
    let mode = file.metadata().map_err(failed("look at", path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut pem = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_LENGTH).read_to_end(&mut pem).map_err(failed("read", path))?;
    let corrupt = || KeyFileError::Corrupt(path.to_owned());
    let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| corrupt())?;
    SigningKey::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| corrupt())
}

/// A new key in `path`, with its directory (0700) where that is missing.
pub fn create(path: &Path) -> Result<SigningKey, KeyFileError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("create", directory))?;
    let key = SigningKey::generate();
    write_whole(directory, path, &to_pem(&key), 0o600)?;
    Ok(key)
}

/// Writes `text` beside `path`, then links it there: whoever sees `path` sees all of it, and nothing is replaced.
pub(crate) fn write_whole(directory: &Path, path: &Path, text: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let draft = directory.join(draft_name());
    let written = write_draft(&draft, text, mode).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(KeyFileError::Exists(path.to_owned()))
        }
        linked => linked.map_err(failed("create", path)),
    });
    // A leftover draft would hold a key that nobody uses.
    let _ = fs::remove_file(&draft);
    written?;
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(failed("sync", directory))
}

fn write_draft(draft: &Path, text: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(draft)
        .map_err(failed("create", draft))?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(failed("write", draft))
}

fn draft_name() -> String {
    let mut bytes = [0; 9];
    rand::fill(&mut bytes).expect("the system's random source answers");
    format!(".new-{}", encoding::to_text(&bytes))
}

fn to_pem(key: &SigningKey) -> Zeroizing<Vec<u8>> {
    let body = Zeroizing::new(STANDARD.encode(&key.to_pkcs8()[..]));
    let mut pem = Zeroizing::new(Vec::with_capacity(body.len() * 2 + 64));
    pem.extend_from_slice(b"-----BEGIN PRIVATE KEY-----\n");
    for line in body.as_bytes().chunks(PEM_WIDTH) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(b"-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/er/identity.key");
        let made = load_or_create(&path).expect("made");
        assert_eq!(load_or_create(&path).expect("found").public(), made.public());
        assert!(matches!(create(&path), Err(KeyFileError::Exists(_))));
        assert_eq!(load(&path).expect("unchanged").public(), made.public());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("parent"))), (0o600, 0o700));
        let names = fs::read_dir(path.parent().expect("parent")).expect("listing").count();
        assert_eq!(names, 1, "no draft is left");
    }

    #[test]
    fn racing_processes_agree_on_one_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("identity.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_create(&path))).collect();
            threads.into_iter().map(|t| t.join().expect("no panic").expect("a key").public()).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn an_exposed_or_corrupt_key_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("identity.key");
        create(&path).expect("made");
        let whole = fs::read(&path).expect("read");
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            assert!(matches!(load_or_create(&path), Err(KeyFileError::Exposed { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        for broken in [&b""[..], b"hello", &whole[..whole.len() / 2], &[0xff; 5000]] {
            fs::write(&path, broken).expect("write");
            assert!(matches!(load_or_create(&path), Err(KeyFileError::Corrupt(_))));
            assert_eq!(fs::read(&path).expect("read"), broken);
        }
    }

    #[test]
    fn errors_carry_no_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("identity.key");
        create(&path).expect("made");
        let text = fs::read_to_string(&path).expect("read");
        fs::write(&path, text.replace("-----END", "-----FIN")).expect("write");
        let error = format!("{0} {0:?}", load(&path).expect_err("corrupt"));
        assert!(!error.contains(text.lines().nth(1).expect("base64")), "{error}");
    }
}
