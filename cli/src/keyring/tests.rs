//! The rule, the sealed file, and a real gnome-keyring on a bus of its own.

use std::{
    fs,
    io::Write as _,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    process::{Command, Stdio},
};

use super::*;

fn passphrase(text: &str) -> (fs::File, PassphraseSource) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(format!("{text}\nmore").as_bytes()).expect("written");
    let source = PassphraseSource::new(Some(file.as_raw_fd()));
    (file, source)
}

fn world() -> (tempfile::TempDir, Paths) {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = Paths::below(directory.path());
    (directory, paths)
}

#[test]
fn the_first_secret_decides_where_all_of_them_lie() {
    let found = |sealed_file, marker, passphrase_given| Found { sealed_file, marker, passphrase_given };
    for (found, answers, place) in [
        (found(false, false, false), true, Place::Keyring),
        (found(false, false, false), false, Place::File),
        (found(false, false, true), true, Place::File),
        (found(true, false, false), true, Place::File),
        (found(true, true, false), true, Place::File),
        (found(false, true, false), true, Place::Keyring),
        (found(false, true, true), true, Place::Keyring),
        (found(false, true, false), false, Place::Gone),
        (found(false, true, true), false, Place::Gone),
    ] {
        assert_eq!(choose(found, || answers), place, "{found:?} {answers}");
    }
}

#[test]
fn a_sealed_file_keeps_secrets_for_its_passphrase_alone() {
    let (_directory, paths) = world();
    let (_file, source) = passphrase("correct horse");
    let keyring = Keyring::open(&paths, source);
    assert_eq!(keyring.place(), Place::File);
    assert_eq!(keyring.get(Secret::Login).expect("never kept"), None);
    assert!(!keyring.remove(Secret::Login).expect("never kept"));
    keyring.set(Secret::Login, b"hello login").expect("kept");
    keyring.set(Secret::AccountKey, &[7; 32]).expect("kept");

    let path = paths.data.join(SEALED_FILE);
    let bytes = fs::read(&path).expect("a file");
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let text = encoding::to_text(b"hello");
    let clear = [&b"hello"[..], text.as_bytes(), b"login", &[7; 8]];
    for part in clear {
        assert!(!bytes.windows(part.len()).any(|window| window == part), "{part:?} is readable");
    }

    let (_file, source) = passphrase("correct horse");
    let again = Keyring::open(&paths, source);
    assert_eq!(again.get(Secret::AccountKey).expect("kept").expect("there").as_slice(), [7; 32]);
    assert!(again.remove(Secret::Login).expect("forgotten"));
    assert_eq!(again.get(Secret::Login).expect("read"), None);

    let before = fs::read(&path).expect("a file");
    let (_file, source) = passphrase("Correct horse");
    let wrong = Keyring::open(&paths, source);
    let refused = wrong.set(Secret::Login, b"x").expect_err("wrong");
    assert!(matches!(refused, KeyringError::Sealed { source: SealedError::WrongPassphrase, .. }));
    assert_eq!(Failure::from(refused).exit, Exit::Profile);
    assert_eq!(fs::read(&path).expect("a file"), before);
}

#[test]
fn a_damaged_file_is_an_error_and_stays_as_it_is() {
    let (_directory, paths) = world();
    let (_file, source) = passphrase("p");
    Keyring::open(&paths, source).set(Secret::AccountKey, &[7; 32]).expect("kept");
    let path = paths.data.join(SEALED_FILE);
    let whole = fs::read(&path).expect("a file");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let last = whole.len() - 1;
    for damaged in [
        vec![],
        whole[..100].to_vec(),
        whole[..last].to_vec(),
        flipped(0),
        flipped(60),
        flipped(170),
        flipped(last),
    ] {
        fs::write(&path, &damaged).expect("written");
        let (_file, source) = passphrase("p");
        let keyring = Keyring::open(&paths, source);
        for refused in
            [keyring.get(Secret::AccountKey).map(|_| ()), keyring.set(Secret::AccountKey, &[8; 32])]
        {
            let refused = refused.expect_err("damaged");
            assert!(
                matches!(refused, KeyringError::Sealed { source: SealedError::Damaged, .. }),
                "{refused}"
            );
        }
        assert_eq!(fs::read(&path).expect("a file"), damaged);
    }
}

