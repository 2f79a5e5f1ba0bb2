//! One attached client: what waits for it, and how far it is behind.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use cbrowse_protocol::wire::{MAX_FRAMES_IN_FLIGHT, MAX_FRAMES_ON_A_LONG_ROAD, NodeMessage, Role};
use tokio::sync::{mpsc, watch};

/// Control messages that may wait for one client; one that does not read them is cut off.
const CONTROL_QUEUE: usize = 256;
/// Screenshots that may wait for one client.
const MEDIA_QUEUE: usize = 2;

/// A picture and its sequence number.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its sequence number.
    pub sequence: u32,
    /// The whole media message.
    pub message: bytes::Bytes,
}

/// The relay's side of a client.
#[derive(Debug, Clone)]
pub struct ViewerPort {
    /// What it may do.
    pub role: Role,
    control: mpsc::Sender<NodeMessage>,
    media: mpsc::Sender<bytes::Bytes>,
    frame: Arc<watch::Sender<Option<Picture>>>,
}

/// The socket's side of a client.
pub struct ViewerFeed {
    /// Control messages; ends when the session does.
    pub control: mpsc::Receiver<NodeMessage>,
    /// Pictures that were asked for.
    pub media: mpsc::Receiver<bytes::Bytes>,
    /// The newest frame.
    pub frame: watch::Receiver<Option<Picture>>,
}

/// A port and the feed that hangs on it.
pub fn channel(role: Role) -> (ViewerPort, ViewerFeed) {
    let (control_sender, control) = mpsc::channel(CONTROL_QUEUE);
    let (media_sender, media) = mpsc::channel(MEDIA_QUEUE);
    let (frame_sender, frame) = watch::channel(None);
    let port =
        ViewerPort { role, control: control_sender, media: media_sender, frame: Arc::new(frame_sender) };
    (port, ViewerFeed { control, media, frame })
}

impl ViewerPort {
    /// `false` when the client does not read and must go.
    pub fn say(&self, message: NodeMessage) -> bool {
        self.control.try_send(message).is_ok()
    }

    /// Replaces whatever frame still waits.
    pub fn show(&self, picture: Picture) {
        self.frame.send_replace(Some(picture));
    }

    /// A picture that was asked for; `false` when too many wait.
    pub fn give(&self, media: bytes::Bytes) -> bool {
        self.media.try_send(media).is_ok()
    }
}

/// Frames sent and not yet shown by one client.
///
/// As many may be on the way as the road is long at 60 a second; more would only queue. The length is the shortest time that a
/// frame took lately from here to "shown", because a queue makes the others longer.
#[derive(Debug, Default)]
pub struct Flight {
    sent: Vec<(u32, Instant)>,
    /// The last [`REMEMBERED`] times, newest last.
    took: VecDeque<Duration>,
}

/// Frames whose time is remembered: about a second's worth, so that a road that becomes longer is noticed soon.
const REMEMBERED: usize = 64;
/// Chromium draws at most this often.
const FRAME_INTERVAL: Duration = Duration::from_micros(16_667);

impl Flight {
    /// Whether another frame may leave.
    pub fn has_room(&self) -> bool {
        self.sent.len() < self.limit()
    }

    fn limit(&self) -> usize {
        let shortest = self.took.iter().min().copied().unwrap_or_default();
        let on_the_way = shortest.as_micros().div_ceil(FRAME_INTERVAL.as_micros());
        let limit = usize::try_from(on_the_way).unwrap_or(usize::MAX).saturating_add(1);
        limit.clamp(MAX_FRAMES_IN_FLIGHT as usize, MAX_FRAMES_ON_A_LONG_ROAD as usize)
    }

    /// A frame left.
    pub fn departed(&mut self, sequence: u32, now: Instant) {
        self.sent.push((sequence, now));
    }

    /// The client showed this frame, and with it all before it. A number that was never sent changes nothing.
    pub fn shown(&mut self, sequence: u32, now: Instant) {
        let Some(index) = self.sent.iter().position(|(sent, _)| *sent == sequence) else { return };
        let (_, departed) = self.sent[index];
        self.sent.drain(..=index);
        self.took.push_back(now.saturating_duration_since(departed));
        if self.took.len() > REMEMBERED {
            self.took.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flight_is_bounded_by_what_was_shown() {
        let (mut flight, now) = (Flight::default(), Instant::now());
        for sequence in 1..=MAX_FRAMES_IN_FLIGHT {
            assert!(flight.has_room());
            flight.departed(sequence, now);
        }
        assert!(!flight.has_room());
        flight.shown(999, now);
        assert!(!flight.has_room(), "a number that was never sent frees nothing");
        flight.shown(MAX_FRAMES_IN_FLIGHT, now);
        assert!(flight.has_room());
    }

    #[test]
    fn a_long_road_holds_more_frames_and_a_queue_does_not() {
        let (mut flight, start) = (Flight::default(), Instant::now());
        let fill = |flight: &mut Flight| {
            let mut sequence = 1000;
            while flight.has_room() {
                flight.departed(sequence, start);
                sequence += 1;
            }
            flight.sent.drain(..).count()
        };
        flight.departed(1, start);
        flight.shown(1, start + Duration::from_millis(100));
        assert_eq!(fill(&mut flight), 7);
        // Later frames waited in a queue; the road is no longer for it.
        flight.departed(2, start);
        flight.shown(2, start + Duration::from_secs(2));
        assert_eq!(fill(&mut flight), 7);
        let mut far = Flight::default();
        far.departed(1, start);
        far.shown(1, start + Duration::from_secs(2));
        assert_eq!(fill(&mut far), MAX_FRAMES_ON_A_LONG_ROAD as usize);
    }

    #[test]
    fn the_newest_frame_replaces_the_one_that_waits() {
        let (port, feed) = channel(Role::View);
        for sequence in 1..=3 {
            port.show(Picture { sequence, message: bytes::Bytes::new() });
        }
        assert_eq!(feed.frame.borrow().as_ref().map(|picture| picture.sequence), Some(3));
    }

    #[test]
    fn a_client_that_does_not_read_is_noticed() {
        let (port, _feed) = channel(Role::View);
        let accepted = (0..=CONTROL_QUEUE).take_while(|_| port.say(NodeMessage::Pong { token: 0 })).count();
        assert_eq!(accepted, CONTROL_QUEUE);
    }
}
