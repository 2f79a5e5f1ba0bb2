//! What a failed profile says to a person: what is safe, and what to do next.

use std::io::ErrorKind;

use cbrowse_profile::{
    authority::{AuthorityError, PullError, Version},
    object::StoreError,
};

use super::CarryError;
use crate::{
    attach::connection::ConnectionError,
    failure::{Exit, Failure},
};

impl From<CarryError> for Failure {
    fn from(error: CarryError) -> Self {
        match error {
            CarryError::Node(error) => of_node(error),
            CarryError::NoSessionKey => Failure::new(Exit::Refused, "no_session_key", error.to_string()),
            CarryError::MovedOn { .. } => Failure::new(Exit::Profile, "profile_moved_on", error.to_string())
                .hint("take it over first: cbrowse profile pull NAME; both states are kept, nothing was changed"),
            CarryError::Pointer(_) => Failure::new(Exit::Profile, "pointer_refused", chain(&error)).hint(
                "this node's store was tampered with, or mixes profiles up; use another one, nothing was changed",
            ),
            CarryError::ForeignSessionKey => Failure::new(Exit::Trust, "session_key", error.to_string()),
            other => Failure::new(Exit::Profile, "profile", chain(&other)).hint(
                "cbrowse profile verify NAME says what is damaged and what is whole; nothing was changed",
            ),
        }
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        let (code, hint) = match &error {
            AuthorityError::Unknown(name) => {
                let hint = format!(
                    "make it: cbrowse profile create {name}; see which there are: cbrowse profile list"
                );
                return Failure::new(Exit::Profile, "no_profile", error.to_string()).hint(hint);
            }
            AuthorityError::Exists(name) => {
                let hint = format!(
                    "choose another name, or seal into that one: cbrowse profile sync {name} --from DIR; nothing was changed"
                );
                return Failure::new(Exit::Profile, "profile_exists", error.to_string()).hint(hint);
            }
            AuthorityError::WrongKey(_) => (
                "wrong_key",
                "use the keyring, or the passphrase file, with which the profile was made, or its recovery words: cbrowse profile \
                 key recover; nothing was written",
            ),
            AuthorityError::EarlierEpoch(_) => (
                "earlier_key",
                "put it under the current key: cbrowse profile key rotate; nothing was written",
            ),
            AuthorityError::NoVersion { name, version: Version::Current } => {
                let message = format!("profile {name} has no generation yet: it was never saved");
                return Failure::new(Exit::Profile, "no_version", message).hint(format!(
                    "a session saves it: cbrowse connect --profile {name}; so does a directory: cbrowse profile sync {name} \
                     --from DIR"
                ));
            }
            AuthorityError::NoVersion { name, .. } => {
                let hint =
                    format!("see which there are: cbrowse profile history {name}; nothing was changed");
                return Failure::new(Exit::Profile, "no_version", error.to_string()).hint(hint);
            }
            AuthorityError::Busy => ("profile_busy", "wait for the other command; nothing was changed"),
            AuthorityError::Version(_) => ("profile_newer", "update cbrowse; nothing was changed"),
            AuthorityError::RolledBack { .. } | AuthorityError::Forked(_) => (
                "profile_rolled_back",
                "somebody or some backup put older files in place; restore the newer ones, nothing was changed",
            ),
            AuthorityError::Conflict { .. } => (
                "profile_conflict",
                "both are safe: cbrowse profile history NAME shows them; give the command again to go on from the newest",
            ),
            AuthorityError::Damaged(_) => {
                ("profile_damaged", "restore that file from a backup; nothing was changed")
            }
            other => store_trouble(other),
        };
        Failure::new(Exit::Profile, code, chain(&error)).hint(hint)
    }
}

/// Code and hint of an error that comes from the disk or from damaged objects.
pub fn store_trouble(error: &(dyn std::error::Error + 'static)) -> (&'static str, &'static str) {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            return match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    ("disk_full", "free some space and try again; every generation up to now is safe")
                }
                ErrorKind::PermissionDenied => {
                    ("no_permission", "use the account that owns these files; nothing was changed")
                }
                _ => ("disk", "look after that file or disk; every generation up to now is safe"),
            };
        }
        if let Some(StoreError::Missing(_) | StoreError::Corrupt(_)) = inner.downcast_ref::<StoreError>() {
            return (
                "object_damaged",
                "see which generations are whole: cbrowse profile verify; nothing was changed",
            );
        }
        cause = inner.source();
    }
    ("profile", "nothing was changed; see cbrowse profile status")
}

