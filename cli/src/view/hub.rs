//! The hub keeps the present state of one session and hands it, and everything after it, to any number of pages.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use cbrowse_protocol::wire::{
    ClientMessage, MAX_MEDIA_LENGTH, MediaError, MediaHeader, MediaKind, NodeMessage, Role,
};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::Event;

/// Input messages that wait for the link. Fewer stall a page while one packet is repeated; more let a person type
/// blindly for seconds.
pub const INPUTS_WAITING: usize = 256;
/// Control messages that a subscriber may fall behind. Fewer cut off a page during a long garbage collection; more let
/// a node that sends the longest messages fill memory (128 of 256 KiB are 32 MiB).
pub const MESSAGES_BEHIND: usize = 128;

/// What the pages say, in order, for attach to send to the node.
pub type Inputs = mpsc::Receiver<ClientMessage>;

/// Attach no longer takes input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session takes no more input")]
pub struct Gone;

/// Why a subscriber gets nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Left {
    /// It read too slowly; subscribing again starts from the present state.
    #[error("{0} control messages were missed")]
    Behind(u64),
    /// The hub is gone.
    #[error("the hub is gone")]
    Gone,
}

/// Why a binary message was not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not media.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// Longer than any picture.
    #[error("a media message of {0} bytes is longer than {MAX_MEDIA_LENGTH}")]
    Long(usize),
}

/// One thing for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A control message as JSON: a `NodeMessage`, or one of the hub's own (`link_lost`, `link_back`, `link_ended`,
    /// `dialog_gone`).
    Message(Utf8Bytes),
    /// A frame, whole.
    Frame(Bytes),
    /// A screenshot that some page asked for, whole.
    Screenshot(Bytes),
}

/// The meeting point of one attachment and its viewers. Clones are the same hub.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    board: Mutex<Board>,
    messages: broadcast::Sender<Utf8Bytes>,
    frame: watch::Sender<Bytes>,
    screenshot: watch::Sender<Bytes>,
    inputs: mpsc::Sender<ClientMessage>,
}

impl Hub {
    /// A hub, and the input that its pages will send.
    pub fn new() -> (Self, Inputs) {
        let (inputs, received) = mpsc::channel(INPUTS_WAITING);
        let shared = Shared {
            board: Mutex::default(),
            messages: broadcast::Sender::new(MESSAGES_BEHIND),
            frame: watch::Sender::new(Bytes::new()),
            screenshot: watch::Sender::new(Bytes::new()),
            inputs,
        };
        (Self { shared: Arc::new(shared) }, received)
    }

    /// Tells all pages. Never waits. Only media can be refused: what a node sends is bounded before anyone decodes it.
    pub fn publish(&self, event: Event) -> Result<(), Refused> {
        if let Event::Media(message) = event {
            return self.publish_media(message);
        }
        // The lock is held while sending, so that a subscriber sees each message in its greeting or after it.
        let mut board = self.board();
        for message in board.take(event) {
            let _no_page_listens = self.shared.messages.send(message);
        }
        Ok(())
    }

    fn publish_media(&self, message: Bytes) -> Result<(), Refused> {
        if message.len() > MAX_MEDIA_LENGTH {
            return Err(Refused::Long(message.len()));
        }
        let slot = match MediaHeader::decode(&message)?.0.kind {
            MediaKind::Frame => &self.shared.frame,
            MediaKind::Screenshot => &self.shared.screenshot,
        };
        slot.send_replace(message);
        Ok(())
    }

    /// The present state, then everything that follows.
    pub fn subscribe(&self) -> Subscriber {
        let board = self.board();
        let mut frame = self.shared.frame.subscribe();
        if !frame.borrow().is_empty() {
            frame.mark_changed();
        }
        Subscriber {
            greeting: board.present(),
            messages: self.shared.messages.subscribe(),
            frame,
            screenshot: self.shared.screenshot.subscribe(),
        }
    }

    /// Passes on what a page says; waits while the queue is full. What may not pass now (the link is lost, the role is
    /// to look on) is dropped without an error.
    pub async fn send(&self, message: ClientMessage) -> Result<(), Gone> {
        if !self.admit(&message) {
            return Ok(());
        }
        self.shared.inputs.send(message).await.map_err(|_| Gone)
    }

