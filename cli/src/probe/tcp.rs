//! Round trips by TCP: the time until a connection to the node's own port stands, by the kernel's own measure, which
//! does not wait for a busy process to notice.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use nix::{
    getsockopt_impl, libc,
    sys::socket::{getsockopt, sockopt::GetStruct},
};
use tokio::net::TcpStream;

use super::race::Answer;

/// Connects once and closes at once; `within` bounds the wait. `None` when nothing came back in that time.
pub async fn connect(address: SocketAddr, within: Duration) -> Option<Answer> {
    let start = Instant::now();
    let connected = tokio::time::timeout(within, TcpStream::connect(address)).await.ok()?;
    // Taken before the connection is closed, which costs a system call.
    let rtt = start.elapsed();
    match connected {
        Ok(stream) => Some(Answer::Reply(handshake(&stream).filter(|own| *own <= rtt).unwrap_or(rtt))),
        Err(error) => classify(&error),
    }
}

/// What the kernel knows of a connection (tcp(7), `TCP_INFO`), as far as it is read: its first 72 bytes.
#[derive(Debug, Clone, Copy)]
struct Info;

/// The words of `struct tcp_info` (linux/tcp.h) up to `tcpi_rtt`; the layout is the kernel's promise.
type Words = [u32; 18];

getsockopt_impl!(Info, libc::IPPROTO_TCP, libc::TCP_INFO, Words, GetStruct<Words>);

/// How long the handshake took, in the kernel's own time; `None` where it did not measure it.
fn handshake(stream: &TcpStream) -> Option<Duration> {
    let micros = *getsockopt(stream, Info).ok()?.last()?;
    (micros > 0).then(|| Duration::from_micros(micros.into()))
}

/// What a failed connection says about the node. `None`: nothing, such as the kernel's own timeout.
fn classify(error: &io::Error) -> Option<Answer> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Answer::Refused),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some(Answer::NoRoute),
        io::ErrorKind::TimedOut => None,
        _ => Some(Answer::NotSent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_listener_answers_and_its_absence_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let Some(Answer::Reply(rtt)) = connect(address, WITHIN).await else { panic!("no reply") };
        assert!(rtt < WITHIN);
        drop(listener);
        assert_eq!(connect(address, WITHIN).await, Some(Answer::Refused));
    }

    #[tokio::test]
    async fn the_kernels_measure_is_that_of_the_handshake_and_not_of_what_comes_after() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let start = Instant::now();
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a connection");
        let until_noticed = start.elapsed();
        let first = handshake(&stream).expect("measured");
        assert!(first <= until_noticed, "{first:?} {until_noticed:?}");
        listener.accept().await.expect("a connection");
        assert_eq!(handshake(&stream), Some(first));
    }

    #[test]
    fn errors_of_the_network_and_of_this_machine_are_told_apart() {
        let classified = |kind: io::ErrorKind| classify(&io::Error::from(kind));
        assert_eq!(classified(io::ErrorKind::HostUnreachable), Some(Answer::NoRoute));
        assert_eq!(classified(io::ErrorKind::NetworkUnreachable), Some(Answer::NoRoute));
        assert_eq!(classified(io::ErrorKind::TimedOut), None);
        assert_eq!(classified(io::ErrorKind::PermissionDenied), Some(Answer::NotSent));
    }
}