#[test]
fn without_keyring_and_passphrase_the_refusal_names_the_ways_out() {
    let (_directory, paths) = world();
    let nothing = Keyring {
        sealed_file: paths.data.join(SEALED_FILE),
        marker: paths.data.join(MARKER_FILE),
        passphrase: PassphraseSource::new(Some(987_654)),
        place: Place::File,
        service: Err(ServiceError::Unreachable("no bus".into())),
    };
    assert_eq!(nothing.get(Secret::AccountKey).expect("never kept"), None);
    let refused = nothing.set(Secret::AccountKey, &[7; 32]).expect_err("nowhere to keep it");
    assert!(matches!(refused, KeyringError::NoPlace { .. }), "{refused}");
    let failure = Failure::from(refused);
    assert_eq!(failure.exit, Exit::Profile);
    assert!(failure.hint.expect("a hint").contains("--passphrase-fd"));
    assert!(!paths.data.join(SEALED_FILE).exists());
}

#[test]
fn a_keyring_that_is_gone_never_looks_like_an_empty_one() {
    let (_directory, paths) = world();
    let gone = Keyring {
        sealed_file: paths.data.join(SEALED_FILE),
        marker: paths.data.join(MARKER_FILE),
        passphrase: PassphraseSource::new(None),
        place: Place::Gone,
        service: Err(ServiceError::Unreachable("no bus".into())),
    };
    assert!(matches!(gone.get(Secret::AccountKey), Err(KeyringError::Gone(_))));
    assert!(matches!(gone.set(Secret::AccountKey, &[7; 32]), Err(KeyringError::Gone(_))));
}

#[test]
fn passphrases_are_one_line_of_sensible_length() {
    let path = Path::new("x");
    let (_file, source) = passphrase("");
    assert!(matches!(source.get(path, true), Err(passphrase::PassphraseError::Length)));
    let (_file, source) = passphrase(&"x".repeat(passphrase::MAX_PASSPHRASE_LENGTH + 1));
    assert!(matches!(source.get(path, true), Err(passphrase::PassphraseError::Length)));
    let (_file, source) = passphrase("a b\r");
    assert_eq!(source.get(path, true).expect("a line").as_str(), "a b");
    assert_eq!(source.get(path, true).expect("the same, though read once").as_str(), "a b");
}

const INNER: &str = "CBROWSE_TEST_KEYRING_DIRECTORY";

/// Runs itself again on a bus of its own, with a real, unlocked gnome-keyring.
#[test]
fn a_real_secret_service_keeps_secrets() {
    if let Some(directory) = std::env::var_os(INNER) {
        return inside_a_session_with_a_keyring(&PathBuf::from(directory));
    }
    let (directory, _) = world();
    let script = "echo -n test | gnome-keyring-daemon --unlock --components=secrets >/dev/null && \
                  exec \"$0\" --exact --nocapture keyring::tests::a_real_secret_service_keeps_secrets";
    let output = Command::new("dbus-run-session")
        .args(["--", "sh", "-c", script])
        .arg(std::env::current_exe().expect("this program"))
        .env(INNER, directory.path())
        .env("HOME", directory.path())
        .env("XDG_DATA_HOME", directory.path().join("share"))
        .env("XDG_RUNTIME_DIR", directory.path())
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::null())
        .output()
        .expect("dbus-run-session and gnome-keyring are installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn inside_a_session_with_a_keyring(directory: &Path) {
    let paths = Paths::below(directory);
    let keyring = Keyring::open(&paths, PassphraseSource::new(None));
    assert_eq!(keyring.place(), Place::Keyring, "{:?}", keyring.service);
    assert_eq!(keyring.get(Secret::AccountKey).expect("never kept"), None);
    keyring.set(Secret::AccountKey, &[0xff; 32]).expect("kept");
    keyring.set(Secret::Login, b"token").expect("kept");
    keyring.set(Secret::Login, b"token two").expect("replaced");

    let again = Keyring::open(&paths, PassphraseSource::new(None));
    assert_eq!(again.get(Secret::AccountKey).expect("kept").expect("there").as_slice(), [0xff; 32]);
    assert_eq!(again.get(Secret::Login).expect("kept").expect("there").as_slice(), b"token two");
    assert!(again.remove(Secret::Login).expect("forgotten"));
    assert!(!again.remove(Secret::Login).expect("already"));
    assert_eq!(again.get(Secret::Login).expect("read"), None);

    again.service().expect("it answers").set("account-key", "no base64 !").expect("spoiled");
    assert!(matches!(again.get(Secret::AccountKey), Err(KeyringError::Entry("account-key"))));
    assert!(!paths.data.join(SEALED_FILE).exists());

    assert_eq!(trial::try_out(), Ok(trial::Trial::Works));
    assert_eq!(again.service().expect("it answers").get("doctor-probe").expect("read"), None, "it is gone");
    let bus =
        secret_service::blocking::SecretService::connect(secret_service::EncryptionType::Dh).expect("a bus");
    bus.get_default_collection().and_then(|login| login.lock()).expect("locked");
    assert_eq!(trial::try_out(), Ok(trial::Trial::Locked), "nobody is asked to unlock it");
}
