//! Invitations: for one device, one account, a week.

use super::*;
use crate::{
    account::{AccountError, Change, device::DeviceName},
    secret::tests::Seeded,
};

const DAY: u64 = 24 * 3600;

fn name(text: &str) -> DeviceName {
    text.parse().unwrap()
}

fn secret(byte: u8) -> DeviceSecret {
    DeviceSecret::from_bytes([byte; 32])
}

fn key() -> AccountKey {
    AccountKey::from_bytes([1; 32])
}

fn founded() -> Log {
    Log::found(&key(), &name("desk"), secret(11).public(), 10)
}

fn with_laptop(log: &Log) -> Log {
    let change = Change::AddDevice { name: name("laptop"), key: secret(12).public() };
    log.append(&key(), None, &name("desk"), 20, change).unwrap()
}

fn profile(byte: u8) -> InvitedProfile {
    let id: ProfileId = "0123456789abcdef0123456789abcdef".parse().unwrap();
    let verifying_key = ProfileKeys::derive(&AccountKey::from_bytes([byte; 32]), &id).verifying_key();
    InvitedProfile {
        id,
        name: "work".parse().unwrap(),
        verifying_key,
        earlier_verifying_keys: vec![IdentityKey::from_bytes([7; 32])],
        created: 5,
        head: Some(HeadRef { generation: 12, name: ObjectName::from_bytes([8; 32]) }),
    }
}

fn invite(log: Log, now: u64) -> Vec<u8> {
    let account = Account::in_log(key(), log).unwrap();
    let invited = [profile(1), InvitedProfile { head: None, ..profile(1) }];
    seal_invitation(&account, &invited, &secret(12).public(), now, &mut Seeded::new("invite")).unwrap()
}

#[test]
fn an_invitation_brings_the_account_to_its_device_alone() {
    let log = with_laptop(&founded());
    let sealed = invite(log.clone(), 100);
    let invitation = open_invitation(&sealed, &secret(12), None, 100).unwrap();
    assert_eq!(invitation.account.key().expose(), key().expose());
    assert_eq!(invitation.account.log().unwrap().as_bytes(), log.as_bytes());
    assert_eq!(invitation.profiles, [profile(1), InvitedProfile { head: None, ..profile(1) }]);
    assert!(matches!(open_invitation(&sealed, &secret(11), None, 100), Err(InvitationError::OtherDevice)));
    // A thief who writes his own key over the address gains nothing.
    let mut readdressed = sealed.clone();
    readdressed[4..36].copy_from_slice(secret(13).public().as_bytes());
    assert!(matches!(open_invitation(&readdressed, &secret(13), None, 100), Err(InvitationError::Damaged)));
}

#[test]
fn an_invitation_is_good_for_a_week_and_a_clock_may_be_wrong_by_a_day() {
    let sealed = invite(with_laptop(&founded()), 100 * DAY);
    let at = |now| open_invitation(&sealed, &secret(12), None, now);
    for now in [99 * DAY, 100 * DAY, 107 * DAY, 108 * DAY] {
        at(now).unwrap();
    }
    assert!(matches!(at(99 * DAY - 1), Err(InvitationError::Future { .. })));
    assert!(matches!(at(108 * DAY + 1), Err(InvitationError::Expired { .. })));
}

#[test]
fn an_invitation_must_know_what_its_device_knows() {
    let log = with_laptop(&founded());
    let sealed = invite(log.clone(), 100);
    let open = |known: &Log| open_invitation(&sealed, &secret(12), Some(known), 100);
    open(&founded()).unwrap();
    open(&log).unwrap();
    let later = log.append(&key(), None, &name("desk"), 30, Change::AddPassphrase).unwrap();
    assert!(matches!(open(&later), Err(InvitationError::Stale)));
    let other = founded().append(&key(), None, &name("desk"), 30, Change::AddPassphrase).unwrap();
    let forked = open(&other).unwrap_err();
    assert!(matches!(forked, InvitationError::Account(AccountError::Log(LogError::Forked(2)))), "{forked}");
}

#[test]
fn whoever_was_not_added_or_was_revoked_is_no_member() {
    let refused = |log: Log| open_invitation(&invite(log, 100), &secret(12), None, 100).unwrap_err();
    assert!(matches!(refused(founded()), InvitationError::NoMember));
    let revoke = Change::RevokeDevice { name: name("laptop") };
    let revoked = with_laptop(&founded()).append(&key(), None, &name("desk"), 30, revoke).unwrap();
    assert!(matches!(refused(revoked), InvitationError::NoMember));
}

#[test]
fn profiles_of_another_account_are_refused() {
    let account = Account::in_log(key(), with_laptop(&founded())).unwrap();
    let sealed =
        seal_invitation(&account, &[profile(2)], &secret(12).public(), 100, &mut Seeded::new("i")).unwrap();
    let refused = open_invitation(&sealed, &secret(12), None, 100).unwrap_err();
    assert!(matches!(refused, InvitationError::ForeignProfile(_)), "{refused}");
}

#[test]
fn flipped_and_cut_invitations_are_refused_without_panic() {
    let sealed = invite(with_laptop(&founded()), 100);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(open_invitation(&changed, &secret(12), None, 100).is_err(), "flipped at {at}");
        assert!(open_invitation(&sealed[..at], &secret(12), None, 100).is_err(), "cut at {at}");
    }
    let account = Account::in_log(key(), with_laptop(&founded())).unwrap();
    let clear = encode(&account, &[profile(1)], 100);
    for at in 0..clear.len() {
        let _ = decode(&clear[..at]);
        for bit in 0..8 {
            let mut changed = clear.clone();
            changed[at] ^= 1 << bit;
            let _ = decode(&changed);
        }
    }
}

#[test]
fn the_invitation_is_golden() {
    let sealed = invite(with_laptop(&founded()), 100);
    assert_eq!(
        blake3::hash(&sealed).to_hex().as_str(),
        "b879260b6d7125897197e4abbc702475ccd25588e73deb134db26c3c4d2189a1"
    );
}