    /// An answer takes the dialog off every page before it leaves: a second one would answer the next dialog, unseen.
    fn admit(&self, message: &ClientMessage) -> bool {
        let mut board = self.board();
        let admitted = board.admits(message);
        if admitted && matches!(message, ClientMessage::DialogAnswer { .. }) {
            board.dialog = None;
            let _no_page_listens = self.shared.messages.send(encode(&Local::DialogGone));
        }
        admitted
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.shared.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One page's view of a hub.
#[derive(Debug)]
pub struct Subscriber {
    greeting: VecDeque<Utf8Bytes>,
    messages: broadcast::Receiver<Utf8Bytes>,
    frame: watch::Receiver<Bytes>,
    screenshot: watch::Receiver<Bytes>,
}

impl Subscriber {
    /// The next thing, control messages first. Cancel safe.
    pub async fn next(&mut self) -> Result<Delivery, Left> {
        if let Some(message) = self.greeting.pop_front() {
            return Ok(Delivery::Message(message));
        }
        tokio::select! {
            biased;
            message = self.messages.recv() => delivered(message),
            changed = self.screenshot.changed() => {
                changed.map_err(|_| Left::Gone)?;
                Ok(Delivery::Screenshot(self.screenshot.borrow_and_update().clone()))
            }
            changed = self.frame.changed() => {
                changed.map_err(|_| Left::Gone)?;
                Ok(Delivery::Frame(self.frame.borrow_and_update().clone()))
            }
        }
    }

    /// The next control message, for whoever has enough frames in flight. Cancel safe.
    pub async fn next_message(&mut self) -> Result<Delivery, Left> {
        match self.greeting.pop_front() {
            Some(message) => Ok(Delivery::Message(message)),
            None => delivered(self.messages.recv().await),
        }
    }
}

fn delivered(message: Result<Utf8Bytes, broadcast::error::RecvError>) -> Result<Delivery, Left> {
    match message {
        Ok(message) => Ok(Delivery::Message(message)),
        Err(broadcast::error::RecvError::Lagged(missed)) => Err(Left::Behind(missed)),
        Err(broadcast::error::RecvError::Closed) => Err(Left::Gone),
    }
}

/// The hub's own messages, in the manner of the node's.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Local<'a> {
    LinkLost { reason: &'a str },
    LinkBack,
    LinkEnded { reason: &'a str },
    DialogGone,
}

/// What a page needs to know that joins now.
#[derive(Debug, Default)]
struct Board {
    welcome: Option<Utf8Bytes>,
    state: Option<Utf8Bytes>,
    tabs: Option<Utf8Bytes>,
    loading: Option<Utf8Bytes>,
    dialog: Option<Utf8Bytes>,
    /// `link_lost`, `link_ended` or `bye`; none while all is well.
    trouble: Option<Utf8Bytes>,
    ended: bool,
    role: Option<Role>,
}

impl Board {
    /// Notes the event; returns what the pages are told.
    fn take(&mut self, event: Event) -> Vec<Utf8Bytes> {
        match event {
            Event::Media(_) | Event::Control(NodeMessage::Unknown) => Vec::new(),
            Event::Control(message) => self.take_message(&message),
            Event::Back => self.back(),
            Event::Lost { reason } if !self.ended => self.trouble(&Local::LinkLost { reason: &reason }),
            Event::Lost { .. } => Vec::new(),
            Event::Ended { reason } => {
                self.ended = true;
                self.trouble(&Local::LinkEnded { reason: &reason })
            }
        }
    }

    fn take_message(&mut self, message: &NodeMessage) -> Vec<Utf8Bytes> {
        let text = encode(message);
        let mut told = Vec::new();
        match message {
            NodeMessage::Welcome { role, .. } => {
                told = self.back();
                self.role = Some(*role);
                self.welcome = Some(text.clone());
            }
            NodeMessage::State { .. } => self.state = Some(text.clone()),
            NodeMessage::Tabs { .. } => self.tabs = Some(text.clone()),
            NodeMessage::Loading { .. } => self.loading = Some(text.clone()),
            NodeMessage::Dialog { .. } => self.dialog = Some(text.clone()),
            NodeMessage::Bye { .. } => {
                self.ended = true;
                self.trouble = Some(text.clone());
            }
            _ => {}
        }
        told.push(text);
        told
    }

    /// A new attachment tells an open dialog again, so the old one is forgotten.
    fn back(&mut self) -> Vec<Utf8Bytes> {
        if self.ended || self.trouble.take().is_none() {
            return Vec::new();
        }
        self.dialog = None;
        vec![encode(&Local::LinkBack), encode(&Local::DialogGone)]
    }

    fn trouble(&mut self, message: &Local<'_>) -> Vec<Utf8Bytes> {
        let text = encode(message);
        self.trouble = Some(text.clone());
        vec![text]
    }

    fn present(&self) -> VecDeque<Utf8Bytes> {
        [&self.welcome, &self.state, &self.tabs, &self.loading, &self.dialog, &self.trouble]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    fn admits(&self, message: &ClientMessage) -> bool {
        let watching = matches!(
            message,
            ClientMessage::Hello { .. }
                | ClientMessage::Resize { .. }
                | ClientMessage::Shown { .. }
                | ClientMessage::Screenshot { .. }
                | ClientMessage::Ping { .. }
        );
        let sensible = match message {
            ClientMessage::Unknown => false,
            ClientMessage::DialogAnswer { .. } => self.dialog.is_some(),
            _ => true,
        };
        sensible && self.trouble.is_none() && (watching || self.role != Some(Role::View))
    }
}

fn encode(message: &impl Serialize) -> Utf8Bytes {
    serde_json::to_string(message).expect("a message of strings and numbers is JSON").into()
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::wire::{HistoryStep, Tab};

    use super::*;

    fn welcome(role: Role) -> Event {
        Event::Control(NodeMessage::Welcome {
            session: "s1".parse().unwrap(),
            node: "n1".parse().unwrap(),
            region: "eu".into(),
            browser_version: "156".into(),
            role,
        })
    }

    fn tabs(title: &str) -> Event {
        let tab = Tab { id: "1".into(), url: "https://a.example/".into(), title: title.into(), active: true };
        Event::Control(NodeMessage::Tabs { tabs: vec![tab] })
    }

    fn dialog() -> Event {
        let (kind, message, default) = ("alert".into(), "hello".into(), String::new());
        Event::Control(NodeMessage::Dialog { kind, message, default })
    }

    fn frame(sequence: u32) -> Bytes {
        media(MediaKind::Frame, sequence)
    }

    fn media(kind: MediaKind, sequence: u32) -> Bytes {
        let (captured, x, y, width, height) = (0, 0, 0, 0, 0);
        let header =
            MediaHeader { kind, sequence, captured, x, y, width, height, css_width: 8, css_height: 8 };
        Bytes::copy_from_slice(&header.encode())
    }

    fn lost() -> Event {
        Event::Lost { reason: "timeout".into() }
    }

    /// Everything that is ready, messages by their type.
    async fn ready(subscriber: &mut Subscriber) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            tokio::select! {
                biased;
                next = subscriber.next() => all.push(name(&next.unwrap())),
                () = std::future::ready(()) => return all,
            }
        }
    }

    fn name(delivery: &Delivery) -> String {
        match delivery {
            Delivery::Message(text) => {
                let value: serde_json::Value = serde_json::from_str(text).unwrap();
                value["type"].as_str().unwrap().to_owned()
            }
            Delivery::Frame(bytes) => format!("frame {}", MediaHeader::decode(bytes).unwrap().0.sequence),
            Delivery::Screenshot(_) => "screenshot".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_late_joiner_gets_the_present_state_and_the_last_frame() {
        let (hub, _inputs) = Hub::new();
        for event in [welcome(Role::Control), tabs("one"), tabs("two"), dialog(), Event::Media(frame(7))] {
            hub.publish(event).unwrap();
        }
        let mut late = hub.subscribe();
        assert_eq!(ready(&mut late).await, ["welcome", "tabs", "dialog", "frame 7"]);
        assert_eq!(ready(&mut late).await, [""; 0]);
    }

    #[tokio::test]
    async fn the_newest_frame_wins_and_no_message_is_lost() {
        let (hub, _inputs) = Hub::new();
        let mut page = hub.subscribe();
        for sequence in 1..=50 {
            hub.publish(Event::Media(frame(sequence))).unwrap();
            hub.publish(tabs("x")).unwrap();
        }
        let got = ready(&mut page).await;
        assert_eq!(got.iter().filter(|name| *name == "tabs").count(), 50);
        assert_eq!(got.last().unwrap(), "frame 50");
        assert_eq!(got.len(), 51);
    }

    #[tokio::test]
    async fn a_screenshot_is_not_overtaken_by_frames() {
        let (hub, _inputs) = Hub::new();
        let mut page = hub.subscribe();
        hub.publish(Event::Media(media(MediaKind::Screenshot, 0))).unwrap();
        hub.publish(Event::Media(frame(2))).unwrap();
        assert_eq!(ready(&mut page).await, ["screenshot", "frame 2"]);
        assert_eq!(ready(&mut hub.subscribe()).await, ["frame 2"]);
    }

    #[tokio::test]
    async fn who_falls_too_far_behind_is_cut_off() {
        let (hub, _inputs) = Hub::new();
        let mut just = hub.subscribe();
        for _ in 0..MESSAGES_BEHIND {
            hub.publish(tabs("x")).unwrap();
        }
        assert_eq!(ready(&mut just).await.len(), MESSAGES_BEHIND);
        let mut slow = hub.subscribe();
        let _greeting = slow.next().await.unwrap();
        for _ in 0..=MESSAGES_BEHIND {
            hub.publish(tabs("x")).unwrap();
        }
        assert_eq!(slow.next().await, Err(Left::Behind(1)));
    }

    #[test]
    fn media_is_checked_before_it_is_passed_on() {
        let (hub, _inputs) = Hub::new();
        let short = hub.publish(Event::Media(Bytes::from_static(b"jpeg")));
        assert_eq!(short, Err(Refused::Media(MediaError::Short(4))));
        let mut long = frame(1).to_vec();
        long.resize(MAX_MEDIA_LENGTH, 0);
        assert_eq!(hub.publish(Event::Media(long.clone().into())), Ok(()));
        long.push(0);
        let refused = hub.publish(Event::Media(long.into()));
        assert_eq!(refused, Err(Refused::Long(MAX_MEDIA_LENGTH + 1)));
    }

    #[tokio::test]
    async fn input_is_dropped_while_the_link_is_lost_and_passes_after() {
        let (hub, mut inputs) = Hub::new();
        hub.publish(welcome(Role::Control)).unwrap();
        let mut page = hub.subscribe();
        hub.publish(lost()).unwrap();
        hub.send(ClientMessage::Ping { token: 1 }).await.unwrap();
        hub.publish(welcome(Role::Control)).unwrap();
        hub.send(ClientMessage::Ping { token: 2 }).await.unwrap();
        assert_eq!(inputs.try_recv(), Ok(ClientMessage::Ping { token: 2 }));
        let told = ready(&mut page).await;
        assert_eq!(told, ["welcome", "link_lost", "link_back", "dialog_gone", "welcome"]);
    }

    #[tokio::test]
    async fn a_viewer_may_look_but_not_steer() {
        let (hub, mut inputs) = Hub::new();
        hub.publish(welcome(Role::View)).unwrap();
        hub.send(ClientMessage::History { step: HistoryStep::Back }).await.unwrap();
        hub.send(ClientMessage::Text { text: "x".into() }).await.unwrap();
        hub.send(ClientMessage::Unknown).await.unwrap();
        hub.send(ClientMessage::Shown { sequence: 3 }).await.unwrap();
        assert_eq!(inputs.try_recv(), Ok(ClientMessage::Shown { sequence: 3 }));
        assert!(inputs.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_answered_dialog_leaves_every_page() {
        let (hub, mut inputs) = Hub::new();
        hub.publish(dialog()).unwrap();
        let mut other = hub.subscribe();
        let answer = ClientMessage::DialogAnswer { accept: true, text: String::new() };
        hub.send(answer.clone()).await.unwrap();
        hub.send(ClientMessage::DialogAnswer { accept: false, text: String::new() }).await.unwrap();
        assert_eq!((inputs.try_recv(), inputs.len()), (Ok(answer), 0));
        assert_eq!(ready(&mut other).await, ["dialog", "dialog_gone"]);
        assert_eq!(ready(&mut hub.subscribe()).await, [""; 0]);
    }

    #[tokio::test]
    async fn the_end_stays_the_end() {
        let (hub, mut inputs) = Hub::new();
        hub.publish(Event::Ended { reason: "stopped".into() }).unwrap();
        hub.publish(lost()).unwrap();
        hub.publish(Event::Back).unwrap();
        hub.send(ClientMessage::Ping { token: 1 }).await.unwrap();
        assert!(inputs.try_recv().is_err());
        assert_eq!(ready(&mut hub.subscribe()).await, ["link_ended"]);
    }
}
