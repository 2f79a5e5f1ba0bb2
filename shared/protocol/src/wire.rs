//! The attach protocol `cbrowse.v1`: what travels on the WebSocket between a client and a node.
//!
//! ```text
//! client                                         node
//!   | GET /ws/new or /ws/{session}, subprotocol cbrowse.v1
//!   | <-------------------------------- welcome | JSON text
//!   | hello (viewport) -----------------------> | JSON text
//!   | <------------------------ frame, frame, … | binary: MediaHeader, then a JPEG
//!   | shown (sequence), mouse, key, wheel, … -> | JSON text
//!   | <----------- state, page, dialog, saved … | JSON text
//!   | end (save?) ----------------------------> |
//!   | <------------------------------------ bye | then the socket closes
//! ```
//! Text messages are one JSON object with a `type`; a type that the receiver does not know is ignored.
//! A binary message is a [`MediaHeader`] and its payload.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, SessionId};

/// The subprotocol's name in `Sec-WebSocket-Protocol`. A node that offers none of the client's versions refuses by name.
pub const SUBPROTOCOL: &str = "cbrowse.v1";
/// Version byte of [`MediaHeader`].
pub const MEDIA_VERSION: u8 = 1;
/// Longest control message in bytes, either way. A pasted text of this size is split by the sender.
pub const MAX_CONTROL_LENGTH: usize = 256 * 1024;
/// Longest media message in bytes: an 8K still as PNG stays below it.
pub const MAX_MEDIA_LENGTH: usize = 64 * 1024 * 1024;
/// Viewport limits in CSS pixels; Chromium's surfaces fail above.
pub const MAX_VIEWPORT: u32 = 8192;
/// Device pixels of a viewport, at most; a 5K screen stays below. Chromium takes some 90 bytes for each: at 8K, 2.9 GB for one
/// session (tried). The largest viewport at the smallest scale is just this.
pub const MAX_VIEWPORT_PIXELS: f64 = 4096.0 * 4096.0;
/// Smallest viewport side in CSS pixels.
pub const MIN_VIEWPORT: u32 = 16;
/// Frames sent and not yet shown, at most, on a road whose length is not known. Chromium keeps up to three
/// unacknowledged frames itself.
pub const MAX_FRAMES_IN_FLIGHT: u32 = 2;
/// The same on a road that is known to be long: 200 ms at 60 frames a second. More would be a queue.
pub const MAX_FRAMES_ON_A_LONG_ROAD: u32 = 12;
/// The header that carries a [`crate::api::SessionRequest`] (base64url JSON) on `GET /ws/new`.
pub const CREATE_HEADER: &str = "cbrowse-create";

/// Size of the page area, in CSS pixels, and device pixels per CSS pixel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Viewport {
    /// CSS pixels across.
    pub width: u32,
    /// CSS pixels down.
    pub height: u32,
    /// Device pixels per CSS pixel, 0.5 to 4.
    #[serde(default = "unscaled")]
    pub scale: f64,
}

fn unscaled() -> f64 {
    1.0
}

impl Default for Viewport {
    fn default() -> Self {
        Self { width: 1280, height: 720, scale: 1.0 }
    }
}

impl Viewport {
    /// The nearest viewport that Chromium can draw: what has too many device pixels gets coarser.
    #[must_use]
    pub fn clamped(self) -> Self {
        let width = self.width.clamp(MIN_VIEWPORT, MAX_VIEWPORT);
        let height = self.height.clamp(MIN_VIEWPORT, MAX_VIEWPORT);
        let finest = (MAX_VIEWPORT_PIXELS / (f64::from(width) * f64::from(height))).sqrt();
        let scale = if self.scale.is_finite() { self.scale.clamp(0.5, 4.0) } else { 1.0 };
        Self { width, height, scale: scale.min(finest) }
    }
}

/// What a pointer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Press {
    /// A button or key went down.
    Down,
    /// It came up.
    Up,
    /// The pointer moved.
    Move,
}

