//! The web viewer is one page on loopback that only the user who started this process can open.
//!
//! ```text
//! browser                                        this process, 127.0.0.1:PORT
//!   | open.html (a file of mode 0600) --- POST /open, one-time code --> |
//!   | <------------------------------- session cookie, then on to / --- |
//!   | GET /, /viewer.css, /viewer.js, /icon.svg ----------------------> |
//!   | GET /socket, WebSocket cbrowse.v1 <-- the node's messages, the person's input --> |
//! ```
//! No secret is in an address or an argument list. Every request must name this host, must not come from another
//! origin, and on Linux must come from a process of this user; all but `POST /open` need the cookie.

mod assets;
mod door;
mod gate;
mod peer;
mod serve;
mod socket;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::door::{NotOpened, open_in_browser};
use self::{door::Door, gate::Gate, serve::House};
use super::Hub;

/// How long [`WebViewer::close`] lets pages read their last message. Ctrl-C promises an end within a second.
const CLOSE_DEADLINE: Duration = Duration::from_millis(300);

/// How to serve.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port on 127.0.0.1; 0 lets the system pick one.
    pub port: u16,
    /// What the page is called while the remote page has no title, such as the profile's name.
    pub title: String,
}

/// Why the viewer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken or forbidden.
    #[error("cannot listen on 127.0.0.1:{port} for the viewer")]
    Listen {
        /// As asked for.
        port: u16,
        /// The system's word.
        source: io::Error,
    },
    /// No place for the file that opens the page.
    #[error("cannot write the private file that opens the viewer, below {}", directory.display())]
    Door {
        /// Where it was to be.
        directory: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl StartError {
    /// What to try next.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "choose another --port; without it the system picks a free one",
            Self::Door { .. } => "set TMPDIR or XDG_RUNTIME_DIR to a directory that you may write to",
        }
    }
}

/// A running viewer. It ends, and its file goes, when this is dropped.
#[derive(Debug)]
pub struct WebViewer {
    address: SocketAddr,
    door: Door,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl WebViewer {
    /// Listens, writes the file that opens the page, and serves `hub` from a task of its own.
    pub async fn start(hub: Hub, options: Options) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { port: options.port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let gate = Gate::new(address.port());
        let door = Door::make(address.port(), &gate.code())
            .map_err(|(directory, source)| StartError::Door { directory, source })?;
        let stop = CancellationToken::new();
        let house = House::new(hub, gate, door.file().to_owned(), options.title, stop.clone());
        let task = tokio::spawn(serve::run(listener, house));
        Ok(Self { address, door, stop, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file that opens the page, once, in a browser of this user. It is gone after it was used.
    pub fn open_file(&self) -> &Path {
        self.door.file()
    }

    /// The page's own address, for the browser that has opened it before.
    pub fn page_url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Ends it after the pages got what was published, within 300 ms.
    pub async fn close(mut self) {
        self.stop.cancel();
        let _ended_or_late = tokio::time::timeout(CLOSE_DEADLINE, &mut self.task).await;
    }
}

impl Drop for WebViewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
