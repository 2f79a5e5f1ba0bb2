//! Round trips by TCP: the time until a connection to the node's own port stands.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
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
        Ok(_) => Some(Answer::Reply(rtt)),
        Err(error) => classify(&error),
    }
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

    #[test]
    fn errors_of_the_network_and_of_this_machine_are_told_apart() {
        let classified = |kind: io::ErrorKind| classify(&io::Error::from(kind));
        assert_eq!(classified(io::ErrorKind::HostUnreachable), Some(Answer::NoRoute));
        assert_eq!(classified(io::ErrorKind::NetworkUnreachable), Some(Answer::NoRoute));
        assert_eq!(classified(io::ErrorKind::TimedOut), None);
        assert_eq!(classified(io::ErrorKind::PermissionDenied), Some(Answer::NotSent));
    }
}