/// A mouse button, by the names the DevTools protocol uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Button {
    /// No button: a plain move.
    #[default]
    None,
    /// Primary.
    Left,
    /// Wheel button.
    Middle,
    /// Secondary.
    Right,
    /// Browser back.
    Back,
    /// Browser forward.
    Forward,
}

/// Modifier keys held, as bits: Alt 1, Ctrl 2, Meta 4, Shift 8 (the DevTools protocol's own values).
pub type Modifiers = u8;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// First message: start sending pictures of this size. Without it no frame flows, but to a client whose attachment
    /// began the session: its request has named the size.
    Hello {
        /// The viewer's page area.
        viewport: Viewport,
    },
    /// The pointer.
    Mouse {
        /// What happened.
        kind: Press,
        /// CSS pixels from the left.
        x: f64,
        /// CSS pixels from the top.
        y: f64,
        /// The button that changed.
        #[serde(default)]
        button: Button,
        /// All buttons held, as in `MouseEvent.buttons`.
        #[serde(default)]
        buttons: u8,
        /// 1 for a click, 2 for a double click, ….
        #[serde(default)]
        clicks: u8,
        /// Modifier bits.
        #[serde(default)]
        modifiers: Modifiers,
    },
    /// The wheel, in CSS pixels.
    Wheel {
        /// Pointer, from the left.
        x: f64,
        /// Pointer, from the top.
        y: f64,
        /// To the right.
        dx: f64,
        /// Down.
        dy: f64,
        /// Modifier bits.
        #[serde(default)]
        modifiers: Modifiers,
    },
    /// A key, with the values of DOM `KeyboardEvent`.
    Key {
        /// Down or up.
        kind: Press,
        /// `KeyboardEvent.key`, such as `a`, `Enter`, `ArrowLeft`.
        key: String,
        /// `KeyboardEvent.code`, such as `KeyA`.
        code: String,
        /// Modifier bits.
        #[serde(default)]
        modifiers: Modifiers,
        /// Held down and repeating.
        #[serde(default)]
        repeat: bool,
    },
    /// Composed or pasted text, inserted as it is.
    Text {
        /// The text.
        text: String,
    },
    /// The viewer's page area changed.
    Resize {
        /// The new one.
        viewport: Viewport,
    },
    /// The frame with this sequence number is decoded and ready to be shown.
    Shown {
        /// From its header.
        sequence: u32,
    },
    /// Load an address in the active tab. Only http, https, and about:blank pass.
    Navigate {
        /// The address.
        url: String,
    },
    /// One step in the active tab's history, or a reload.
    History {
        /// Where to.
        step: HistoryStep,
    },
    /// Tabs.
    Tab {
        /// What to do.
        action: TabAction,
        /// Which one; ignored for `open`.
        #[serde(default)]
        id: String,
        /// For `open`: its address.
        #[serde(default)]
        url: String,
    },
    /// The answer to a `dialog`.
    DialogAnswer {
        /// OK or Cancel.
        accept: bool,
        /// What was typed into a prompt.
        #[serde(default)]
        text: String,
    },
    /// Ask for one sharp picture: a binary message of kind [`MediaKind::Screenshot`] follows.
    Screenshot {
        /// The whole page instead of the visible part.
        #[serde(default)]
        full_page: bool,
    },
    /// End the session. With `save`, its profile is sealed and kept.
    End {
        /// Keep what changed.
        save: bool,
    },
    /// Answered by `pong` at once.
    Ping {
        /// Any number; comes back.
        token: u64,
    },
    /// From a newer client; ignored.
    #[serde(other)]
    Unknown,
}

/// A step in a tab's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryStep {
    /// One page back.
    Back,
    /// One page forward.
    Forward,
    /// Load again.
    Reload,
    /// Stop loading.
    Stop,
}

/// What to do with a tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TabAction {
    /// A new one, which becomes active.
    Open,
    /// Close it.
    Close,
    /// Bring it to the front.
    Activate,
}

/// One tab of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tab {
    /// Opaque.
    pub id: String,
    /// Its address.
    pub url: String,
    /// Its title; a stranger's text.
    pub title: String,
    /// Whether it is the one that is shown.
    pub active: bool,
}

