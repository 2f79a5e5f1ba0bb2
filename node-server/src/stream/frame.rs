//! A screencast event becomes one media message.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbrowse_protocol::wire::{MediaHeader, MediaKind, Viewport};
use serde_json::Value;

/// One picture, ready to travel, and the number by which Chromium wants it acknowledged.
pub struct Frame {
    /// Header and JPEG.
    pub message: Vec<u8>,
    /// For `Page.screencastFrameAck`.
    pub acknowledge: i64,
}

/// Reads the parameters of `Page.screencastFrame`; `None` if Chromium sent something else.
pub fn from_screencast(params: &Value, sequence: u32, viewport: Viewport) -> Option<Frame> {
    let acknowledge = params["sessionId"].as_i64()?;
    let data = params["data"].as_str()?;
    // Seconds since the epoch with a fraction; a picture without a time is as old as the epoch.
    let seconds = params["metadata"]["timestamp"].as_f64().unwrap_or(0.0);
    let css = |key: &str, fallback: u32| {
        let value = params["metadata"][key].as_f64().unwrap_or(f64::from(fallback));
        clamp_u16(value)
    };
    let header = MediaHeader {
        kind: MediaKind::Frame,
        sequence,
        captured: micros(seconds),
        x: 0,
        y: 0,
        width: 0,
        height: 0,
        css_width: css("deviceWidth", viewport.width),
        css_height: css("deviceHeight", viewport.height),
    };
    let mut message = Vec::with_capacity(data.len() / 4 * 3 + 64);
    message.extend_from_slice(&header.encode());
    STANDARD.decode_vec(data, &mut message).ok()?;
    Some(Frame { message, acknowledge })
}

/// A PNG from `Page.captureScreenshot` as a media message.
pub fn from_screenshot(result: &Value, viewport: Viewport) -> Option<Vec<u8>> {
    let header = MediaHeader {
        kind: MediaKind::Screenshot,
        sequence: 0,
        captured: 0,
        x: 0,
        y: 0,
        width: 0,
        height: 0,
        css_width: clamp_u16(f64::from(viewport.width)),
        css_height: clamp_u16(f64::from(viewport.height)),
    };
    let mut message = header.encode().to_vec();
    STANDARD.decode_vec(result["data"].as_str()?, &mut message).ok()?;
    Some(message)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the target's range")]
fn clamp_u16(value: f64) -> u16 {
    value.clamp(0.0, f64::from(u16::MAX)) as u16
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped; microseconds until the year 2255 fit f64's 53 bits"
)]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).clamp(0.0, 9e15) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screencast_event_becomes_a_media_message() {
        let params = serde_json::json!({
            "data": "aGVsbG8=", "sessionId": 9,
            "metadata": { "timestamp": 1.5, "deviceWidth": 640, "deviceHeight": 360 }
        });
        let frame = from_screencast(&params, 3, Viewport::default()).expect("a frame");
        assert_eq!(frame.acknowledge, 9);
        let (header, payload) = MediaHeader::decode(&frame.message).expect("own header");
        assert_eq!((header.sequence, header.captured, header.css_width), (3, 1_500_000, 640));
        assert_eq!(payload, b"hello");
        assert!(from_screencast(&serde_json::json!({}), 1, Viewport::default()).is_none());
    }
}