/// A store that is full or away says so in words of its own; what is safe is added here.
fn of_node(error: ConnectionError) -> Failure {
    let told = error.problem().map(|problem| problem.code.clone()).unwrap_or_default();
    let (code, hint) = match told.as_str() {
        "quota_exceeded" => (
            "quota_exceeded",
            "your own copy is whole; delete a profile that you need no more, or ask the operator for a larger quota",
        ),
        "store_full" | "disk_full" => {
            ("store_full", "your own copy is whole; choose another node with --node, or ask the operator")
        }
        "store_unavailable" => (
            "store_unavailable",
            "your own copy is whole, and what the store took before is safe; try again in a while",
        ),
        "profile_deleted" => (
            "profile_deleted",
            "another device of yours deleted it from the fleet; here it is whole: cbrowse profile export NAME, or delete it here, too",
        ),
        "other_key" => (
            "other_key",
            "the store knows this profile by another key; your own copy is whole and nothing was changed there",
        ),
        _ => return error.into(),
    };
    let exit = if code == "profile_deleted" || code == "other_key" { Exit::Profile } else { Exit::Refused };
    let details = serde_json::json!({ "problem": error.problem() });
    Failure::new(exit, code, error.to_string()).hint(hint).details(details)
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        let (code, hint) = match error {
            PullError::Authority(error) => return error.into(),
            PullError::RolledBack { .. } => (
                "store_rolled_back",
                "nothing was changed; if a newer state was synced to another node, or not at all yet, pull from that node, or sync there \
                 first; if not, the store was rolled back: ask its operator",
            ),
            PullError::Forked(_) => (
                "store_forked",
                "the store shows different states to different devices; nothing was changed; ask its operator, or use another one",
            ),
            PullError::Mismatch { .. } => (
                "pointer_mismatch",
                "the store's pointer and its head do not belong together; nothing was changed",
            ),
            PullError::Store(_) | PullError::Open(_) => of_store(&error),
        };
        Failure::new(Exit::Profile, code, chain(&error)).hint(hint)
    }
}

/// Which lie of a store, or which failure, is at the bottom of an error.
fn of_store(error: &(dyn std::error::Error + 'static)) -> (&'static str, &'static str) {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        match inner.downcast_ref() {
            Some(StoreError::Missing(_)) => {
                return (
                    "store_incomplete",
                    "the store lacks what it points to; nothing was changed; sync again from a device that has it",
                );
            }
            Some(StoreError::Corrupt(_) | StoreError::TooLarge { .. }) => {
                return (
                    "store_damaged",
                    "the store gave other bytes than it was asked for; nothing was changed; use another node, or ask its operator",
                );
            }
            Some(StoreError::Remote { .. }) => {
                return (
                    "store_unavailable",
                    "nothing was changed; what came so far is kept; try again in a while",
                );
            }
            Some(StoreError::Disk { .. }) => return store_trouble(error),
            None => cause = inner.source(),
        }
    }
    ("store_foreign", "what the store points to is not this profile's; nothing was changed; ask its operator")
}

/// An error and its causes as one sentence.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use cbrowse_profile::object::ObjectName;

    use super::*;

    fn disk(kind: ErrorKind) -> AuthorityError {
        let source = io::Error::from(kind);
        StoreError::Disk { action: "write", path: "/p".into(), source }.into()
    }

    #[test]
    fn what_failed_below_decides_what_is_said() {
        for (error, code) in [
            (disk(ErrorKind::StorageFull), "disk_full"),
            (disk(ErrorKind::QuotaExceeded), "disk_full"),
            (disk(ErrorKind::PermissionDenied), "no_permission"),
            (disk(ErrorKind::BrokenPipe), "disk"),
            (StoreError::Corrupt(ObjectName::of(b"x")).into(), "object_damaged"),
            (AuthorityError::Busy, "profile_busy"),
            (AuthorityError::RolledBack { found: 1, seen: 2 }, "profile_rolled_back"),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.exit, failure.code), (Exit::Profile, code));
            assert!(failure.hint.is_some(), "{code}");
        }
    }
}
