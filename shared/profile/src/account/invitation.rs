//! An invitation: the account, sealed to one device's key, as a file that travels by whatever way there is.
//!
//! ```text
//! file:   "cbi1", the device's public key 32, then the clear part sealed to it (see [`super::device`]), info [`INFO`]
//! clear:  u8 version 1, u64 time, account key 32, u32 length of the membership log, the log,
//!         u32 count of profiles; each: id text, name text, u64 created, verifying key 32, u32 count of earlier verifying keys,
//!         each 32, u8 0 or u8 1 and u64 generation and head name 32
//!         zeros up to a Padmé length
//! ```
//! The head's name lets the device refuse an older profile than the inviting device had. Version 1, frozen.

use cbrowse_protocol::{
    id::{MAX_ID_LENGTH, ProfileId},
    identity::IdentityKey,
};
use zeroize::Zeroizing;

use super::{
    Account, AccountError, Log, LogError,
    device::{CodeError, DeviceKey, DeviceSecret, seal_to},
    log::MAX_LOG_LENGTH,
};
use crate::{
    authority::{HeadRef, InvitedProfile},
    codec::{Malformed, Put as _, Take},
    keys::{AccountKey, ProfileKeys},
    object::ObjectName,
    padding::padded_length,
    secret::Randomness,
};

/// Longest invitation in bytes: the longest log and a thousand profiles.
pub const MAX_INVITATION_LENGTH: usize = 4 << 20;
/// For how many seconds an invitation is good: a week, so that a file that was left lying opens nothing for ever.
pub const LIFETIME: u64 = 7 * 24 * 3600;
/// How far the two clocks may disagree, in seconds: a clock that is wrong by a day must not keep a device out.
pub const CLOCK_TOLERANCE: u64 = 24 * 3600;
/// Info of the seal.
pub const INFO: &str = "cbrowse account invitation v1";
const MAGIC: [u8; 4] = *b"cbi1";
const VERSION: u8 = 1;
const PREFIX_LENGTH: usize = 36;
/// The shortest profile: two texts of one byte, and the fixed fields.
const MIN_PROFILE_LENGTH: usize = 51;

/// What an invitation says.
#[derive(Debug)]
pub struct Invitation {
    /// The account, with every epoch's key.
    pub account: Account,
    /// When it was made, in seconds since the Unix epoch, by the inviting device's clock.
    pub time: u64,
    /// The profiles that device has.
    pub profiles: Vec<InvitedProfile>,
}

/// Why an invitation was not taken. Nothing on this device changed.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// Another file, or one that was cut.
    #[error("the file is no invitation, or was cut short")]
    NoInvitation,
    /// For another device.
    #[error("the invitation is for another device, or for an earlier request of this one")]
    OtherDevice,
    /// Changed on the way.
    #[error("the invitation is for this device and does not open: it was damaged")]
    Damaged,
    /// Opens, and its inside makes no sense.
    #[error("the invitation is malformed")]
    Malformed(#[from] Malformed),
    /// A later format.
    #[error("the invitation has version {0}, which is newer than this program; update it")]
    Version(u8),
    /// Too old.
    #[error("the invitation was made {} days ago and is good for {} days", age / 86400, LIFETIME / 86400)]
    Expired {
        /// In seconds.
        age: u64,
    },
    /// Made in the future.
    #[error("the invitation was made {} hours from now, by the other device's clock", ahead / 3600)]
    Future {
        /// In seconds.
        ahead: u64,
    },
    /// The account's own word does not name this device.
    #[error(
        "this device does not belong to the account that the invitation is for; it was revoked or never added"
    )]
    NoMember,
    /// Older than what this device knows.
    #[error("this device knows of later changes of the account than the invitation does")]
    Stale,
    /// A key that does not go with the profile.
    #[error("profile {0} in the invitation is not of its account")]
    ForeignProfile(ProfileId),
    /// Its account does not hold together.
    #[error("refuse the invitation's account")]
    Account(#[from] AccountError),
}

/// Seals `account` and `profiles` to `device`.
pub fn seal_invitation(
    account: &Account,
    profiles: &[InvitedProfile],
    device: &DeviceKey,
    now: u64,
    random: &mut dyn Randomness,
) -> Result<Vec<u8>, CodeError> {
    let clear = encode(account, profiles, now);
    let mut out = MAGIC.to_vec();
    out.put_bytes(device.as_bytes());
    out.put_bytes(&seal_to(device, INFO, &clear, random)?);
    Ok(out)
}

/// Opens an invitation on the device with `secret` at `now`. `known` is the log that the device has already.
pub fn open_invitation(
    bytes: &[u8],
    secret: &DeviceSecret,
    known: Option<&Log>,
    now: u64,
) -> Result<Invitation, InvitationError> {
    let sealed = addressed(bytes, &secret.public())?;
    let clear = secret.open(INFO, sealed).map_err(|_| InvitationError::Damaged)?;
    let (time, key, log, profiles) = decode(&clear)?;
    check_time(time, now)?;
    let log = Log::read(log).map_err(AccountError::from)?;
    if log.epoch_of(&key) != Some(log.epoch()) {
        return Err(AccountError::from(LogError::Foreign).into());
    }
    if log.members().device_with(&secret.public()).is_none() {
        return Err(InvitationError::NoMember);
    }
    match known {
        Some(known) if known.continues(&log) && known.entries().len() > log.entries().len() => {
            return Err(InvitationError::Stale);
        }
        Some(known) if !log.continues(known) => {
            return Err(AccountError::from(LogError::Forked(known.entries().len() as u64)).into());
        }
        _ => {}
    }
    let account = Account::in_log(key, log)?;
    for profile in &profiles {
        let own = ProfileKeys::of(&account, &profile.id);
        if !own.epochs().any(|keys| keys.verifying_key() == profile.verifying_key) {
            return Err(InvitationError::ForeignProfile(profile.id.clone()));
        }
    }
    Ok(Invitation { account, time, profiles })
}

