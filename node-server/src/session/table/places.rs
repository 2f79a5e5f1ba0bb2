//! Who still fits: sessions that run, places that are kept, and when a full node is worth asking again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cbrowse_protocol::{id::SessionId, seat::Seat};

use super::{CreateError, REMEMBER_FINISHED, Table, alive, encoding_id, unix_now};
use crate::{
    peer::Connection,
    session::{relay::Session, seats::LASTS},
};

/// A full node is worth asking again after this at the latest, even where no session has ended lately. Longer: places stay
/// empty; shorter: a crowd that waits keeps the node busy with refusals.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

impl Table {
    /// Whether one more session of `owner` fits beside those that run and the places that are kept for others.
    pub(super) fn has_room(
        &self,
        sessions: &HashMap<SessionId, Arc<Session>>,
        owner: &str,
        seat: Option<&str>,
    ) -> Result<(), CreateError> {
        let (now, mut seats) = (Instant::now(), self.seats.lock().expect("no holder panics"));
        // Somebody else's seat makes no room.
        let own = seat.filter(|id| seats.of(now, owner) == Some(id));
        let kept = seats.taken(now, own);
        if alive(sessions) + kept < self.capacity as usize {
            return Ok(());
        }
        let ended = sessions.values().filter(|session| session.is_over()).count();
        let wait = wait_for_room(ended, seats.soonest(now));
        Err(CreateError::Full { capacity: self.capacity, wait })
    }

    /// Keeps a place for a user, while `connection` lives and for some seconds at most. The user's earlier seat is over.
    pub fn reserve(
        &self,
        user: &str,
        client: &str,
        connection: &Arc<Connection>,
    ) -> Result<Seat, CreateError> {
        let sessions = self.sessions.lock().expect("no holder panics");
        if self.is_draining() {
            return Err(CreateError::Draining);
        }
        let own = self.seats.lock().expect("no holder panics").of(Instant::now(), user).map(str::to_owned);
        self.has_room(&sessions, user, own.as_deref())?;
        let id = encoding_id().to_string();
        self.seats.lock().expect("no holder panics").keep(Instant::now(), user, id.clone(), connection);
        self.changed();
        let expires = unix_now() + LASTS.as_secs();
        let lasts_ms = u32::try_from(LASTS.as_millis()).unwrap_or(u32::MAX);
        let (node, subject, client) = (self.node.clone(), user.to_owned(), client.to_owned());
        let seat = Seat { id, node, subject, client, expires, lasts_ms, signature: Vec::new() };
        Ok(seat.signed(&self.identity))
    }

    /// Ends a user's seat; whether it was held.
    pub fn release(&self, user: &str, id: &str) -> bool {
        let was_held = self.seats.lock().expect("no holder panics").release(Instant::now(), user, id);
        // After the change, or what is told meanwhile would pass for news; and only for a change, or anybody with a
        // token could have it told anew as often as they ask.
        if was_held {
            self.changed();
        }
        was_held
    }

    /// Whether a place is kept for this user under this id.
    pub fn holds_seat(&self, user: &str, id: &str) -> bool {
        self.seats.lock().expect("no holder panics").of(Instant::now(), user) == Some(id)
    }

    /// A part of a user's profile has arrived: what waits for it lasts longer.
    pub fn renew_seat(&self, user: &str) {
        self.seats.lock().expect("no holder panics").renew(Instant::now(), user);
    }

    /// Places kept for sessions that have not begun.
    pub fn reserved(&self) -> u32 {
        let kept = self.seats.lock().expect("no holder panics").taken(Instant::now(), None);
        u32::try_from(kept).unwrap_or(u32::MAX)
    }
}

/// When a full node is worth asking again: when the next seat ends by itself, or as often as sessions have ended lately.
fn wait_for_room(ended: usize, soonest_seat: Option<Duration>) -> Duration {
    let ends_every = REMEMBER_FINISHED / u32::try_from(ended).unwrap_or(u32::MAX).max(1);
    soonest_seat.map_or(ends_every, |seat| seat.min(ends_every)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_node_is_asked_again_when_a_place_may_be_free() {
        let seconds = Duration::from_secs;
        for (ended, seat, wait) in [
            (0, None, LONGEST_WAIT),
            (39, None, LONGEST_WAIT),
            (40, None, LONGEST_WAIT),
            (60, None, seconds(10)),
            (60, Some(seconds(3)), seconds(3)),
            (0, Some(seconds(29)), LONGEST_WAIT),
            (usize::MAX, None, REMEMBER_FINISHED / u32::MAX),
        ] {
            assert_eq!(wait_for_room(ended, seat), wait, "{ended} ended, {seat:?}");
        }
    }
}
