//! A server started as root becomes an ordinary user before it opens a socket or starts a browser.

use std::{io, path::Path};

use nix::unistd::{Gid, Uid, User, chown, geteuid, setgid, setgroups, setuid};

/// The account that packages make for the node.
const ACCOUNT: &str = "cbrowse";
/// Used where no such account exists: a number outside every range that Debian hands out (it names 61184-65519 for
/// transient system users), so that it owns nothing on the machine.
const FALLBACK: u32 = 61_613;

/// Why the server could not become an ordinary user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such account.
    #[error("there is no user {0:?} on this machine: create it, or name another one with --user")]
    Unknown(String),
    /// The named account is root.
    #[error("--user {0:?} is root; a browser node never runs as root")]
    Root(String),
    /// The kernel refused.
    #[error("{step} {}", path.display())]
    System {
        /// A bare verb phrase.
        step: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Makes `directory` (0700) and, when started as root, hands it over and becomes `named` or the node's own user.
/// Returns the user's number if it changed.
pub fn become_ordinary(named: Option<&str>, directory: &Path) -> Result<Option<u32>, UserError> {
    let system =
        |step| move |source: io::Error| UserError::System { step, path: directory.to_owned(), source };
    make_private(directory).map_err(system("make the data directory"))?;
    if !geteuid().is_root() {
        return Ok(None);
    }
    let (uid, gid) = target(named)?;
    hand_over(directory, uid, gid).map_err(system("hand over"))?;
    setgroups(&[]).map_err(io::Error::from).map_err(system("drop groups for"))?;
    setgid(gid).map_err(io::Error::from).map_err(system("change the group for"))?;
    setuid(uid).map_err(io::Error::from).map_err(system("change the user for"))?;
    // A changed user makes a process undumpable, and the kernel then hides its /proc entries from itself.
    nix::sys::prctl::set_dumpable(true).map_err(io::Error::from).map_err(system("reopen /proc/self for"))?;
    Ok(Some(uid.as_raw()))
}

fn target(named: Option<&str>) -> Result<(Uid, Gid), UserError> {
    let account = User::from_name(named.unwrap_or(ACCOUNT)).ok().flatten();
    match (account, named) {
        (Some(user), _) if user.uid.is_root() => Err(UserError::Root(user.name)),
        (Some(user), _) => Ok((user.uid, user.gid)),
        (None, Some(name)) => Err(UserError::Unknown(name.into())),
        (None, None) => Ok((Uid::from_raw(FALLBACK), Gid::from_raw(FALLBACK))),
    }
}

fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    if directory.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}

/// Changes the owner of everything in a directory that root made, links themselves and not what they name.
fn hand_over(directory: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::symlink_metadata(&path)?;
        // The server only verifies tokens; whoever breaks into it must not be able to make them.
        if metadata.is_symlink()
            || path.file_name().is_some_and(|name| name == crate::access::ISSUER_KEY_FILE)
        {
            continue;
        }
        chown(&path, Some(uid), Some(gid))?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}
