//! Ports of loopback that nothing uses just now, for servers that cannot be told to choose their own.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    ops::Range,
};

/// How often a launcher tries other ports when somebody took one meanwhile. Fewer: tests side by side fail for nothing;
/// more: a server that cannot start for another reason fails later.
pub(crate) const PORT_ATTEMPTS: usize = 5;
/// Below the ports that kernels give to connections and to whoever asks for any: there, a server that was killed would find
/// its port taken when it is started again, or somebody else would answer in its place.
const RANGE: Range<u16> = 10_000..32_000;
/// Ports that are tried before that is an error of the machine.
const MOST_TRIED: usize = 10_000;

/// `COUNT` different ports, free for TCP and UDP on 127.0.0.1, drawn at random: tests side by side know nothing of each other.
/// Somebody else may take one before the server does; whoever launches a server notices that it ended and asks again.
pub fn free_ports<const COUNT: usize>() -> io::Result<[u16; COUNT]> {
    // All are held until all are found, so that none is handed out twice.
    let mut held: Vec<(u16, TcpListener, UdpSocket)> = Vec::with_capacity(COUNT);
    let drawn = RandomState::new();
    for number in 0..MOST_TRIED {
        if held.len() == COUNT {
            return Ok(std::array::from_fn(|index| held[index].0));
        }
        let offset = drawn.hash_one(number) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(offset).map_err(io::Error::other)?;
        let sockets =
            (TcpListener::bind((Ipv4Addr::LOCALHOST, port)), UdpSocket::bind((Ipv4Addr::LOCALHOST, port)));
        if let (Ok(listener), Ok(socket)) = sockets {
            held.push((port, listener, socket));
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no ports are free on 127.0.0.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let mut ports = free_ports::<20>().unwrap();
        for port in ports {
            drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
            drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        }
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "{ports:?}");
    }
}
