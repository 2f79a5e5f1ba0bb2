//! The two messages of the channel, as bytes.

use crate::guard::Refusal;

const VERSION: u8 = 1;
const KIND_OPEN: u8 = 1;
const KIND_ANSWER: u8 = 2;
const OPEN_HEAD: usize = 8;
/// Longest host: what one length byte of SOCKS can say.
pub(crate) const MAX_HOST: usize = 255;
/// Longest message in bytes.
pub(crate) const MAX_MESSAGE: usize = OPEN_HEAD + MAX_HOST;

/// A worker's request for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) id: u32,
    pub(crate) port: u16,
    /// Printable ASCII, not yet parsed.
    pub(crate) host: String,
}

/// The server's answer; the descriptor travels beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: u32,
    pub(crate) outcome: Outcome,
}

/// What became of a request, as much as the worker learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Connected; the socket came along.
    Opened = 0,
    /// The node's rules forbid it.
    Forbidden = 1,
    /// The name was not found.
    Unresolved = 2,
    /// Nobody answered in time.
    Deadline = 3,
    /// The destination refused.
    ConnectionRefused = 4,
    /// There is no road to it.
    Unreachable = 5,
    /// Too much is under way.
    Busy = 6,
    /// Something failed on the node.
    Failed = 7,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Opened,
        Self::Forbidden,
        Self::Unresolved,
        Self::Deadline,
        Self::ConnectionRefused,
        Self::Unreachable,
        Self::Busy,
        Self::Failed,
    ];
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::Busy,
            Refusal::Unresolved => Self::Unresolved,
            Refusal::Deadline => Self::Deadline,
            Refusal::ConnectionRefused => Self::ConnectionRefused,
            Refusal::Unreachable => Self::Unreachable,
            Refusal::Failed => Self::Failed,
            _ => Self::Forbidden,
        }
    }
}

/// Whether a host can be sent: the characters are the guard's to judge, but not before they are plain.
pub(crate) fn is_sendable(host: &[u8]) -> bool {
    (1..=MAX_HOST).contains(&host.len()) && host.iter().all(u8::is_ascii_graphic)
}

impl Open {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, KIND_OPEN];
        bytes.extend(self.id.to_le_bytes());
        bytes.extend(self.port.to_le_bytes());
        bytes.extend(self.host.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[VERSION, KIND_OPEN, a, b, c, d, low, high], host) = bytes.split_first_chunk::<OPEN_HEAD>()?
        else {
            return None;
        };
        if !is_sendable(host) {
            return None;
        }
        let host = str::from_utf8(host).ok()?.to_owned();
        Some(Self { id: u32::from_le_bytes([a, b, c, d]), port: u16::from_le_bytes([low, high]), host })
    }
}

impl Answer {
    pub(crate) fn encode(self) -> [u8; 7] {
        let [a, b, c, d] = self.id.to_le_bytes();
        [VERSION, KIND_ANSWER, a, b, c, d, self.outcome as u8]
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let &[VERSION, KIND_ANSWER, a, b, c, d, outcome] = bytes else { return None };
        let outcome = *Outcome::ALL.get(usize::from(outcome))?;
        Some(Self { id: u32::from_le_bytes([a, b, c, d]), outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_exact() {
        let open = Open { id: 0x0102_0304, port: 443, host: "a.example".into() };
        let bytes = b"\x01\x01\x04\x03\x02\x01\xbb\x01a.example";
        assert_eq!(open.encode(), bytes);
        assert_eq!(Open::decode(bytes), Some(open));
        let answer = Answer { id: 5, outcome: Outcome::Busy };
        assert_eq!(answer.encode(), [1, 2, 5, 0, 0, 0, 6]);
        for outcome in Outcome::ALL {
            let answer = Answer { id: u32::MAX, outcome };
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
    }

    #[test]
    fn a_host_has_one_to_255_plain_bytes() {
        let with = |host: &[u8]| Open::decode(&[&[1, 1, 0, 0, 0, 0, 80, 0], host].concat());
        assert!(with(b"a").is_some() && with(&[b'a'; 255]).is_some());
        for host in [&b""[..], &[b'a'; 256], b"a b", b"a\0", b"a\n", b"\xff", "bücher".as_bytes()] {
            assert_eq!(with(host), None, "{host:?}");
        }
    }

    #[test]
    fn flipped_and_cut_messages_are_read_or_refused() {
        let open = Open { id: 7, port: 80, host: "example.com".into() }.encode();
        let answer = Answer { id: 7, outcome: Outcome::Opened }.encode();
        for length in 0..open.len() {
            assert_eq!(Open::decode(&open[..length]).is_some(), length > OPEN_HEAD);
        }
        for length in 0..answer.len() {
            assert_eq!(Answer::decode(&answer[..length]), None);
        }
        for bit in 0..open.len() * 8 {
            let mut flipped = open.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Some(read) = Open::decode(&flipped) {
                assert_eq!(read.encode(), flipped);
            }
        }
        for bit in 0..answer.len() * 8 {
            let mut flipped = answer;
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Some(read) = Answer::decode(&flipped) {
                assert_eq!(read.encode(), flipped);
            }
        }
    }
}
