//! Whose process is at the other end of a loopback connection: Linux tells in `/proc/net/tcp`.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

/// Why a peer is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// The table cannot be read, so nobody can be told apart.
    #[error("read /proc/net/tcp to tell whose connection it is")]
    Table(#[from] io::Error),
    /// Closed already, or from elsewhere.
    #[error("no established connection from {0}")]
    Unknown(SocketAddr),
    /// Another user's.
    #[error("the connection belongs to user {found}, this viewer to user {own}")]
    Foreign {
        /// The peer's.
        found: u32,
        /// This process's.
        own: u32,
    },
}

/// Fails unless the connection from `peer` to `own` is held by a process of this user.
#[cfg(target_os = "linux")]
pub(super) async fn check(peer: SocketAddr, own: SocketAddr) -> Result<(), PeerError> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (peer, own) else {
        return Err(PeerError::Unknown(peer));
    };
    let mut found = owner(&tokio::fs::read_to_string("/proc/net/tcp").await?, from, to);
    if found.is_none() {
        // A browser may come through an IPv6 socket with a mapped address. Without IPv6 there is no such table.
        let table = tokio::fs::read_to_string("/proc/net/tcp6").await.unwrap_or_default();
        found = owner(&table, from, to);
    }
    let found = found.ok_or(PeerError::Unknown(peer))?;
    let own = nix::unistd::geteuid().as_raw();
    if found == own { Ok(()) } else { Err(PeerError::Foreign { found, own }) }
}

/// Other systems have no such table; the cookie alone decides there.
#[cfg(not(target_os = "linux"))]
pub(super) async fn check(_peer: SocketAddr, _own: SocketAddr) -> Result<(), PeerError> {
    Ok(())
}

/// State of a connection that a process holds. In others the table may show user 0 for a socket that nobody owns.
const ESTABLISHED: &str = "01";

/// The user of the established socket `from` that is connected to `to`, in a table of `/proc/net/tcp` or `tcp6`
/// (proc_pid_net(5): `sl local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid …`).
fn owner(table: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = address(fields.next()?)?;
        let remote = address(fields.next()?)?;
        let held = fields.next()? == ESTABLISHED;
        let user = fields.nth(3)?;
        (held && local == from && remote == to).then(|| user.parse().ok())?
    })
}

/// `0100007F:1F90` or its IPv6 form, where only mapped IPv4 addresses count. Words are in the machine's byte order.
fn address(text: &str) -> Option<SocketAddrV4> {
    const MAPPED: &str = "0000000000000000";
    let (host, port) = text.split_once(':')?;
    let word = match host.len() {
        8 => host,
        32 => host.strip_prefix(MAPPED)?.strip_prefix(&format!("{:08X}", u32::to_be(0xffff)))?,
        _ => return None,
    };
    let host = Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
    Some(SocketAddrV4::new(host, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(all(test, target_os = "linux", target_endian = "little"))]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    fn row(local: &str, remote: &str, state: &str, user: u32) -> String {
        format!(
            "   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  {user}        0 4711 1 0 20 4 30 10 -1\n"
        )
    }

    #[test]
    fn the_row_of_the_peers_end_counts() {
        let table = [
            HEAD.to_owned(),
            row("0100007F:1F90", "0100007F:C001", "01", 7),
            row("0100007F:C001", "0100007F:1F90", "01", 1000),
        ]
        .concat();
        assert_eq!(owner(&table, at(0xc001), at(8080)), Some(1000));
        assert_eq!(owner(&table, at(8080), at(0xc001)), Some(7));
        assert_eq!(owner(&table, at(0xc002), at(8080)), None);
    }

    #[test]
    fn a_socket_that_nobody_holds_does_not_count() {
        for state in ["04", "06", "08"] {
            let table = format!("{HEAD}{}", row("0100007F:C001", "0100007F:1F90", state, 0));
            assert_eq!(owner(&table, at(0xc001), at(8080)), None, "{state}");
        }
    }

    #[test]
    fn mapped_addresses_are_read_and_garbage_is_not() {
        let mapped = "0000000000000000FFFF00000100007F:C001";
        assert_eq!(address(mapped), Some(at(0xc001)));
        for garbage in ["", ":", "0100007F", "00000000000000000000000001000000:C001", "0100007F:10000", "é:1"]
        {
            assert_eq!(address(garbage), None, "{garbage}");
        }
        assert_eq!(owner("a\nb c d\n\n", at(1), at(2)), None);
    }

    #[tokio::test]
    async fn a_real_connection_of_this_user_passes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(own), listener.accept());
        let (client, (_stream, peer)) = (client.unwrap(), accepted.unwrap());
        check(peer, own).await.unwrap();
        drop(client);
        assert!(matches!(check(peer, own).await, Err(PeerError::Unknown(_))));
    }
}