/// What a client may do in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See and steer.
    Control,
    /// See only.
    View,
}

/// What a node says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NodeMessage {
    /// First message.
    Welcome {
        /// The session attached to.
        session: SessionId,
        /// The node.
        node: NodeId,
        /// Its region.
        region: String,
        /// Its Chromium.
        browser_version: String,
        /// What this client may do.
        role: Role,
    },
    /// The session changed state.
    State {
        /// The new state.
        state: crate::api::SessionState,
        /// Why, in words for a person.
        reason: String,
    },
    /// All tabs, after any of them changed.
    Tabs {
        /// In order of opening.
        tabs: Vec<Tab>,
    },
    /// The active tab's loading state.
    Loading {
        /// Whether it is loading.
        loading: bool,
        /// Whether there is a page to go back to.
        can_back: bool,
        /// Whether there is a page to go forward to.
        can_forward: bool,
    },
    /// The page asks; it stands still until `dialog_answer`.
    Dialog {
        /// `alert`, `confirm`, `prompt` or `beforeunload`.
        kind: String,
        /// A stranger's text.
        message: String,
        /// A prompt's preset.
        default: String,
    },
    /// A save left the worker: its proposal can be fetched from the node.
    Saved {
        /// Generation of the proposed head.
        generation: u64,
        /// Packs written.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Something that was asked for failed; the session goes on.
    Failed {
        /// Which message type it answers.
        request: String,
        /// In words for a person.
        message: String,
    },
    /// The session is over; the socket closes.
    Bye {
        /// In words for a person.
        reason: String,
        /// Whether the profile's save is durably owned by the worker.
        saving: bool,
    },
    /// Answer to `ping`.
    Pong {
        /// The ping's number.
        token: u64,
    },
    /// From a newer node; ignored.
    #[serde(other)]
    Unknown,
}

/// What a binary message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MediaKind {
    /// A JPEG of the page area, one of a stream.
    Frame = 1,
    /// A PNG that was asked for.
    Screenshot = 2,
}

/// The 28 bytes before every picture, little-endian:
///
/// ```text
/// 0 version u8 = 1 | 1 kind u8 | 2 flags u16 = 0 | 4 sequence u32 | 8 captured u64, microseconds since the epoch
/// 16 x u16 | 18 y u16 | 20 width u16 | 22 height u16: the region in device pixels
/// 24 css_width u16 | 26 css_height u16: the page area, for turning pointer positions into CSS pixels
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaHeader {
    /// What follows.
    pub kind: MediaKind,
    /// Counts frames of this attachment, from 1, wrapping.
    pub sequence: u32,
    /// When Chromium drew it, microseconds since the Unix epoch by the node's clock.
    pub captured: u64,
    /// Left edge in device pixels.
    pub x: u16,
    /// Top edge in device pixels.
    pub y: u16,
    /// Width in device pixels; 0 where only the payload tells.
    pub width: u16,
    /// Height in device pixels; 0 where only the payload tells.
    pub height: u16,
    /// Page area width in CSS pixels.
    pub css_width: u16,
    /// Page area height in CSS pixels.
    pub css_height: u16,
}

/// Length of an encoded [`MediaHeader`] in bytes.
pub const MEDIA_HEADER_LENGTH: usize = 28;

/// Why a binary message is not media.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Shorter than a header.
    #[error("a media message of {0} bytes has no room for its header")]
    Short(usize),
    /// Of another version.
    #[error("media version {0} is unknown; this side speaks {MEDIA_VERSION}: update the older of the two")]
    Version(u8),
    /// Of an unknown kind.
    #[error("media kind {0} is unknown")]
    Kind(u8),
}

