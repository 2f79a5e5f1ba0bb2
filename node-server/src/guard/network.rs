//! The guard's two questions to the outside: which addresses has a name, and is anybody there.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use tokio::{net::TcpStream, sync::Semaphore};

/// Lookups under way at once in the whole node. Each holds a thread for as long as the system's resolver takes, even
/// after the guard's deadline; with fewer, one page full of dead names delays everybody, with many more the runtime's
/// blocking threads (512) run out.
const LOOKUPS_AT_ONCE: usize = 128;

/// What the guard asks of the network. Tests put a lying resolver here.
pub trait Network: Send + Sync + 'static {
    /// All addresses of a name, best first.
    fn resolve(&self, name: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>>;
    /// Connects to exactly this address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
    /// Whether the address is the machine's own.
    fn is_own(&self, address: SocketAddr) -> bool;
}

/// The machine's resolver and sockets.
#[derive(Debug)]
pub struct System {
    lookups: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)) }
    }
}

impl Network for System {
    fn resolve(&self, name: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let addresses = (name.as_str(), 0).to_socket_addrs()?;
                Ok(addresses.map(|address| address.ip()).collect())
            });
            lookup.await.map_err(io::Error::other)?
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }

    /// Asks the routing table, without a packet: only to itself does a machine speak from the address it speaks to.
    /// An interface that came up a moment ago counts, which a list made at the start would miss.
    fn is_own(&self, address: SocketAddr) -> bool {
        let from: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let source = || {
            let socket = UdpSocket::bind((from, 0))?;
            socket.connect(address)?;
            socket.local_addr()
        };
        source().is_ok_and(|source: SocketAddr| source.ip() == address.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_knows_itself() {
        let system = System::default();
        assert!(system.is_own("127.0.0.1:80".parse().unwrap()));
        assert!(!system.is_own("192.0.2.77:80".parse().unwrap()));
        let mut own = nix::ifaddrs::getifaddrs()
            .unwrap()
            .filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
        assert!(own.all(|address| system.is_own((address, 80).into())));
    }
}
