use std::{fs, path::Path};

use super::*;
use crate::{
    authority::Authority,
    head::Closing,
    restore::restore,
    save::SaveMeta,
    secret::{SystemRandom, tests::Seeded},
};

/// Cheap, so that the matrices below stay fast.
const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

struct World {
    directory: tempfile::TempDir,
    authority: Authority,
    keys: ProfileKeys,
}

fn world(seed: &str) -> World {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir_all(data.join("Default")).unwrap();
    fs::write(data.join("Default/Cookies"), "biscuits").unwrap();
    let account = AccountKey::from_bytes([1; 32]);
    let mut random = Seeded::new(seed);
    let root = directory.path().join("profiles");
    let authority = Authority::create(&root, &"work".parse().unwrap(), &account, 1, &mut random).unwrap();
    let keys = authority.keys(&account).unwrap();
    let meta =
        SaveMeta { now: 7, device: "d".into(), browser_version: "156".into(), closing: Closing::Clean };
    authority.sync(&data, &keys, &meta, &mut random).unwrap();
    World { directory, authority, keys }
}

impl World {
    fn bundle(&self, passphrase: Option<&str>) -> Vec<u8> {
        let snapshot = self.authority.snapshot(&self.keys).unwrap().unwrap();
        let passphrase = passphrase.map(|text| Passphrase { text, cost: CHEAP });
        let (mut out, meter) = (Vec::new(), Meter::default());
        let store = self.authority.store();
        let bundled = write_bundle(
            &snapshot,
            &self.keys,
            store,
            passphrase,
            &mut out,
            &meter,
            &mut Seeded::new("bundle"),
        )
        .unwrap();
        assert_eq!((bundled.bytes, bundled.objects), (out.len() as u64, 3));
        assert_eq!(meter.read().files, 3);
        out
    }

    fn read(&self, bytes: &[u8]) -> Result<Bundle, BundleError> {
        let path = self.directory.path().join("file");
        fs::write(&path, bytes).unwrap();
        Bundle::open(&path, &Meter::default())
    }
}

fn restored(bundle: &Bundle, access: &crate::snapshot::Access) -> String {
    let snapshot = bundle.snapshot(access).unwrap();
    assert!(bundle.is_exactly(&snapshot));
    let out = tempfile::tempdir().unwrap();
    restore(&snapshot, bundle, out.path()).unwrap();
    fs::read_to_string(out.path().join("Default/Cookies")).unwrap()
}

/// Frozen: a file written today is read tomorrow.
#[test]
fn the_sealed_file_is_golden() {
    let world = world("golden");
    let sums =
        [None, Some("p")].map(|passphrase| blake3::hash(&world.bundle(passphrase)).to_hex().to_string());
    assert_eq!(sums, GOLDEN);
}

const GOLDEN: [&str; 2] = [
    "16de1f6d14ebf2f670d31f7e82eaa069f518d7273567f86dfccac542678dbb08",
    "132be00a144ef55cf32f95aa62dd367a45fb759b8494a04749547ed0a7adc430",
];

#[test]
fn the_account_key_opens_it_and_so_does_the_passphrase_it_was_given() {
    let world = world("open");
    let bundle = world.read(&world.bundle(Some("correct horse"))).unwrap();
    assert_eq!(bundle.profile(), &world.authority.record().id);
    assert_eq!(restored(&bundle, &world.keys.access()), "biscuits");
    assert_eq!(restored(&bundle, &bundle.access("correct horse").unwrap()), "biscuits");
    assert!(matches!(bundle.access("wrong"), Err(BundleError::Slot(SlotError::WrongPassphrase))));
    let other = ProfileKeys::derive(&AccountKey::from_bytes([2; 32]), bundle.profile());
    assert!(bundle.snapshot(&other.access()).is_err());
    let without = world.read(&world.bundle(None)).unwrap();
    assert!(!without.takes_passphrase());
    assert!(matches!(without.access("p"), Err(BundleError::NoPassphrase)));
    assert_eq!(restored(&without, &world.keys.access()), "biscuits");
}

