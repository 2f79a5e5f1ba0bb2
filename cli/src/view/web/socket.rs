//! One page's WebSocket: the hub's messages and newest frames go out, input comes in, and neither waits for the other.

use std::{collections::VecDeque, time::Duration};

use cbrowse_protocol::wire::{ClientMessage, MAX_CONTROL_LENGTH, MAX_FRAMES_IN_FLIGHT, MediaHeader};
use futures_util::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, protocol, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;

use crate::view::{Delivery, Hub, Left, Subscriber};

/// A page that takes nothing for this long is cut off. A laptop's lid or a debugger's pause may take seconds; longer
/// keeps a dead page's picture in memory.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// Serves one page until either side is done.
pub(super) async fn run(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    hub: &Hub,
    title: &str,
    stop: &CancellationToken,
) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_CONTROL_LENGTH))
        .max_frame_size(Some(MAX_CONTROL_LENGTH));
    let socket = WebSocketStream::from_raw_socket(stream, protocol::Role::Server, Some(config)).await;
    let (mut sink, stream) = socket.split();
    let (shown, showing) = watch::channel(None);
    let mut subscriber = hub.subscribe();
    tokio::select! {
        _unreadable = read(stream, hub, shown) => {}
        _cut_off = write(&mut sink, &mut subscriber, title, showing) => {}
        () = stop.cancelled() => finish(&mut subscriber, &mut sink).await,
    }
}

/// Passes on what the page says, and notes what it has shown.
async fn read(
    mut stream: impl Stream<Item = Result<Message, Error>> + Unpin,
    hub: &Hub,
    shown: watch::Sender<Option<u32>>,
) {
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = message else { continue };
        let Ok(message) = serde_json::from_str::<ClientMessage>(&text) else { continue };
        if let ClientMessage::Shown { sequence } = message {
            shown.send_replace(Some(sequence));
        }
        // When the session is over nobody takes it, but the page still reads the last words.
        let _over = hub.send(message).await;
    }
}

async fn write(
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    subscriber: &mut Subscriber,
    title: &str,
    mut shown: watch::Receiver<Option<u32>>,
) -> Option<()> {
    let mut flight = Flight::default();
    send(sink, Message::text(json!({ "type": "viewer", "title": title }).to_string())).await?;
    loop {
        let delivery = tokio::select! {
            biased;
            Ok(()) = shown.changed() => {
                if let Some(sequence) = *shown.borrow_and_update() {
                    flight.land(sequence);
                }
                continue;
            }
            delivery = next(subscriber, flight.has_room()) => delivery.ok()?,
        };
        if let Delivery::Frame(bytes) = &delivery
            && let Ok((header, _)) = MediaHeader::decode(bytes)
        {
            flight.start(header.sequence);
        }
        send(sink, message(delivery)).await?;
    }
}

/// Without room frames wait, and the newest takes the place of those before it. Cancel safe.
async fn next(subscriber: &mut Subscriber, has_room: bool) -> Result<Delivery, Left> {
    if has_room { subscriber.next().await } else { subscriber.next_message().await }
}

async fn send(sink: &mut (impl Sink<Message, Error = Error> + Unpin), message: Message) -> Option<()> {
    tokio::time::timeout(SEND_DEADLINE, sink.send(message)).await.ok()?.ok()
}

fn message(delivery: Delivery) -> Message {
    match delivery {
        Delivery::Message(text) => Message::Text(text),
        Delivery::Frame(bytes) | Delivery::Screenshot(bytes) => Message::Binary(bytes),
    }
}

/// The last words that are ready, then the end.
async fn finish(subscriber: &mut Subscriber, sink: &mut (impl Sink<Message, Error = Error> + Unpin)) {
    while let Some(Ok(delivery)) = subscriber.next_message().now_or_never() {
        if send(sink, message(delivery)).await.is_none() {
            return;
        }
    }
    let _closed_already = send(sink, Message::Close(None)).await;
}

/// Frames sent to this page and not yet shown by it. A slow page waits for its own, never for another's.
#[derive(Debug, Default)]
struct Flight {
    sent: VecDeque<u32>,
}

impl Flight {
    fn has_room(&self) -> bool {
        self.sent.len() < MAX_FRAMES_IN_FLIGHT as usize
    }

    fn start(&mut self, sequence: u32) {
        self.sent.push_back(sequence);
    }

