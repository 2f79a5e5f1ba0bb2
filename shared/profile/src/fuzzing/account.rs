//! What the account's directory and an inviting device bring: membership logs and invitations.

use super::{Counter, profile};
use crate::{
    account::{
        Log,
        device::{DeviceSecret, seal_to},
        invitation::{CLOCK_TOLERANCE, INFO, LIFETIME, MAX_INVITATION_LENGTH, open_invitation},
        log::{CONTEXT, MAX_LOG_LENGTH},
    },
    authority::InvitedProfile,
    codec::Put as _,
    keys::{AccountKey, ProfileKeys},
};

/// When invitations are opened.
const NOW: u64 = 1_000_000;
/// These stand for verifying keys, which no mutation would find.
const PLACES: [[u8; 32]; 2] = [[0xaa; 32], [0xbb; 32]];

fn accounts() -> [AccountKey; 2] {
    [[1; 32], [2; 32]].map(AccountKey::from_bytes)
}

/// A membership log as it is, and one whose entries are numbered, chained and signed whatever they say.
pub fn account_log(data: &[u8]) {
    if let Ok(log) = Log::read(data) {
        check_log(&log, data);
    }
    let bytes = signed_log(data);
    let Ok(log) = Log::read(&bytes) else { return };
    check_log(&log, &bytes);
    // What somebody touched is refused, wherever.
    let mut touched = bytes;
    let at = data.iter().fold(4, |sum, byte| (sum * 31 + usize::from(*byte)) % touched.len()).max(4);
    touched[at] ^= 1;
    assert!(Log::read(&touched).is_err(), "changed at {at}");
}

fn check_log(log: &Log, bytes: &[u8]) {
    assert_eq!(log.as_bytes(), bytes);
    assert!(bytes.len() <= MAX_LOG_LENGTH && log.epoch() > 0);
    assert!(log.entries().iter().enumerate().all(|(index, entry)| entry.number == index as u64 + 1));
    assert_eq!(log.check_seen(&log.seen()), Ok(()));
    assert!(log.continues(log));
    let active: Vec<_> = log.members().active().collect();
    for device in &active {
        assert!(!device.name.as_str().chars().any(char::is_control));
        assert_eq!(active.iter().filter(|other| other.name == device.name).count(), 1);
    }
    let keys = |index| log.members().devices.iter().filter(move |other| other.key == index).count();
    assert!(log.members().devices.iter().all(|device| keys(device.key) == 1));
}

/// Each piece: a byte that tells who signs and in which epoch, its length, and an entry's body from the device's name on.
fn signed_log(data: &[u8]) -> Vec<u8> {
    let (mut log, mut rest) = (b"cbm1".to_vec(), data);
    let (mut number, mut previous) = (0_u64, [0; 32]);
    while let Some((&[signers, length], after)) = rest.split_first_chunk() {
        let (piece, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        number += 1;
        let mut body = vec![1];
        body.put_u64(number);
        body.put_bytes(&previous);
        body.put_u32(1 + u32::from(signers & 1));
        body.put_u64(number);
        body.put_bytes(&placed(piece, &accounts().map(|account| *account.verifying_key().as_bytes())));
        let mut entry = Vec::new();
        entry.put_u32(u32::try_from(body.len()).expect("a piece is short"));
        entry.put_bytes(&body);
        let [one, two] = accounts();
        let (first, second) = if signers & 1 == 0 { (one, two) } else { (two, one) };
        entry.put_bytes(&first.signing().sign(CONTEXT, &body));
        if signers & 2 != 0 {
            entry.put_bytes(&second.signing().sign(CONTEXT, &body));
        }
        previous = *blake3::hash(&entry).as_bytes();
        log.append(&mut entry);
    }
    log
}

fn placed(piece: &[u8], keys: &[[u8; 32]]) -> Vec<u8> {
    let mut piece = piece.to_vec();
    for (place, key) in PLACES.iter().zip(keys) {
        if let Some(at) = piece.windows(32).position(|window| window == place) {
            piece[at..at + 32].copy_from_slice(key);
        }
    }
    piece
}

/// An invitation's inside, sealed to the device; once as it is, and once after a good account and log.
pub fn invitation(data: &[u8]) {
    let device = DeviceSecret::from_bytes([12; 32]);
    assert!(open_invitation(data, &device, None, NOW).is_err(), "nobody sealed it");
    let [account, _] = accounts();
    let log = Log::found(&account, &"desk".parse().expect("a name"), device.public(), 10);
    let mut good = vec![1];
    let (time, rest) = data.split_first_chunk().map_or((NOW, data), |(time, rest)| {
        (NOW.wrapping_add_signed(i64::from(i32::from_le_bytes(*time))), rest)
    });
    good.put_u64(time);
    good.put_bytes(account.expose());
    good.put_u32(u32::try_from(log.as_bytes().len()).expect("one entry"));
    good.put_bytes(log.as_bytes());
    let own = ProfileKeys::derive(&account, &profile()).verifying_key();
    good.put_bytes(&placed(rest, &[*own.as_bytes()]));
    for clear in [data, &good] {
        let Ok(sealed) = seal_to(&device.public(), INFO, clear, &mut Counter(3)) else { continue };
        let bytes = [&b"cbi1"[..], device.public().as_bytes(), &sealed].concat();
        let Ok(invitation) = open_invitation(&bytes, &device, None, NOW) else { continue };
        assert!(bytes.len() <= MAX_INVITATION_LENGTH);
        assert!(invitation.time <= NOW + CLOCK_TOLERANCE);
        assert!(NOW <= invitation.time.saturating_add(LIFETIME + CLOCK_TOLERANCE));
        invitation.profiles.iter().for_each(|profile| check_profile(profile, &account));
    }
}

fn check_profile(invited: &InvitedProfile, account: &AccountKey) {
    let id = invited.id.as_str();
    assert!(id.len() == profile().as_str().len() && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(!invited.name.as_str().contains(['/', '\\', '\0']));
    assert_eq!(invited.verifying_key, ProfileKeys::derive(account, &invited.id).verifying_key());
    assert!(invited.head.as_ref().is_none_or(|head| head.generation > 0));
}
