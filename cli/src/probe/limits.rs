//! How many sockets this process may hold: raised once before probing, with room made for them.

use std::{fs::File, os::fd::RawFd};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::close,
};

/// Enough for thousands of connections under way; a hard limit of millions would cost tables for nothing.
const WANTED: u64 = 16_384;
/// Descriptors that the kernel's table has room for from the start: 64 KiB. Fewer: connections to thousands of nodes make
/// it grow while they are timed.
const ROOM: RawFd = 8192;

/// Raises the limit and lets the kernel's table of descriptors grow at once. To be called before there is a second
/// thread: from then on the kernel waits at each doubling until all processors have passed a quiet moment, and a race
/// stands still for 20 ms. Without it, probing by connections is slower and nothing else.
pub fn prepare() {
    raise_open_files();
    let Ok(some) = File::open("/dev/null") else { return };
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let last = RawFd::try_from(limit).unwrap_or(RawFd::MAX).min(ROOM) - 1;
    // The lowest free descriptor that is not below this one: the table has to reach so far.
    if let Ok(high) = fcntl(&some, FcntlArg::F_DUPFD_CLOEXEC(last)) {
        let _ = close(high);
    }
}

/// Raises the soft limit of open files towards [`WANTED`], as far as the hard limit allows. The usual 1,024 would make
/// connections to a thousand nodes fail for want of descriptors. What cannot be raised stays as it is.
pub fn raise_open_files() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = WANTED.min(hard);
    if soft < wanted {
        // Fewer sockets mean probes that cannot be sent, and those are reported as such.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_never_falls_and_reaches_what_is_wanted_where_it_may() {
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
        raise_open_files();
        let (after, same_hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
        assert!(after >= before && after >= WANTED.min(hard), "{before} {after} {hard}");
        assert_eq!(same_hard, hard);
    }
}
