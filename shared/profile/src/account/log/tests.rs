//! What a log says, what becomes of one that somebody touched, and its bytes.

use super::*;
use crate::{
    account::{Account, AccountError, seal_key},
    seal::Kind,
    secret::tests::Seeded,
};

fn key(byte: u8) -> AccountKey {
    AccountKey::from_bytes([byte; 32])
}

fn name(text: &str) -> DeviceName {
    text.parse().unwrap()
}

fn device(byte: u8) -> DeviceKey {
    crate::account::device::DeviceSecret::from_bytes([byte; 32]).public()
}

fn add(log: &Log, account: &AccountKey, text: &str, byte: u8) -> Log {
    let change = Change::AddDevice { name: name(text), key: device(byte) };
    log.append(account, None, &name("desk"), 20, change).unwrap()
}

fn rotate(log: &Log, old: &AccountKey, new: &AccountKey) -> Log {
    let earlier = seal_key(old, Kind::EarlierKey, &new.earlier_wrap(), &mut Seeded::new("earlier"));
    let change = Change::Rotate { verifying_key: new.verifying_key(), earlier };
    log.append(old, Some(new), &name("desk"), 40, change).unwrap()
}

/// Founded, a passphrase, a laptop, the laptop revoked, rotated, a phone.
fn sample() -> Log {
    let (one, two) = (key(1), key(2));
    let log = Log::found(&one, &name("desk"), device(11), 10);
    let log = log.append(&one, None, &name("desk"), 15, Change::AddPassphrase).unwrap();
    let log = add(&log, &one, "laptop", 12);
    let revoke = Change::RevokeDevice { name: name("laptop") };
    let log = log.append(&one, None, &name("desk"), 30, revoke).unwrap();
    let log = rotate(&log, &one, &two);
    add(&log, &two, "phone", 13)
}

/// The file's entries as they lie in it.
fn pieces(log: &Log) -> Vec<Vec<u8>> {
    split(log.as_bytes()).unwrap().iter().map(|signed| signed.whole.to_vec()).collect()
}

fn join(pieces: &[Vec<u8>]) -> Vec<u8> {
    [&MAGIC[..], &pieces.concat()].concat()
}

fn refused(pieces: &[Vec<u8>]) -> LogError {
    Log::read(&join(pieces)).unwrap_err()
}

#[test]
fn a_log_says_who_belongs_to_the_account() {
    let log = sample();
    let members = log.members();
    let active: Vec<_> = members.active().map(|device| device.name.to_string()).collect();
    assert_eq!(active, ["desk", "phone"]);
    assert_eq!(members.devices[1].revoked, Some(30));
    assert_eq!(members.passphrase, None, "it went with the key it opened");
    assert_eq!((log.epoch(), log.epoch_of(&key(1)), log.epoch_of(&key(2))), (2, Some(1), Some(2)));
    assert_eq!(log.epoch_of(&key(3)), None);
}

#[test]
fn the_newest_key_opens_the_earlier_ones_and_no_key_a_later_one() {
    let log = rotate(&sample(), &key(2), &key(3));
    let account = Account::in_log(key(3), log.clone()).unwrap();
    let earlier: Vec<_> = account.earlier().map(|key| *key.expose()).collect();
    assert_eq!((earlier, account.epoch()), (vec![[2; 32], [1; 32]], 3));
    let old = Account::in_log(key(1), log.clone()).unwrap();
    assert_eq!((old.earlier().count(), old.epoch()), (0, 1), "a revoked device has what it had");
    assert!(matches!(Account::in_log(key(9), log), Err(AccountError::Log(LogError::Foreign))));
}

