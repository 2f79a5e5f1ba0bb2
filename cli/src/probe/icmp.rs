//! Round trips by ICMP echo: one socket per address family, unprivileged where the kernel allows it, raw otherwise.

use std::{io, net::IpAddr, time::Duration};

use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};

use super::race::Answer;

/// Bytes after the ICMP header; an empty echo is dropped by some firewalls, and 56 are what `ping` sends.
const PAYLOAD: [u8; 56] = [0; 56];

/// The sockets for echo requests.
#[derive(Clone)]
pub struct Echo {
    v4: Option<Client>,
    v6: Option<Client>,
    identifier: PingIdentifier,
}

impl Echo {
    /// Opens what this process is allowed to open; `None` where neither family can be asked.
    /// Needs a tokio runtime, since each socket has a task that reads it, ended when the last clone is dropped.
    pub fn open() -> Option<Self> {
        let open = |kind| Client::new(&Config::builder().kind(kind).build()).ok();
        let (v4, v6) = (open(ICMP::V4), open(ICMP::V6));
        // Raw sockets of one machine see each other's replies: the process number keeps two probers apart.
        let identifier = PingIdentifier(low_bits(std::process::id()));
        (v4.is_some() || v6.is_some()).then_some(Self { v4, v6, identifier })
    }

    /// Sends one request and waits for its reply, `within` at most. `sequence` must differ in its
    /// lower 16 bits between all requests to one address that are under way. `None` when nothing came back in that time.
    pub async fn ask(&self, address: IpAddr, sequence: u32, within: Duration) -> Option<Answer> {
        let client = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let Some(client) = client else { return Some(Answer::NotSent) };
        let mut pinger = client.pinger(address, self.identifier).await;
        pinger.timeout(within);
        match pinger.ping(PingSequence(low_bits(sequence)), &PAYLOAD).await {
            Ok((packet, rtt)) if is_reply(&packet) => Some(Answer::Reply(rtt)),
            // A router on the way says that it cannot pass the request on.
            Ok(_) => Some(Answer::NoRoute),
            Err(SurgeError::IOError(error)) if is_no_route(&error) => Some(Answer::NoRoute),
            Err(SurgeError::Timeout { .. } | SurgeError::NetworkError) => None,
            Err(_) => Some(Answer::NotSent),
        }
    }
}

fn low_bits(number: u32) -> u16 {
    u16::try_from(number & 0xffff).expect("16 bits fit")
}

impl std::fmt::Debug for Echo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Echo(v4: {}, v6: {})", self.v4.is_some(), self.v6.is_some())
    }
}

/// Errors about a request come back as packets, too. RFC 792: echo reply is type 0; RFC 4443: 129.
fn is_reply(packet: &IcmpPacket) -> bool {
    match packet {
        IcmpPacket::V4(packet) => packet.get_icmp_type().0 == 0,
        IcmpPacket::V6(packet) => packet.get_icmpv6_type().0 == 129,
    }
}

fn is_no_route(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn loopback_answers_where_icmp_is_permitted() {
        let Some(echo) = Echo::open().filter(|echo| echo.v4.is_some()) else {
            // Without ICMP there is nothing to measure; `Echo::open` saying so is the behaviour under test.
            return;
        };
        let within = Duration::from_secs(5);
        let (first, second) = tokio::join!(echo.ask(LOOPBACK, 1, within), echo.ask(LOOPBACK, 2, within));
        for answer in [first, second] {
            let Some(Answer::Reply(rtt)) = answer else { panic!("{answer:?}") };
            assert!(rtt < within);
        }
    }
}
