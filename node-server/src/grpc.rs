//! grpc.health.v1 by hand: two messages of one field each, which is no reason for a code generator.
//!
//! ```text
//! POST /grpc.health.v1.Health/Check or /Watch, over HTTP/2 with `content-type: application/grpc`
//! frame                 compressed u8 = 0, length u32 big-endian, message
//! HealthCheckRequest    field 1, string: service; empty: the whole server
//! HealthCheckResponse   field 1, enum: status
//! trailers              grpc-status, 0 when all went well
//! ```
//! The format is gRPC's and Protobuf's, and frozen there.

use bytes::{BufMut as _, Bytes, BytesMut};

/// One answer.
pub const CHECK: &str = "/grpc.health.v1.Health/Check";
/// An answer now and whenever it changes.
pub const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// What both bodies are.
pub const CONTENT_TYPE: &str = "application/grpc";
/// Longest frame in bytes that is read: a service's name is a word.
pub const MAX_FRAME_LENGTH: usize = 1024;
/// A frame's head in bytes.
const HEAD: usize = 5;

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// It says nothing of itself.
    Unknown = 0,
    /// Serves.
    Serving = 1,
    /// Does not.
    NotServing = 2,
    /// Nobody knows such a service; only in a watch.
    ServiceUnknown = 3,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Compression is agreed on in headers that are never sent here.
    #[error("the message is compressed")]
    Compressed,
    /// More or less than one whole message.
    #[error("the body is not one gRPC message")]
    Frame,
    /// Not Protobuf.
    #[error("the message is not Protobuf")]
    Protobuf,
}

/// A message in its frame.
fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEAD + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a message of a few bytes"));
    framed.put_slice(message);
    framed.freeze()
}

/// The only message of a body.
fn unframe(body: &[u8]) -> Result<&[u8], MessageError> {
    let (head, message) = body.split_first_chunk::<HEAD>().ok_or(MessageError::Frame)?;
    let [compressed, length @ ..] = *head;
    if compressed != 0 {
        return Err(MessageError::Compressed);
    }
    let whole = usize::try_from(u32::from_be_bytes(length)) == Ok(message.len());
    if whole { Ok(message) } else { Err(MessageError::Frame) }
}

/// A request after `service`, as a body.
pub fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if let (Ok(length @ 1..=0x7f), name) = (u8::try_from(service.len()), service) {
        message.extend([0x0a, length]);
        message.extend(name.as_bytes());
    }
    frame(&message)
}

/// The service that a body asks after.
pub fn service(body: &[u8]) -> Result<String, MessageError> {
    let mut service = &[][..];
    for field in Fields(unframe(body)?) {
        if let (1, Value::Bytes(bytes)) = field? {
            service = bytes;
        }
    }
    std::str::from_utf8(service).map(str::to_owned).map_err(|_| MessageError::Protobuf)
}

/// An answer, as a body or a part of one.
pub fn response(serving: Serving) -> Bytes {
    match serving {
        // A field with its default is left out.
        Serving::Unknown => frame(&[]),
        known => frame(&[0x08, known as u8]),
    }
}

/// What a body answers.
pub fn serving(body: &[u8]) -> Result<Serving, MessageError> {
    let mut serving = 0;
    for field in Fields(unframe(body)?) {
        if let (1, Value::Number(number)) = field? {
            serving = number;
        }
    }
    Ok(match serving {
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::ServiceUnknown,
        _ => Serving::Unknown,
    })
}

/// The fields of a message, unknown ones too; ends after an error.
struct Fields<'a>(&'a [u8]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(MessageError::Protobuf);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    /// Seven bits a byte, least significant first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_bytes() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(&response(Serving::Serving)[..], [0, 0, 0, 0, 2, 0x08, 1]);
        assert_eq!(&response(Serving::Unknown)[..], [0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_written_is_read() {
        for name in ["", "browser-node", "größe"] {
            assert_eq!(service(&request(name)).as_deref(), Ok(name));
        }
        for state in [Serving::Unknown, Serving::Serving, Serving::NotServing, Serving::ServiceUnknown] {
            assert_eq!(serving(&response(state)), Ok(state));
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_and_the_last_of_a_kind_counts() {
        let message =
            [0x0a, 1, b'x', 0x10, 0xff, 0x01, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4, 0x0a, 1, b'y'];
        assert_eq!(service(&frame(&message)).as_deref(), Ok("y"));
        assert_eq!(serving(&frame(&[0x08, 0x96, 0x01])), Ok(Serving::Unknown), "a status of a later version");
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        assert_eq!(service(&[1, 0, 0, 0, 0]), Err(MessageError::Compressed));
        for body in
            [&[][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 1], &[0, 0xff, 0xff, 0xff, 0xff, 1], &[0, 0, 0, 0, 0, 9]]
        {
            assert_eq!(service(body), Err(MessageError::Frame), "{body:?}");
        }
        for message in [&[0x0a][..], &[0x0a, 5, b'x'], &[0x0b], &[0x0a, 1, 0xff], &[0xff; 11], &[0x09, 1]] {
            assert_eq!(service(&frame(message)), Err(MessageError::Protobuf), "{message:?}");
        }
        let whole = request("browser-node");
        for at in 0..whole.len() {
            for flip in 0..8 {
                let mut flipped = whole.to_vec();
                flipped[at] ^= 1 << flip;
                let _ = (service(&flipped), serving(&flipped), service(&whole[..at]));
            }
        }
    }
}
