//! Round trips by ICMP echo: one socket per address family, unprivileged where the kernel allows it, raw otherwise.
//!
//! Each socket has one task that reads it ([`socket`]), matches what comes with what was asked ([`book`]) and tells the
//! race that asked. Time is taken by the kernel, when a packet comes in: a busy process does not make nodes look far.

mod book;
mod packet;
mod socket;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use self::{
    book::{Book, Entry},
    socket::{Received, Socket},
};
use super::{
    drive::Arrival,
    race::{Answer, Probe},
};

/// The sockets for echo requests.
#[derive(Debug)]
pub struct Echo {
    v4: Option<Family>,
    v6: Option<Family>,
    /// Ends the readers when it is dropped.
    _readers: JoinSet<()>,
}

/// One address family.
#[derive(Debug, Clone)]
struct Family {
    socket: Arc<Socket>,
    book: Arc<Mutex<Book>>,
    reader: AbortHandle,
}

impl Echo {
    /// Opens what this process is allowed to open; `None` where neither family can be asked.
    /// Needs a tokio runtime, since each socket has a task that reads it, ended when this is dropped.
    pub fn open() -> Option<Self> {
        let mut readers = JoinSet::new();
        let (v4, v6) = (Family::open(false, &mut readers), Family::open(true, &mut readers));
        (v4.is_some() || v6.is_some()).then_some(Self { v4, v6, _readers: readers })
    }

    /// Bytes that may wait to be read: what the kernel granted of what was asked for, the least of both families.
    pub fn receive_buffer(&self) -> Option<usize> {
        [&self.v4, &self.v6].into_iter().flatten().map(|family| family.socket.receive_buffer()).min()
    }

    /// Whoever sends with this, for one race. What comes back is told to `teller`.
    pub fn sender(&self, teller: mpsc::Sender<Arrival>) -> Sender {
        Sender { v4: self.v4.clone(), v6: self.v6.clone(), teller }
    }
}

/// Sends echo requests of one race.
#[derive(Debug)]
pub struct Sender {
    v4: Option<Family>,
    v6: Option<Family>,
    teller: mpsc::Sender<Arrival>,
}

impl Sender {
    /// Sends one request. That it cannot be sent is told, too.
    pub fn send(&self, to: IpAddr, probe: Probe) {
        let family = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let sent = family.as_ref().map(|family| family.send(to, probe.number, &self.teller));
        let answer = match sent {
            Some(Ok(())) => return,
            Some(Err(error)) if is_no_route(&error) => Answer::NoRoute,
            Some(Err(_)) | None => Answer::NotSent,
        };
        // A full channel belongs to a race that has more to read than it asked for; it will count this as silence.
        let _ = self.teller.try_send(Arrival { number: probe.number, from: Some(to), answer });
    }
}

impl Family {
    fn open(is_v6: bool, readers: &mut JoinSet<()>) -> Option<Self> {
        let socket = Arc::new(Socket::open(is_v6).ok()?);
        let book: Arc<Mutex<Book>> = Arc::default();
        let reader = readers.spawn(read(Arc::clone(&socket), Arc::clone(&book)));
        Some(Self { socket, book, reader })
    }

    fn send(&self, to: IpAddr, number: u32, teller: &mpsc::Sender<Arrival>) -> io::Result<()> {
        if self.reader.is_finished() {
            return Err(io::Error::other("nobody reads the socket any more"));
        }
        let (teller, at) = (teller.clone(), SystemTime::now());
        let entry = Entry { to, number, sent: Instant::now(), at, told: 0, teller };
        // Written down before it is sent: on loopback the answer is there before the call returns.
        let sequence = self.book.lock().unwrap_or_else(PoisonError::into_inner).enter(entry);
        let sent = self.socket.send(to, sequence);
        if sent.is_err() {
            self.book.lock().unwrap_or_else(PoisonError::into_inner).strike(sequence);
        }
        sent
    }
}

/// Reads for as long as the socket can be read.
async fn read(socket: Arc<Socket>, book: Arc<Mutex<Book>>) {
    while let Ok(received) = socket.receive().await {
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        for Received { sequence, from, at, is_reply } in received {
            book.hear(sequence, from, at, is_reply, Instant::now());
        }
    }
}

fn is_no_route(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Ipv6Addr},
        time::Duration,
    };

    use super::*;
    use crate::probe::track::Method;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn probe(number: u32) -> Probe {
        Probe { number, way: 0, method: Method::Icmp }
    }

    async fn next(heard: &mut mpsc::Receiver<Arrival>) -> Arrival {
        tokio::time::timeout(PATIENCE, heard.recv()).await.expect("in time").expect("a sender")
    }

    #[tokio::test]
    async fn loopback_answers_each_request_once_where_icmp_is_permitted() {
        let Some(echo) = Echo::open() else {
            // Without ICMP there is nothing to measure; `Echo::open` saying so is the behaviour under test.
            return;
        };
        assert!(echo.receive_buffer().is_some_and(|bytes| bytes > 0));
        let (teller, mut heard) = mpsc::channel(512);
        let sender = echo.sender(teller);
        let families = [
            echo.v4.is_some().then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            echo.v6.is_some().then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        for address in families.into_iter().flatten() {
            (0..100).for_each(|number| sender.send(address, probe(number)));
            let mut numbers = Vec::new();
            for _ in 0..100 {
                let Arrival { number, from, answer } = next(&mut heard).await;
                // A machine may have no IPv6 at all.
                let Answer::Reply(rtt) = answer else {
                    assert!(address.is_ipv6(), "{answer:?}");
                    return;
                };
                assert!(from == Some(address) && rtt > Duration::ZERO && rtt < PATIENCE, "{from:?} {rtt:?}");
                numbers.push(number);
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn two_races_on_one_socket_hear_their_own_answers() {
        let Some(echo) = Echo::open().filter(|echo| echo.v4.is_some()) else { return };
        let (one, mut first) = mpsc::channel(8);
        let (two, mut second) = mpsc::channel(8);
        echo.sender(one).send(Ipv4Addr::LOCALHOST.into(), probe(7));
        echo.sender(two).send(Ipv4Addr::LOCALHOST.into(), probe(9));
        assert_eq!(next(&mut first).await.number, 7);
        assert_eq!(next(&mut second).await.number, 9);
    }
}
