//! Lets the delay line run as soon as it has to, on a machine that has other things to do: what it is late by is in every
//! figure.

use std::io;

use nix::libc;

/// A runnable thread that asks for slices this short goes before those with the usual ones, some milliseconds
/// (sched_setattr(2), Linux 6.12). 0.1 ms is the least that the kernel takes.
const SLICE_NANOS: u64 = 100_000;
/// The least of the real-time priorities is above everything that has none.
const PRIORITY: u32 = 1;

/// Makes this thread, and those that it starts, urgent: in real time where this process may, which is root's right outside
/// of namespaces. False where it may not.
pub(super) fn become_urgent() -> bool {
    set(libc::SCHED_FIFO, PRIORITY, 0).is_ok()
}

/// Makes this thread an ordinary one again.
pub(super) fn become_ordinary() {
    // Going down is always permitted; older kernels pass over the slice.
    let _ = set(libc::SCHED_OTHER, 0, 0);
}

/// Asks for short slices, which anybody may.
pub(super) fn ask_for_short_slices() {
    // Without them, lateness shows it.
    let _ = set(libc::SCHED_OTHER, 0, SLICE_NANOS);
}

fn set(policy: libc::c_int, priority: u32, slice: u64) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(std::mem::size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: policy.unsigned_abs(),
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: priority,
        sched_runtime: slice,
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(
        unsafe_code,
        reason = "neither libc nor nix wraps this call; it takes a pointer to these live attributes"
    )]
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybody_becomes_ordinary() {
        let urgent = become_urgent();
        assert!(set(libc::SCHED_OTHER, 0, 0).is_ok(), "urgent before: {urgent}");
        ask_for_short_slices();
        become_ordinary();
    }
}
