//! What goes wrong with keys, in words that say what is safe and what to do.

use cbrowse_profile::{
    account::{AccountError, LogError, device::CodeError, invitation::InvitationError, words::WordsError},
    slot::SlotError,
};

use crate::{
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseError,
    profile::chain,
};

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        let error = match error {
            AccountError::Files(error) => return error.into(),
            error => error,
        };
        let (code, hint) = match &error {
            AccountError::Log(error) => log_failure(error),
            AccountError::Superseded { .. } => (
                "key_superseded",
                "the account key was rotated on another device or by newer files: type the newest recovery words (cbrowse \
                 profile key recover), or ask a device that belongs to the account for an invitation (cbrowse profile key \
                 request); nothing was changed",
            ),
            AccountError::Earlier(_) => (
                "earlier_key_damaged",
                "restore the directory account beside your profiles from a backup; nothing was changed",
            ),
            AccountError::Journal(_) | AccountError::Files(_) => (
                "rotation_damaged",
                "restore that file from a backup; every generation up to the rotation is safe, and nothing was changed",
            ),
        };
        Self::new(Exit::Profile, code, chain(&error)).hint(hint)
    }
}

fn log_failure(error: &LogError) -> (&'static str, &'static str) {
    const RESTORE: &str = "restore account/log beside your profiles from a backup, the newest there is; profiles are safe, and \
                           nothing was changed";
    const TOUCHED: &str = "somebody changed account/log beside your profiles: restore the newest backup of it, and see who belongs \
                           to the account (cbrowse profile key list); nothing was changed";
    let code = match error {
        LogError::NoLog | LogError::TooLong(_) | LogError::Malformed(_) => return ("log_damaged", RESTORE),
        LogError::Truncated(_) => return ("log_truncated", RESTORE),
        LogError::Version(_) => return ("log_newer", "update cbrowse; nothing was changed"),
        LogError::RolledBack { .. } => return ("log_rolled_back", RESTORE),
        LogError::Foreign => {
            return (
                "log_foreign",
                "the keyring holds the key of another account than the one these profiles belong to: bring the right one back \
                 with its recovery words (cbrowse profile key recover); nothing was changed",
            );
        }
        LogError::Missing(_) => "log_entry_missing",
        LogError::Reordered(_) => "log_reordered",
        LogError::Chain(_) => "log_chain",
        LogError::Signature(_) => "log_signature",
        LogError::Nonsense(_) => "log_nonsense",
        LogError::Forked(_) => "log_forked",
    };
    (code, TOUCHED)
}

impl From<WordsError> for Failure {
    fn from(error: WordsError) -> Self {
        let hint = match error {
            WordsError::Count(_) => "type all of them on one line, in their order; nothing was changed",
            WordsError::Unknown { .. } => {
                "look at that word again: all are English, in small letters, and differ in their first four; nothing was changed"
            }
            WordsError::Checksum => "compare each word with what you wrote down; nothing was changed",
        };
        Self::new(Exit::Profile, "recovery_words", error.to_string()).hint(hint)
    }
}

impl From<CodeError> for Failure {
    fn from(error: CodeError) -> Self {
        Self::new(Exit::Usage, "device_code", error.to_string())
            .hint("copy it again from the new device: cbrowse profile key request; nothing was changed")
    }
}

impl From<InvitationError> for Failure {
    fn from(error: InvitationError) -> Self {
        let (code, hint) = match error {
            InvitationError::Account(error) => return error.into(),
            InvitationError::NoInvitation | InvitationError::Damaged | InvitationError::Malformed(_) => {
                ("invitation_damaged", "copy the file again; nothing was changed")
            }
            InvitationError::OtherDevice => (
                "invitation_other_device",
                "ask for one with this device's own code: cbrowse profile key request; nothing was changed",
            ),
            InvitationError::Version(_) => ("invitation_newer", "update cbrowse; nothing was changed"),
            InvitationError::Expired { .. } | InvitationError::Stale => (
                "invitation_stale",
                "have it made again on the other device (cbrowse profile key add-device with the same code); nothing was changed",
            ),
            InvitationError::Future { .. } => {
                ("invitation_future", "set both clocks, then try again; nothing was changed")
            }
            InvitationError::NoMember | InvitationError::ForeignProfile(_) => (
                "invitation_refused",
                "have it made again on a device that belongs to the account; nothing was changed",
            ),
        };
        Self::new(Exit::Profile, code, chain(&error)).hint(hint)
    }
}

/// Of the account's passphrase slot, which is another than the sealed file's.
pub(super) fn slot_failure(error: SlotError) -> Failure {
    let (code, hint) = match error {
        SlotError::WrongPassphrase => {
            ("wrong_passphrase", "type it again, or use your recovery words; nothing was changed")
        }
        SlotError::Damaged | SlotError::Cost(..) => (
            "slot_damaged",
            "use your recovery words (cbrowse profile key recover), or restore the file from a backup; nothing was changed",
        ),
    };
    Failure::new(Exit::Profile, code, error.to_string()).hint(hint)
}

/// Nobody gave the words or the passphrase that a command needs.
pub(super) fn nobody_gave(what: &str, error: &PassphraseError, flag: &str) -> Failure {
    Failure::new(Exit::Profile, "no_passphrase", format!("there is no {what}: {error}"))
        .hint(format!("run this at a terminal to be asked, or give it: {flag} N; nothing was changed"))
}
