//! The question by which a DNS server shows that it serves.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::daemon::Daemon;

/// How often a server is asked whether it serves.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longest wait for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The question for a zone's SOA record (RFC 1035 sections 3.2.2 and 3.2.4).
const TYPE_SOA: u16 = 6;
const CLASS_IN: u16 = 1;

/// Waits until it answers for `zone`; `false` when it has ended because a port was taken.
pub(crate) async fn serves(daemon: &Daemon, address: SocketAddr, zone: &str) -> anyhow::Result<bool> {
    let asked = async || matches!(timeout(ANSWER_DEADLINE, answers(address, zone)).await, Ok(Ok(true)));
    daemon.becomes(POLL_INTERVAL, asked).await
}

/// Whether the zone's SOA record is there, over TCP.
async fn answers(address: SocketAddr, zone: &str) -> std::io::Result<bool> {
    // Number 1, recursion desired, one question.
    let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in zone.split('.') {
        question.push(u8::try_from(label.len()).map_err(std::io::Error::other)?);
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend([TYPE_SOA.to_be_bytes(), CLASS_IN.to_be_bytes()].concat());
    let mut stream = TcpStream::connect(address).await?;
    stream.write_u16(u16::try_from(question.len()).map_err(std::io::Error::other)?).await?;
    stream.write_all(&question).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    // No error, and at least one answer.
    Ok(answer.len() > 7 && answer[3] % 16 == 0 && (answer[6], answer[7]) != (0, 0))
}
