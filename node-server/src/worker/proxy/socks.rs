//! SOCKS5 as Chromium speaks it (RFC 1928): no authentication, CONNECT only.
//!
//! ```text
//! client   5, n, n methods                  server   5, 0 (no authentication) | 5, 255
//! client   5, 1 (CONNECT), 0, address, port u16 big-endian
//!          address: 1, 4 bytes | 3, length u8, name | 4, 16 bytes
//! server   5, reply, 0, 1, 0.0.0.0, 0 (the bound address means nothing to Chromium)
//! ```

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const ADDRESS_V4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_V6: u8 = 4;

/// Where the client wants to go; the host is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
}

/// A reply code (RFC 1928 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reply {
    Succeeded = 0,
    GeneralFailure = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    CommandNotSupported = 7,
    AddressTypeNotSupported = 8,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocksError {
    #[error("the client speaks version {0}, not SOCKS5")]
    Version(u8),
    #[error("the client offers no connection without authentication")]
    Method,
    #[error("the request is refused: {0:?}")]
    Request(Reply),
    #[error("the connection failed")]
    Socket(#[from] io::Error),
}

/// Reads a client's greeting and request. What is not understood is answered in the protocol before the error is
/// returned; a [`Target`] is still to be answered, with [`reply`].
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Target, SocksError> {
    greet(stream).await?;
    match request(stream).await {
        Err(SocksError::Request(refusal)) => {
            reply(stream, refusal).await?;
            Err(SocksError::Request(refusal))
        }
        other => other,
    }
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), SocksError> {
    version(stream).await?;
    let mut methods = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut methods).await?;
    if methods.contains(&NO_AUTHENTICATION) {
        return Ok(stream.write_all(&[VERSION, NO_AUTHENTICATION]).await?);
    }
    stream.write_all(&[VERSION, NO_ACCEPTABLE_METHOD]).await?;
    Err(SocksError::Method)
}

async fn version<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), SocksError> {
    match stream.read_u8().await? {
        VERSION => Ok(()),
        other => Err(SocksError::Version(other)),
    }
}

async fn request<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Target, SocksError> {
    version(stream).await?;
    let command = stream.read_u8().await?;
    let _reserved = stream.read_u8().await?;
    let host = host(stream).await?;
    let port = stream.read_u16().await?;
    if command != CONNECT {
        return Err(SocksError::Request(Reply::CommandNotSupported));
    }
    Ok(Target { host: host?, port })
}

/// The outer result is the connection's; the inner one is an answer that has to wait until the request is read.
async fn host<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Result<String, SocksError>, SocksError> {
    Ok(match stream.read_u8().await? {
        ADDRESS_V4 => Ok(Ipv4Addr::from(stream.read_u32().await?).to_string()),
        ADDRESS_V6 => Ok(Ipv6Addr::from(stream.read_u128().await?).to_string()),
        ADDRESS_NAME => {
            let mut name = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(|_| SocksError::Request(Reply::NotAllowed))
        }
        _ => return Err(SocksError::Request(Reply::AddressTypeNotSupported)),
    })
}

/// Answers a request.
pub(super) async fn reply<S: AsyncWrite + Unpin>(stream: &mut S, reply: Reply) -> io::Result<()> {
    stream.write_all(&[VERSION, reply as u8, 0, ADDRESS_V4, 0, 0, 0, 0, 0, 0]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the handshake on these bytes; also what was answered.
    async fn handshake(bytes: &[u8]) -> (Result<Target, SocksError>, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        ours.write_all(bytes).await.unwrap();
        ours.shutdown().await.unwrap();
        let result = accept(&mut theirs).await;
        drop(theirs);
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).await.unwrap();
        (result, answer)
    }

    const NAME: &[u8] = b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x01\xbb";

    #[tokio::test]
    async fn every_kind_of_address_is_read() {
        for (bytes, host, port) in [
            (NAME, "example.com", 443),
            (b"\x05\x02\x02\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", "127.0.0.1", 80),
            (b"\x05\x01\x00\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1f\x90", "::1", 8080),
        ] {
            let (target, answer) = handshake(bytes).await;
            assert_eq!(target.unwrap(), Target { host: host.into(), port });
            assert_eq!(answer, [5, 0]);
        }
    }

    #[tokio::test]
    async fn what_is_not_spoken_is_answered() {
        for (bytes, answer) in [
            (&b"\x04\x01\x00\x50"[..], &b""[..]),
            (b"\x05\x01\x02", b"\x05\xff"),
            (b"\x05\x00", b"\x05\xff"),
            (
                b"\x05\x01\x00\x05\x02\x00\x01\x01\x02\x03\x04\x00\x50",
                b"\x05\x00\x05\x07\x00\x01\0\0\0\0\0\0",
            ),
            (
                b"\x05\x01\x00\x05\x03\x00\x01\x01\x02\x03\x04\x00\x50",
                b"\x05\x00\x05\x07\x00\x01\0\0\0\0\0\0",
            ),
            (
                b"\x05\x01\x00\x05\x01\x00\x02\x01\x02\x03\x04\x00\x50",
                b"\x05\x00\x05\x08\x00\x01\0\0\0\0\0\0",
            ),
            (b"\x05\x01\x00\x05\x01\x00\x03\x01\xff\x00\x50", b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0"),
        ] {
            let (target, answered) = handshake(bytes).await;
            assert!(target.is_err(), "{bytes:?}");
            assert_eq!(answered, answer, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn flipped_and_cut_handshakes_end() {
        for length in 0..NAME.len() {
            assert!(handshake(&NAME[..length]).await.0.is_err(), "{length}");
        }
        for bit in 0..NAME.len() * 8 {
            let mut flipped = NAME.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let (Ok(target), _) = handshake(&flipped).await {
                assert!(target.host.len() <= 255);
            }
        }
    }
}
