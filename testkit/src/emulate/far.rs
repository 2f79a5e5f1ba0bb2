//! What stands on the far side: one process that serves at every address.

use std::{net::Ipv4Addr, net::Ipv6Addr, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

use super::{
    stage,
    world::{Family, MUTE_PORT, NODE_PORT},
};
use crate::node::{Node, Options};

/// A connection that says nothing is held this long: longer than anybody waits for its first word.
const SILENCE: Duration = Duration::from_secs(60);
/// Connections that wait for being accepted; the kernel caps it by what it was told to.
const BACKLOG: u32 = 65_535;

/// What answers on [`NODE_PORT`] of every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Far {
    /// A listener that accepts and says nothing: enough for probes.
    Listener,
    /// A real `cbrowse-node`, which answers for all of them.
    Node,
}

/// How the real node is recognized, and who may use it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its public identity.
    pub key: String,
    /// A credential for `CBROWSE_TOKEN`.
    pub token: String,
}

/// Serves in the network of this thread until `end` is dropped; says when it does.
pub(super) fn serve(
    far: Far,
    family: Family,
    ready: oneshot::Sender<anyhow::Result<Option<Identity>>>,
    end: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime.context("start a runtime") {
        Ok(runtime) => runtime,
        Err(error) => return ready.send(Err(error)).unwrap_or_default(),
    };
    runtime.block_on(async {
        let mut serving = JoinSet::new();
        match start(far, family, &mut serving).await {
            Ok(node) => {
                let told = ready.send(node.as_ref().map(identity).transpose());
                // Whoever waits no longer has dropped the other end, too.
                let _ended = end.await;
                drop((told, node));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

fn identity(node: &Node) -> anyhow::Result<Identity> {
    Ok(Identity { key: node.identity().to_owned(), token: node.token("ada")? })
}

async fn start(far: Far, family: Family, serving: &mut JoinSet<()>) -> anyhow::Result<Option<Node>> {
    serving.spawn(accept(listen(family, MUTE_PORT)?));
    if far == Far::Listener {
        serving.spawn(accept(listen(family, NODE_PORT)?));
        return Ok(None);
    }
    let options = Options { launcher: stage::ordinary(), ..Options::default() };
    let options = options.with("--listen", everywhere(family, NODE_PORT));
    Node::start(options).await.map(Some)
}

fn everywhere(family: Family, port: u16) -> SocketAddr {
    match family {
        Family::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
        Family::V6 => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

fn listen(family: Family, port: u16) -> anyhow::Result<TcpListener> {
    let socket = if family == Family::V4 { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.context("open a socket")?;
    socket.bind(everywhere(family, port)).context("bind at every address")?;
    socket.listen(BACKLOG).context("listen at every address")
}

async fn accept(listener: TcpListener) {
    let mut held = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    held.spawn(hold(stream));
                }
            }
            Some(_) = held.join_next() => {}
        }
    }
}

/// Until the other side closes it.
async fn hold(mut stream: TcpStream) {
    let mut heard = [0; 1024];
    while timeout(SILENCE, stream.read(&mut heard))
        .await
        .is_ok_and(|read| read.is_ok_and(|length| length > 0))
    {}
}
