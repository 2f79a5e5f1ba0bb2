//! How many sockets this process may hold: raised once before probing.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Enough for thousands of connections under way; a hard limit of millions would cost tables for nothing.
const WANTED: u64 = 16_384;

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
