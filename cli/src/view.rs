//! A viewer shows what a node sends and returns what a person does; the [`Hub`] between attach and viewers decides what waits and what is dropped.
//!
//! ```text
//! attach  -- publish(Event) -->  Hub  -- Subscriber::next -->  each page
//!         <-- inputs (mpsc) ---       <-- Hub::send --------
//! ```
//! - **Pictures**: newest wins. One waits for each subscriber, and a newer one takes its place.
//! - **Control messages**: none is dropped. Whoever falls [`MESSAGES_BEHIND`] behind is cut off, subscribes again, and
//!   starts from the present state.
//! - **Late joiners** get the last `welcome`, `state`, `tabs`, `loading`, an open `dialog`, `bye`, and the last frame at once.
//! - **Input** waits in a bounded queue, and its sender waits when that is full. While the link is lost input is
//!   dropped: a click on a picture of ten seconds ago must not reach the page that stands there now.
//!
//! A page answers every `welcome` with a `hello`, so an attachment that replaces another needs no replay from attach.
//! `shown` may skip sequence numbers that never reached a page: it acknowledges all frames up to its own.

mod hub;
pub mod none;
pub mod web;

use bytes::Bytes;
use cbrowse_protocol::wire::NodeMessage;

pub use hub::{Delivery, Gone, Hub, INPUTS_WAITING, Inputs, Left, MESSAGES_BEHIND, Refused, Subscriber};

/// What attach has to tell the viewers.
#[derive(Debug, Clone)]
pub enum Event {
    /// A control message, passed on as it is.
    Control(NodeMessage),
    /// A whole binary message: a `MediaHeader` and its picture.
    Media(Bytes),
    /// The link is down and being mended; the last picture stays.
    Lost {
        /// In words for a person.
        reason: String,
    },
    /// The link is back. A `welcome` says the same.
    Back,
    /// Nothing more comes: the session is over, or this process ends.
    Ended {
        /// In words for a person.
        reason: String,
    },
}