fn addressed<'a>(bytes: &'a [u8], own: &DeviceKey) -> Result<&'a [u8], InvitationError> {
    let (prefix, sealed) = bytes.split_at_checked(PREFIX_LENGTH).ok_or(InvitationError::NoInvitation)?;
    if prefix[..4] != MAGIC || bytes.len() > MAX_INVITATION_LENGTH {
        return Err(InvitationError::NoInvitation);
    }
    if prefix[4..] == *own.as_bytes() { Ok(sealed) } else { Err(InvitationError::OtherDevice) }
}

fn check_time(time: u64, now: u64) -> Result<(), InvitationError> {
    let (age, ahead) = (now.saturating_sub(time), time.saturating_sub(now));
    if age > LIFETIME + CLOCK_TOLERANCE {
        return Err(InvitationError::Expired { age });
    }
    if ahead > CLOCK_TOLERANCE { Err(InvitationError::Future { ahead }) } else { Ok(()) }
}

fn encode(account: &Account, profiles: &[InvitedProfile], now: u64) -> Zeroizing<Vec<u8>> {
    let log = account.log().map(Log::as_bytes).unwrap_or_default();
    // Room at once, so that no copy of the key is left behind by a move.
    let room = log.len() + 128 + profiles.iter().map(profile_room).sum::<usize>();
    let mut out = Zeroizing::new(Vec::with_capacity(padded_length(room)));
    out.put_u8(VERSION);
    out.put_u64(now);
    out.put_bytes(account.key().expose());
    out.put_u32(u32::try_from(log.len()).expect("a log is short"));
    out.put_bytes(log);
    out.put_u32(u32::try_from(profiles.len()).expect("profiles are few"));
    for profile in profiles {
        encode_profile(profile, &mut out);
    }
    let padded = padded_length(out.len());
    out.resize(padded, 0);
    out
}

fn profile_room(profile: &InvitedProfile) -> usize {
    2 * MAX_ID_LENGTH + 128 + 32 * profile.earlier_verifying_keys.len()
}

fn encode_profile(profile: &InvitedProfile, out: &mut Vec<u8>) {
    out.put_text(profile.id.as_str());
    out.put_text(profile.name.as_str());
    out.put_u64(profile.created);
    out.put_bytes(profile.verifying_key.as_bytes());
    out.put_u32(u32::try_from(profile.earlier_verifying_keys.len()).expect("epochs are few"));
    for key in &profile.earlier_verifying_keys {
        out.put_bytes(key.as_bytes());
    }
    match &profile.head {
        None => out.put_u8(0),
        Some(head) => {
            out.put_u8(1);
            out.put_u64(head.generation);
            out.put_bytes(head.name.as_bytes());
        }
    }
}

type Clear<'a> = (u64, AccountKey, &'a [u8], Vec<InvitedProfile>);

fn decode(clear: &[u8]) -> Result<Clear<'_>, InvitationError> {
    let mut take = Take::new(clear);
    match take.u8()? {
        VERSION => {}
        version if version > VERSION => return Err(InvitationError::Version(version)),
        _ => return Err(take.malformed().into()),
    }
    let (time, key) = (take.u64()?, AccountKey::from_bytes(take.array()?));
    let length = take.count(1)?;
    if length > MAX_LOG_LENGTH {
        return Err(take.malformed().into());
    }
    let log = take.bytes(length)?;
    let count = take.count(MIN_PROFILE_LENGTH)?;
    let mut profiles = Vec::with_capacity(count);
    for _ in 0..count {
        profiles.push(decode_profile(&mut take)?);
    }
    if take.rest().iter().any(|byte| *byte != 0) {
        return Err(take.malformed().into());
    }
    Ok((time, key, log, profiles))
}

fn decode_profile(take: &mut Take<'_>) -> Result<InvitedProfile, Malformed> {
    let id: ProfileId = take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?;
    let name = take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?;
    let created = take.u64()?;
    let verifying_key = IdentityKey::from_bytes(take.array()?);
    let count = take.count(32)?;
    let mut earlier_verifying_keys = Vec::with_capacity(count);
    for _ in 0..count {
        earlier_verifying_keys.push(IdentityKey::from_bytes(take.array()?));
    }
    let head = match take.u8()? {
        0 => None,
        1 => {
            let generation = take.u64()?;
            Some(HeadRef { generation, name: ObjectName::from_bytes(take.array()?) })
        }
        _ => return Err(take.malformed()),
    };
    // The id is a directory's name, and ids of this program are 32 hexadecimal digits.
    let is_id = id.as_str().len() == 32 && id.as_str().bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id || head.as_ref().is_some_and(|head| head.generation == 0) {
        return Err(take.malformed());
    }
    Ok(InvitedProfile { id, name, verifying_key, earlier_verifying_keys, created, head })
}

#[cfg(test)]
mod tests;