/// Whoever is told a file's passphrase reads that generation alone.
#[test]
fn a_passphrase_opens_no_other_generation() {
    let world = world("one");
    let data = world.directory.path().join("data");
    let bundle = world.read(&world.bundle(Some("p"))).unwrap();
    let access = bundle.access("p").unwrap();
    fs::write(data.join("Default/Cookies"), "newer").unwrap();
    let meta =
        SaveMeta { now: 8, device: "d".into(), browser_version: "156".into(), closing: Closing::Clean };
    let newer = world.authority.sync(&data, &world.keys, &meta, &mut SystemRandom).unwrap();
    let opened = crate::snapshot::open_snapshot(&newer.head.name, world.authority.store(), &access);
    assert!(opened.is_err());
}

#[test]
fn nothing_in_it_can_be_read() {
    let bytes = world("clear").bundle(Some("p"));
    for clear in ["Cookies", "biscuits", "Default"] {
        assert!(!bytes.windows(clear.len()).any(|window| window == clear.as_bytes()), "{clear}");
    }
}

#[test]
fn cut_flipped_and_lengthened_files_are_refused() {
    let world = world("damage");
    let bytes = world.bundle(Some("p"));
    for at in (0..bytes.len()).step_by(13).chain(bytes.len() - 40..bytes.len()) {
        assert!(world.read(&bytes[..at]).is_err(), "cut at {at}");
        let mut changed = bytes.clone();
        changed[at] ^= 0x11;
        assert!(world.read(&changed).is_err(), "flipped at {at}");
    }
    for at in 0..420 {
        let mut changed = bytes.clone();
        changed[at] ^= 0x80;
        assert!(world.read(&changed).is_err(), "flipped at {at}");
    }
    assert!(matches!(world.read(&[&bytes[..], b"x"].concat()), Err(BundleError::Trailing(1))));
    assert!(matches!(world.read(b""), Err(BundleError::NotABundle)));
    assert!(matches!(world.read(b"PK\x03\x04 is something else"), Err(BundleError::NotABundle)));
    let mut newer = bytes.clone();
    newer[4] = 2;
    assert!(matches!(world.read(&newer), Err(BundleError::Version(2))));
    world.read(&bytes).unwrap();
}

/// Sums are no secret: whoever changes a file can make them fit. What is left is refused for what it is.
#[test]
fn files_that_were_put_together_by_somebody_else_are_refused() {
    let (one, two) = (world("one"), world("two"));
    let resum = |bytes: &[u8]| [bytes, blake3::hash(bytes).as_bytes()].concat();
    let body = |bytes: &[u8]| bytes[..bytes.len() - SUM_LENGTH].to_vec();
    let start = PREFIX_LENGTH + 2 + 32 + 32;
    let bytes = one.bundle(None);
    // Another profile's objects under this profile's name.
    let theirs = two.bundle(None);
    let mixed = [&bytes[..start - 32], &body(&theirs)[start - 32..]].concat();
    let bundle = one.read(&resum(&mixed)).unwrap();
    assert!(bundle.snapshot(&one.keys.access()).is_err());
    // One object more than the generation has.
    let mut more = body(&bytes);
    more[start..start + 4].copy_from_slice(&4_u32.to_le_bytes());
    more.extend_from_slice(ObjectName::of(b"smuggled").as_bytes());
    more.extend_from_slice(&8_u32.to_le_bytes());
    more.extend_from_slice(b"smuggled");
    let bundle = one.read(&resum(&more)).unwrap();
    let snapshot = bundle.snapshot(&one.keys.access()).unwrap();
    assert!(!bundle.is_exactly(&snapshot));
    // Numbers that would ask for memory.
    for (at, value) in [(start, u32::MAX), (start, MAX_OBJECTS), (start + 4 + 32, u32::MAX)] {
        let mut greedy = body(&bytes);
        greedy[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(one.read(&resum(&greedy)).is_err(), "{value} at {at}");
    }
    assert!(!Bundle::begins(Path::new("/dev/null")).unwrap());
}
