//! One attached client: what waits for it, and how far it is behind.

use std::sync::Arc;

use cbrowse_protocol::wire::{MAX_FRAMES_IN_FLIGHT, NodeMessage, Role};
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
#[derive(Debug, Default)]
pub struct Flight {
    sent: Vec<u32>,
}

impl Flight {
    /// Whether another frame may leave.
    pub fn has_room(&self) -> bool {
        self.sent.len() < MAX_FRAMES_IN_FLIGHT as usize
    }

    /// A frame left.
    pub fn departed(&mut self, sequence: u32) {
        self.sent.push(sequence);
    }

    /// The client showed this frame, and with it all before it. A number that was never sent changes nothing.
    pub fn shown(&mut self, sequence: u32) {
        if let Some(index) = self.sent.iter().position(|sent| *sent == sequence) {
            self.sent.drain(..=index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flight_is_bounded_by_what_was_shown() {
        let mut flight = Flight::default();
        for sequence in 1..=MAX_FRAMES_IN_FLIGHT {
            assert!(flight.has_room());
            flight.departed(sequence);
        }
        assert!(!flight.has_room());
        flight.shown(999);
        assert!(!flight.has_room(), "a number that was never sent frees nothing");
        flight.shown(MAX_FRAMES_IN_FLIGHT);
        assert!(flight.has_room());
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
