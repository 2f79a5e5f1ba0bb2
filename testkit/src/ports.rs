//! Ports of loopback that nothing uses just now, for servers that cannot be told to choose their own.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
};

/// How often a launcher tries other ports when somebody took one meanwhile. Fewer: tests side by side fail for nothing;
/// more: a server that cannot start for another reason fails later.
pub(crate) const PORT_ATTEMPTS: usize = 5;

/// `COUNT` different ports, free for TCP and UDP on 127.0.0.1. Somebody else may take one before the server does;
/// whoever launches a server notices that it ended and asks again.
pub fn free_ports<const COUNT: usize>() -> io::Result<[u16; COUNT]> {
    // All are held until all are found, so that none is handed out twice.
    let mut held = Vec::with_capacity(COUNT);
    while held.len() < COUNT {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener, socket));
        }
    }
    Ok(std::array::from_fn(|index| held[index].0))
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
