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
    use super::*;

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
}
