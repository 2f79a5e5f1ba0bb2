//! A relay before a real registry: what was asked, and what happens when no answer comes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Passes everything on to one address and back, unless it is told to be silent. Ends when dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
        let address = listener.local_addr().expect("it is bound");
        let (silent, asked) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (mute, heard) = (Arc::clone(&silent), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, target, Arc::clone(&mute), Arc::clone(&heard)));
            }
        });
        Self { address, silent, asked, task }
    }

    pub(crate) fn consul_uri(&self) -> String {
        format!("consul://{}", self.address)
    }

    /// From now on questions are heard and not answered.
    pub(crate) fn silence(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// The paths of all requests until now.
    pub(crate) fn asked(&self) -> Vec<String> {
        let bytes = self.asked.lock().unwrap().clone();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let line = |line: &str| Some(line.strip_prefix("GET ")?.split(' ').next()?.to_owned());
        text.lines().filter_map(line).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    silent: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<u8>>>,
) {
    // A registry that is down closes the connection here, as it would have there.
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut from_server) = ([0; 16 << 10], [0; 16 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                asked.lock().unwrap().extend_from_slice(&from_client[..length]);
                if !silent.load(Ordering::SeqCst)
                    && server.write_all(&from_client[..length]).await.is_err()
                {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&from_server[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