    /// All frames up to this one are shown; a number that was never sent says nothing.
    fn land(&mut self, sequence: u32) {
        if let Some(at) = self.sent.iter().position(|sent| *sent == sequence) {
            self.sent.drain(..=at);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cbrowse_protocol::wire::{MediaKind, NodeMessage};
    use tokio::io::DuplexStream;

    use super::*;
    use crate::view::{Event, Inputs};

    #[test]
    fn two_frames_fly_and_a_later_one_lands_the_earlier() {
        let mut flight = Flight::default();
        assert!(flight.has_room());
        flight.start(u32::MAX);
        assert!(flight.has_room());
        flight.start(0);
        assert!(!flight.has_room());
        flight.land(5);
        assert!(!flight.has_room());
        flight.land(0);
        assert_eq!(flight.sent.len(), 0);
    }

    #[test]
    fn frames_land_one_by_one() {
        let mut flight = Flight::default();
        flight.start(1);
        flight.start(2);
        flight.land(1);
        assert_eq!(flight.sent, [2]);
    }

    /// A page of ours on one end, `run` on the other.
    struct Visit {
        hub: Hub,
        inputs: Inputs,
        page: WebSocketStream<DuplexStream>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn visit() -> Visit {
        let (hub, inputs) = Hub::new();
        let (near, far) = tokio::io::duplex(1 << 20);
        let page = WebSocketStream::from_raw_socket(near, protocol::Role::Client, None).await;
        let (served, stop) = (hub.clone(), CancellationToken::new());
        let task = tokio::spawn(async move { run(far, &served, "work", &stop).await });
        let mut visit = Visit { hub, inputs, page, task };
        assert_eq!(visit.hear().await, r#"{"title":"work","type":"viewer"}"#);
        visit
    }

    impl Visit {
        fn show(&self, sequence: u32) {
            let (kind, captured, x, y, width, height) = (MediaKind::Frame, 0, 0, 0, 0, 0);
            let (css_width, css_height) = (8, 8);
            let header = MediaHeader { kind, sequence, captured, x, y, width, height, css_width, css_height };
            self.hub.publish(Event::Media(Bytes::copy_from_slice(&header.encode()))).unwrap();
        }

        async fn hear(&mut self) -> String {
            match self.page.next().await.unwrap().unwrap() {
                Message::Text(text) => text.to_string(),
                Message::Binary(bytes) => {
                    format!("frame {}", MediaHeader::decode(&bytes).unwrap().0.sequence)
                }
                other => panic!("{other:?}"),
            }
        }

        async fn say(&mut self, text: &str) {
            self.page.send(Message::text(text)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_page_that_shows_nothing_gets_two_frames_and_every_message() {
        let mut visit = visit().await;
        for sequence in 1..=2 {
            visit.show(sequence);
            assert_eq!(visit.hear().await, format!("frame {sequence}"));
        }
        for sequence in 3..=9 {
            visit.show(sequence);
        }
        visit.hub.publish(Event::Control(NodeMessage::Pong { token: 1 })).unwrap();
        assert_eq!(visit.hear().await, r#"{"type":"pong","token":1}"#);
        visit.say(r#"{"type":"shown","sequence":2}"#).await;
        assert_eq!(visit.hear().await, "frame 9");
        assert_eq!(visit.inputs.recv().await, Some(ClientMessage::Shown { sequence: 2 }));
    }

    #[tokio::test]
    async fn garbage_is_passed_over_and_what_is_too_long_ends_the_page() {
        let mut visit = visit().await;
        visit.page.send(Message::binary(vec![0; 100])).await.unwrap();
        for garbage in ["", "{", "[]", "{\"type\":\"dance\"}", "{\"type\":\"mouse\",\"x\":\"left\"}"] {
            visit.say(garbage).await;
        }
        let fill = MAX_CONTROL_LENGTH - r#"{"type":"text","text":""}"#.len();
        let text = "x".repeat(fill);
        visit.say(&json!({ "type": "text", "text": text }).to_string()).await;
        assert_eq!(visit.inputs.recv().await, Some(ClientMessage::Text { text: text.clone() }));
        visit.say(&json!({ "type": "text", "text": text + "x" }).to_string()).await;
        visit.task.await.unwrap();
        assert!(visit.inputs.try_recv().is_err());
    }
}