impl MediaHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; MEDIA_HEADER_LENGTH] {
        let mut bytes = [0; MEDIA_HEADER_LENGTH];
        bytes[0] = MEDIA_VERSION;
        bytes[1] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.captured.to_le_bytes());
        let words = [self.x, self.y, self.width, self.height, self.css_width, self.css_height];
        for (index, word) in words.into_iter().enumerate() {
            bytes[16 + index * 2..18 + index * 2].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Splits a binary message into header and payload.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), MediaError> {
        let Some((head, payload)) = message.split_first_chunk::<MEDIA_HEADER_LENGTH>() else {
            return Err(MediaError::Short(message.len()));
        };
        if head[0] != MEDIA_VERSION {
            return Err(MediaError::Version(head[0]));
        }
        let kind = match head[1] {
            1 => MediaKind::Frame,
            2 => MediaKind::Screenshot,
            other => return Err(MediaError::Kind(other)),
        };
        let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let header = Self {
            kind,
            sequence: u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
            captured: u64::from_le_bytes(head[8..16].try_into().expect("eight bytes")),
            x: word(16),
            y: word(18),
            width: word(20),
            height: word(22),
            css_width: word(24),
            css_height: word(26),
        };
        Ok((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: MediaHeader = MediaHeader {
        kind: MediaKind::Frame,
        sequence: 0x0403_0201,
        captured: 0x1122_3344_5566_7788,
        x: 1,
        y: 2,
        width: 1280,
        height: 720,
        css_width: 640,
        css_height: 360,
    };

    #[test]
    fn the_header_has_these_bytes() {
        let bytes = HEADER.encode();
        assert_eq!(
            bytes,
            [
                1, 1, 0, 0, 1, 2, 3, 4, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 1, 0, 2, 0, 0, 5,
                0xd0, 2, 0x80, 2, 0x68, 1
            ]
        );
        let message = [&bytes[..], b"jpeg"].concat();
        assert_eq!(MediaHeader::decode(&message), Ok((HEADER, &b"jpeg"[..])));
    }

    #[test]
    fn cut_or_foreign_media_is_refused() {
        let bytes = HEADER.encode();
        for cut in 0..MEDIA_HEADER_LENGTH {
            assert_eq!(MediaHeader::decode(&bytes[..cut]), Err(MediaError::Short(cut)));
        }
        let mut newer = bytes;
        newer[0] = 2;
        assert_eq!(MediaHeader::decode(&newer), Err(MediaError::Version(2)));
        let mut strange = bytes;
        strange[1] = 9;
        assert_eq!(MediaHeader::decode(&strange), Err(MediaError::Kind(9)));
    }

    #[test]
    fn unknown_control_messages_are_ignored_not_refused() {
        assert_eq!(
            serde_json::from_str::<ClientMessage>(r#"{"type":"dance","x":1}"#).ok(),
            Some(ClientMessage::Unknown)
        );
        assert_eq!(
            serde_json::from_str::<NodeMessage>(r#"{"type":"dance"}"#).ok(),
            Some(NodeMessage::Unknown)
        );
    }

    #[test]
    fn a_mouse_message_reads_as_documented() {
        let message: ClientMessage = serde_json::from_str(
            r#"{"type":"mouse","kind":"down","x":1.5,"y":2,"button":"left","clicks":1}"#,
        )
        .expect("mouse");
        let ClientMessage::Mouse { kind: Press::Down, button: Button::Left, clicks: 1, modifiers: 0, .. } =
            message
        else {
            panic!("{message:?}");
        };
    }

    #[test]
    fn viewports_are_clamped() {
        let huge = Viewport { width: MAX_VIEWPORT, height: MAX_VIEWPORT, scale: 4.0 }.clamped();
        let pixels =
            |view: Viewport| f64::from(view.width) * f64::from(view.height) * view.scale * view.scale;
        assert!(huge.scale >= 0.5 && pixels(huge) <= MAX_VIEWPORT_PIXELS * 1.000_001, "{huge:?}");
        let sharp = Viewport { width: 2560, height: 1440, scale: 2.0 };
        assert_eq!(sharp.clamped(), sharp, "5K");
        assert!(Viewport { scale: 4.0, ..sharp }.clamped().scale < 4.0, "but not 10K");
        let wild = Viewport { width: 0, height: 1 << 20, scale: f64::NAN }.clamped();
        assert_eq!(wild, Viewport { width: MIN_VIEWPORT, height: MAX_VIEWPORT, scale: 1.0 });
    }
}
