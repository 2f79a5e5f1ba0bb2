//! Places that are kept for sessions which have not begun: one for a user, for seconds, and only while its connection lives.
//!
//! Pure but for the connections, which are only asked whether they still exist. Time comes in, from a clock that does
//! not jump.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use crate::peer::Connection;

/// How long a seat lasts. Shorter: one object of 8 MiB does not get through at 3 Mbit/s while the seat holds; longer: who
/// takes seats and never sits down keeps others out for longer.
pub const LASTS: Duration = Duration::from_secs(30);
/// How long a seat can last altogether while its profile arrives; each object that arrives renews it. Longer: a user who
/// sends one small object after another holds a place without ever using it.
pub const LONGEST: Duration = Duration::from_secs(180);

/// All seats that are kept now, by user.
#[derive(Debug, Default)]
pub struct Seats(HashMap<String, Held>);

#[derive(Debug)]
struct Held {
    id: String,
    since: Instant,
    until: Instant,
    connection: Weak<Connection>,
}

impl Held {
    fn is_held(&self, now: Instant) -> bool {
        now < self.until && self.connection.strong_count() > 0
    }
}

impl Seats {
    /// How many places are kept, for others than whoever sits on `own`.
    pub fn taken(&mut self, now: Instant, own: Option<&str>) -> usize {
        self.0.retain(|_, held| held.is_held(now));
        self.0.values().filter(|held| Some(held.id.as_str()) != own).count()
    }

    /// The seat of a user, if it is held.
    pub fn of(&self, now: Instant, user: &str) -> Option<&str> {
        self.0.get(user).filter(|held| held.is_held(now)).map(|held| held.id.as_str())
    }

    /// Keeps a place for a user until `now` + [`LASTS`]. A seat that the user had is over: the connection that asked for it may
    /// be dead, and the user waits on this one.
    pub fn keep(&mut self, now: Instant, user: &str, id: String, connection: &Arc<Connection>) {
        let held = Held { id, since: now, until: now + LASTS, connection: Arc::downgrade(connection) };
        self.0.insert(user.to_owned(), held);
    }

    /// A part of the user's profile has arrived.
    pub fn renew(&mut self, now: Instant, user: &str) {
        if let Some(held) = self.0.get_mut(user).filter(|held| held.is_held(now)) {
            held.until = (now + LASTS).min(held.since + LONGEST).max(held.until);
        }
    }

    /// Ends a user's seat; whether it was held.
    pub fn release(&mut self, now: Instant, user: &str, id: &str) -> bool {
        let is_it = self.of(now, user) == Some(id);
        if is_it {
            self.0.remove(user);
        }
        is_it
    }

    /// Ends all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Until the first of them ends by itself.
    pub fn soonest(&self, now: Instant) -> Option<Duration> {
        let held = self.0.values().filter(|held| held.is_held(now));
        held.map(|held| held.until - now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Duration = Duration::from_nanos(1);

    fn connection() -> Arc<Connection> {
        Arc::new(Connection { peer: ([192, 0, 2, 1], 1).into() })
    }

    fn seated(user: &str) -> (Seats, Instant, Arc<Connection>) {
        let (mut seats, now, connection) = (Seats::default(), Instant::now(), connection());
        seats.keep(now, user, "a".into(), &connection);
        (seats, now, connection)
    }

    #[test]
    fn a_seat_lasts_until_its_time_and_no_longer() {
        let (mut seats, now, _connection) = seated("ada");
        assert_eq!(
            (seats.taken(now + LASTS.saturating_sub(NEAR), None), seats.soonest(now)),
            (1, Some(LASTS))
        );
        assert_eq!(seats.taken(now + LASTS, None), 0);
        let (mut seats, now, _connection) = seated("ada");
        assert_eq!(seats.taken(now + LASTS + NEAR, None), 0);
        assert!(!seats.release(now, "ada", "a"), "it is gone, not asleep");
    }

    #[test]
    fn a_seat_ends_with_its_connection() {
        let (mut seats, now, connection) = seated("ada");
        assert_eq!((seats.taken(now, None), seats.of(now, "ada")), (1, Some("a")));
        drop(connection);
        assert_eq!((seats.taken(now, None), seats.of(now, "ada")), (0, None));
    }

    #[test]
    fn a_user_has_one_seat_and_the_newest_counts() {
        let (mut seats, now, _old) = seated("ada");
        let newer = connection();
        seats.keep(now, "ada", "b".into(), &newer);
        assert_eq!((seats.taken(now, None), seats.taken(now, Some("b"))), (1, 0));
        assert!(!seats.release(now, "ada", "a") && !seats.release(now, "eve", "b"));
        assert!(seats.release(now, "ada", "b") && !seats.release(now, "ada", "b"), "used once");
    }

    #[test]
    fn what_arrives_renews_it_up_to_a_limit() {
        let (mut seats, now, _connection) = seated("ada");
        let mut at = now;
        while at + LASTS < now + LONGEST {
            at += LASTS.saturating_sub(NEAR);
            seats.renew(at, "ada");
            seats.renew(at, "eve");
        }
        assert_eq!(seats.taken(now + LONGEST.saturating_sub(NEAR), None), 1);
        seats.renew(now + LONGEST.saturating_sub(NEAR), "ada");
        assert_eq!(seats.taken(now + LONGEST, None), 0);
        seats.renew(now + LONGEST, "ada");
        assert_eq!(seats.taken(now + LONGEST, None), 0, "what has ended does not come back");
    }
}
