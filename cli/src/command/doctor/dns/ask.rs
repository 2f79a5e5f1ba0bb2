//! One question to one resolver, over UDP or over TCP (RFC 1035, RFC 7766).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use hickory_resolver::proto::op::{Message, MessageType, Query};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// A resolver that asks others itself needs longer than one on this network; with more, `doctor` makes a person wait.
const DEADLINE: Duration = Duration::from_millis(1500);
/// Over UDP a question is asked again after this, since either packet may be lost.
const AGAIN: Duration = Duration::from_millis(500);
/// Longest answer over UDP to a question that announces no more (RFC 1035 section 4.2.1).
const MOST_UDP: usize = 512;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    /// How long it took.
    pub(super) took: Duration,
    /// The server says that there is more than fits.
    pub(super) is_cut: bool,
    /// Records in the answer itself.
    pub(super) records: usize,
}

/// Asks over UDP, again where nothing comes back.
pub(super) async fn over_udp(server: SocketAddr, query: &Query) -> io::Result<Heard> {
    let asked = async {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await?;
        let (question, id) = question(query)?;
        let started = Instant::now();
        let mut buffer = [0; MOST_UDP];
        loop {
            socket.send(&question).await?;
            // A connected socket also hears that nobody listens there.
            if let Ok(received) = timeout(AGAIN, receive(&socket, &mut buffer, id)).await {
                return Ok(heard(&received?, started));
            }
        }
    };
    within(asked).await
}

async fn receive(socket: &UdpSocket, buffer: &mut [u8], id: u16) -> io::Result<Message> {
    loop {
        let length = socket.recv(buffer).await?;
        // Whatever is no answer to this question is passed over, as a resolver must.
        if let Ok(message) = Message::from_vec(&buffer[..length])
            && is_answer(&message, id)
        {
            return Ok(message);
        }
    }
}

/// Asks over TCP.
pub(super) async fn over_tcp(server: SocketAddr, query: &Query) -> io::Result<Heard> {
    let asked = async {
        let (question, id) = question(query)?;
        let started = Instant::now();
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(question.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), &question[..]].concat()).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        let message = Message::from_vec(&answer).map_err(senseless)?;
        if !is_answer(&message, id) {
            return Err(senseless("it answers another question"));
        }
        Ok(heard(&message, started))
    };
    within(asked).await
}

async fn within(asked: impl Future<Output = io::Result<Heard>>) -> io::Result<Heard> {
    let late = || {
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {:.1} s", DEADLINE.as_secs_f64()))
    };
    let heard = timeout(DEADLINE, asked).await.unwrap_or_else(|_| Err(late()));
    heard.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            io::Error::new(error.kind(), "connection refused, no DNS server listens there")
        }
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "it closed the connection without an answer")
        }
        _ => error,
    })
}

fn question(query: &Query) -> io::Result<(Vec<u8>, u16)> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    Ok((message.to_vec().map_err(io::Error::other)?, message.metadata.id))
}

fn is_answer(message: &Message, id: u16) -> bool {
    message.metadata.message_type == MessageType::Response && message.metadata.id == id
}

fn heard(message: &Message, started: Instant) -> Heard {
    Heard { took: started.elapsed(), is_cut: message.metadata.truncation, records: message.answers.len() }
}

fn senseless(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer makes no sense ({why})"))
}
