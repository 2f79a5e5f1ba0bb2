//! What was asked over one socket, by sequence number, and whom an answer is told to. No clock, no socket.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc;

use super::super::{drive::Arrival, race::Answer};

/// How often the answer to one request is passed on: the first one, and one more, so that the race can count duplicates.
/// Without a bound, one node that repeats itself would crowd out the others' answers.
const MOST_TOLD: u8 = 2;

/// One request.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) to: IpAddr,
    /// The race's number for it.
    pub(super) number: u32,
    pub(super) sent: Instant,
    /// The same by the clock that the kernel stamps packets with.
    pub(super) at: SystemTime,
    pub(super) told: u8,
    pub(super) teller: mpsc::Sender<Arrival>,
}

/// All requests of a socket, 65,536 at most: the oldest ones give way, long after they were answered or lost.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<u16, Entry>,
    next: u16,
}

impl Book {
    /// Enters a request, and says by which sequence number.
    pub(super) fn enter(&mut self, entry: Entry) -> u16 {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        self.entries.insert(sequence, entry);
        sequence
    }

    /// Forgets a request that was not sent.
    pub(super) fn strike(&mut self, sequence: u16) {
        self.entries.remove(&sequence);
    }

    /// Passes on what came: a reply, or a router's word that there is no way, to the request `sequence`, speaking for
    /// `from`, stamped `at` by the kernel where it does that, read `now`.
    pub(super) fn hear(
        &mut self,
        sequence: u16,
        from: IpAddr,
        at: Option<SystemTime>,
        is_reply: bool,
        now: Instant,
    ) {
        let Some(entry) = self.entries.get_mut(&sequence).filter(|entry| entry.told < MOST_TOLD) else {
            return;
        };
        // A stranger may talk as often as it likes; one that was not asked must not use up the answer of who was.
        entry.told += u8::from(from == entry.to);
        let rtt = round_trip(at.and_then(|at| at.duration_since(entry.at).ok()), now - entry.sent);
        let answer = if is_reply { Answer::Reply(rtt) } else { Answer::NoRoute };
        // What a race has no room for, or no longer wants to hear, is not told.
        let _ = entry.teller.try_send(Arrival { number: entry.number, from: Some(from), answer });
    }
}

/// The kernel's measure, unless the clock was set meanwhile: then the time until it was read, which is never too short.
fn round_trip(stamped: Option<Duration>, read: Duration) -> Duration {
    stamped.filter(|stamped| *stamped <= read && *stamped > Duration::ZERO).unwrap_or(read)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn time_is_the_kernels_unless_the_clock_was_set() {
        assert_eq!(round_trip(Some(ms(3)), ms(5)), ms(3));
        assert_eq!(round_trip(Some(ms(5)), ms(5)), ms(5));
        assert_eq!(round_trip(Some(ms(6)), ms(5)), ms(5));
        assert_eq!(round_trip(Some(ms(0)), ms(5)), ms(5));
        assert_eq!(round_trip(None, ms(5)), ms(5));
    }

    fn entry(number: u32, teller: &mpsc::Sender<Arrival>, sent: Instant, at: SystemTime) -> Entry {
        Entry { to: NODE, number, sent, at, told: 0, teller: teller.clone() }
    }

    #[test]
    fn answers_reach_who_asked_repeaters_are_heard_twice_and_the_unasked_not_at_all() {
        let (teller, mut heard) = mpsc::channel(16);
        let (mut book, now, at) = (Book::default(), Instant::now(), SystemTime::now());
        assert_eq!(book.enter(entry(70, &teller, now, at)), 0);
        assert_eq!(book.enter(entry(71, &teller, now, at)), 1);
        for _ in 0..5 {
            book.hear(1, NODE, Some(at + ms(4)), true, now + ms(9));
        }
        book.hear(2, NODE, None, true, now);
        book.hear(0, OTHER, None, true, now + ms(1));
        book.hear(0, NODE, None, false, now + ms(2));
        let told: Vec<Arrival> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
        let arrival = |number, from, answer| Arrival { number, from: Some(from), answer };
        let expected = [
            arrival(71, NODE, Answer::Reply(ms(4))),
            arrival(71, NODE, Answer::Reply(ms(4))),
            arrival(70, OTHER, Answer::Reply(ms(1))),
            arrival(70, NODE, Answer::NoRoute),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_flood_does_not_grow_and_what_was_not_sent_is_forgotten() {
        let (teller, mut heard) = mpsc::channel(2);
        let (mut book, now, at) = (Book::default(), Instant::now(), SystemTime::now());
        for number in 0..70_000 {
            book.enter(entry(number, &teller, now, at));
        }
        assert_eq!(book.entries.len(), 65_536);
        for _ in 0..100 {
            book.hear(9, OTHER, None, true, now);
        }
        assert_eq!(heard.len(), 2);
        while heard.try_recv().is_ok() {}
        book.strike(9);
        book.hear(9, NODE, None, true, now);
        assert!(heard.try_recv().is_err());
    }
}
