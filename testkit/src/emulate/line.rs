//! The delay line: takes packets from one side, holds each for its time, and gives it to the other side.
//!
//! One thread. It sleeps in `ppoll`, whose timeout has nanoseconds, with the kernel's timer slack turned off; it never
//! spins. How late it was is counted with every packet.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
    unistd::{read, write},
};

use super::{
    counters::Counters,
    packet::{self, Way},
    path::{Fate, Paths},
};

/// Packets held at once: 5,000 nodes that all answer twenty probes at once. More would hide a flood.
const MOST_HELD: usize = 200_000;
/// Packets taken from one side before those that are due are looked after. More: they are let go later.
const AT_ONCE: usize = 32;
/// The interfaces' MTU is 1,500.
const LONGEST: usize = 2048;
/// Without anything to let go, the thread looks up this often; it is woken by packets and by the end.
const IDLE: Duration = Duration::from_secs(60);

/// Where packets come from and go to.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) near: OwnedFd,
    pub(super) far: OwnedFd,
    /// Readable, or hung up, once the line is to end.
    pub(super) end: OwnedFd,
}

/// Earliest first; of two at one time, the one that came first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Duration,
    number: u64,
    way: Way,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Line {
    ends: Ends,
    paths: Paths,
    counters: Arc<Counters>,
    start: Instant,
    held: BinaryHeap<Reverse<Held>>,
    /// Of packets that are gone: an allocation for each would cost more than its way through here.
    spare: Vec<Vec<u8>>,
    next: u64,
}

/// Runs until the end is told.
pub(super) fn run(ends: Ends, paths: Paths, counters: Arc<Counters>) {
    // The usual slack of 50 us would be added to every delay. Where it stays, lateness shows it.
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut line = Line {
        ends,
        paths,
        counters,
        start: Instant::now(),
        held: BinaryHeap::new(),
        spare: Vec::new(),
        next: 0,
    };
    let mut buffer = vec![0; LONGEST];
    while let Some((out, back)) = line.wait() {
        line.let_go();
        if out {
            line.take(Way::Out, &mut buffer);
        }
        if back {
            line.take(Way::Back, &mut buffer);
        }
    }
}

impl Line {
    /// Until a packet is there or due: whether the near and the far side have one. `None` at the end.
    fn wait(&self) -> Option<(bool, bool)> {
        let until = self.held.peek().map(|Reverse(held)| held.due);
        let timeout = until.map_or(IDLE, |due| due.saturating_sub(self.start.elapsed()));
        let mut watched = [&self.ends.near, &self.ends.far, &self.ends.end]
            .map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        match ppoll(&mut watched, Some(TimeSpec::from_duration(timeout)), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
        let [near, far, end] = watched.map(|watched| watched.any().unwrap_or(false));
        (!end).then_some((near, far))
    }

    fn take(&mut self, way: Way, buffer: &mut [u8]) {
        for _ in 0..AT_ONCE {
            let from = if way == Way::Out { &self.ends.near } else { &self.ends.far };
            // Nothing left to read, or the interface is going down.
            let Ok(length) = read(from, buffer) else { return };
            self.decide(&buffer[..length], way);
        }
    }

    fn decide(&mut self, bytes: &[u8], way: Way) {
        let Some(seen) = packet::read(bytes, way) else { return };
        if way == Way::Out {
            self.counters.sent(seen);
        }
        match self.paths.fate(seen, way, self.start.elapsed()) {
            Fate::Unanswered | Fate::Lost => self.counters.dropped(seen.node),
            Fate::Due(_) if self.held.len() == MOST_HELD => self.counters.overflowed(),
            Fate::Due(due) => self.hold(due, way, bytes),
        }
    }

    fn hold(&mut self, due: Duration, way: Way, bytes: &[u8]) {
        let mut held = self.spare.pop().unwrap_or_default();
        held.clear();
        held.extend_from_slice(bytes);
        self.held.push(Reverse(Held { due, number: self.next, way, bytes: held }));
        self.next += 1;
    }

    fn let_go(&mut self) {
        while let Some(Reverse(first)) = self.held.peek() {
            let now = self.start.elapsed();
            if first.due > now {
                return;
            }
            self.counters.late(now.abs_diff(first.due));
            let Some(Reverse(held)) = self.held.pop() else { return };
            let to: BorrowedFd<'_> =
                if held.way == Way::Out { self.ends.far.as_fd() } else { self.ends.near.as_fd() };
            if write(to, &held.bytes).is_err() {
                self.counters.overflowed();
            }
            self.spare.push(held.bytes);
        }
    }
}