#[test]
fn each_way_of_tampering_has_its_own_error() {
    let log = sample();
    let whole = pieces(&log);
    let without = |index: usize| {
        let mut rest = whole.clone();
        rest.remove(index);
        rest
    };
    // Dropped: the first, one in the middle.
    assert_eq!(refused(&without(0)), LogError::Missing(1));
    assert_eq!(refused(&without(2)), LogError::Missing(3));
    // Reordered.
    let mut swapped = whole.clone();
    swapped.swap(1, 2);
    assert_eq!(refused(&swapped), LogError::Reordered(2));
    // Swapped for an honest entry of the same account that stood there in another history.
    let founded = Log::read(&join(&whole[..1])).unwrap();
    let mut other = whole.clone();
    other[1] = pieces(&add(&founded, &key(1), "tablet", 14)).remove(1);
    assert_eq!(refused(&other), LogError::Chain(3));
    // Truncated within an entry, and after none.
    let bytes = log.as_bytes();
    assert_eq!(Log::read(&bytes[..bytes.len() - 1]).unwrap_err(), LogError::Truncated(6));
    assert_eq!(Log::read(&MAGIC).unwrap_err(), LogError::Truncated(1));
    assert_eq!(Log::read(b"").unwrap_err(), LogError::NoLog);
    // Signed by somebody else: by a stranger, and by the key of the epoch before, which a revoked device has.
    for (signer, at) in [(key(9), 6), (key(1), 6), (key(2), 2)] {
        let mut forged = whole[..at].to_vec();
        let entry = log.entries()[at - 1].clone();
        let mut bytes = Vec::new();
        write(&entry, &signer, None, &mut bytes);
        forged[at - 1] = bytes;
        assert_eq!(refused(&forged), LogError::Signature(at as u64));
    }
    // A rotation that the old key did not agree to, and one that the new one did not.
    for signers in [[key(9), key(2)], [key(1), key(9)]] {
        let mut forged = whole[..5].to_vec();
        let mut bytes = Vec::new();
        write(&log.entries()[4], &signers[0], Some(&signers[1]), &mut bytes);
        forged[4] = bytes;
        assert_eq!(refused(&forged), LogError::Signature(5));
    }
    // Older than seen, and another than seen.
    let seen = log.seen();
    let older = Log::read(&join(&whole[..4])).unwrap();
    assert_eq!(older.check_seen(&seen), Err(LogError::RolledBack { found: 4, seen: 6 }));
    let forked = add(&Log::read(&join(&whole[..5])).unwrap(), &key(2), "tablet", 14);
    assert_eq!(forked.check_seen(&seen), Err(LogError::Forked(6)));
    assert_eq!(log.check_seen(&older.seen()), Ok(()));
    assert!(log.continues(&older) && !older.continues(&log) && !forked.continues(&log));
}

#[test]
fn entries_that_make_no_sense_are_refused_though_they_are_signed() {
    let one = key(1);
    let log = Log::found(&one, &name("desk"), device(11), 10);
    let say = |log: &Log, change| log.append(&one, None, &name("desk"), 20, change);
    let nonsense = LogError::Nonsense(2);
    for change in [
        Change::Found { key: device(12), verifying_key: one.verifying_key() },
        Change::RemovePassphrase,
        Change::AddDevice { name: name("desk"), key: device(12) },
        Change::AddDevice { name: name("laptop"), key: device(11) },
        Change::RevokeDevice { name: name("laptop") },
    ] {
        assert_eq!(say(&log, change.clone()).unwrap_err(), nonsense, "{change:?}");
    }
    let log = say(&log, Change::RevokeDevice { name: name("desk") }).unwrap();
    let back = Change::AddDevice { name: name("desk"), key: device(11) };
    assert_eq!(say(&log, back).unwrap_err(), LogError::Nonsense(3), "under its old key");
    say(&log, Change::AddDevice { name: name("desk"), key: device(12) }).unwrap();
    let other = log.append(&key(9), None, &name("desk"), 20, Change::AddPassphrase);
    assert_eq!(other.unwrap_err(), LogError::Foreign);
}

#[test]
fn flipped_and_cut_logs_are_refused_without_panic() {
    let log = sample();
    let bytes = log.as_bytes();
    for at in 0..bytes.len() {
        let cut = Log::read(&bytes[..at]);
        // Cut between two entries it is an older log, which only what was seen can tell.
        assert!(cut.is_err() || cut.unwrap().check_seen(&log.seen()).is_err(), "cut at {at}");
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x40;
        assert!(Log::read(&changed).is_err(), "flipped at {at}");
    }
    let mut long = bytes.to_vec();
    long.resize(MAX_LOG_LENGTH + 1, 0);
    assert_eq!(Log::read(&long).unwrap_err(), LogError::TooLong(MAX_LOG_LENGTH + 1));
    let mut newer = bytes.to_vec();
    newer[8] = 2;
    assert_eq!(Log::read(&newer).unwrap_err(), LogError::Version(2));
}

#[test]
fn the_log_is_golden() {
    let log = sample();
    let length = log.as_bytes().len().to_string();
    let hash = blake3::hash(log.as_bytes()).to_hex().to_string();
    assert_eq!(
        [length, hash, log.seen().hash],
        [
            "1115",
            "cf0fd4ddb1824f23234faaae9708d2076f6799ec6dba36d1154e4b8f00aab079",
            "ec5b222b55901bfbb89a27ed433c3ca9af7abdd982da092c1256cab5af382c1e"
        ]
    );
}
