//! An emulated network: a thousand nodes behind one interface, each at its own distance, with real kernels at both ends.
//!
//! ```text
//!   near namespace                     this process                     far namespace
//!   the program under test             the delay line                   one listener, or one real node
//!   near (TUN) 10.127.0.1  ── packet ──> half the base round trip ──>   far (TUN), 10.128.0.0/16 is local
//!              <── half the base round trip, jitter ── packet ──        the kernel answers echoes and connects
//! ```
//!
//! Both namespaces lie in a user namespace of their own, so an ordinary user can make them where the machine permits it
//! and `/dev/net/tun` can be opened. [`world`] places the nodes, [`path`] decides what becomes of a packet (both pure),
//! [`line`] holds it, [`stage`] sets up namespaces and interfaces, [`far`] serves.

pub mod counters;
pub mod far;
pub mod fault;
mod line;
mod packet;
mod path;
pub mod stage;
mod urgency;
pub mod world;

use std::{path::Path, process::Command, sync::Arc, thread::JoinHandle};

use anyhow::Context as _;
use nix::{fcntl::OFlag, unistd::pipe2};
use tokio::sync::oneshot;

pub use self::{
    counters::{Counters, Counts, Lateness},
    far::{Far, Identity},
    fault::{Fault, Scenario},
    stage::{Ping, Unavailable},
    world::{Family, World},
};
use self::{line::Ends, path::Paths, stage::cannot};

/// Exit code of whatever needs this network where it is not to be had, as automake's tests use it.
pub const SKIPPED: i32 = 77;

/// A running network. It ends when this is dropped.
#[derive(Debug)]
pub struct Network {
    /// The nodes.
    pub world: World,
    /// Of the real node, if there is one.
    pub identity: Option<Identity>,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
    /// Both end their thread when they are dropped.
    ends: Option<(std::os::fd::OwnedFd, oneshot::Sender<()>)>,
}

impl Network {
    /// Moves this process to the near side of a new network. It must have a single thread, and stays there. An
    /// [`Unavailable`] inside the error means that this machine does not permit it.
    pub fn start(world: World, ping: Ping, far: Far) -> anyhow::Result<Self> {
        // Only before this process enters its namespaces may root ask for it.
        let is_urgent = urgency::become_urgent();
        let entered = stage::enter();
        let counters = Arc::new(Counters::new(world.nodes.len()));
        let (paths, counted) = (Paths::new(&world), Arc::clone(&counters));
        let (start_line, ends) = std::sync::mpsc::sync_channel(1);
        let line = std::thread::Builder::new().name("line".into()).spawn(move || {
            if !is_urgent {
                urgency::ask_for_short_slices();
            }
            // Without ends, the network did not come to be.
            if let Ok(ends) = ends.recv() {
                line::run(ends, paths, counted);
            }
        });
        urgency::become_ordinary();
        entered?;
        let line = line.context("start a thread")?;
        let near = stage::near(world.family, ping)?;
        let (end, told_end) = pipe2(OFlag::O_CLOEXEC).map_err(cannot("make a pipe"))?;
        let (far_end, far_ended) = oneshot::channel();
        let (ready, serving) = oneshot::channel();
        let (device, far_device) = std::sync::mpsc::sync_channel(1);
        let family = world.family;
        let far_side = std::thread::Builder::new().name("far".into()).spawn(move || {
            // Only this thread goes there; whatever it starts is there, too.
            let set_up = stage::far(family);
            let is_up = set_up.is_ok();
            if device.send(set_up).is_ok() && is_up {
                far::serve(far, family, ready, far_ended);
            }
        });
        let far_side = far_side.context("start a thread")?;
        let far_device = far_device.recv().context("the far side ended early")??;
        start_line.send(Ends { near, far: far_device, end }).context("the delay line ended early")?;
        let mut network = Self {
            world,
            identity: None,
            counters,
            threads: vec![far_side, line],
            ends: Some((told_end, far_end)),
        };
        network.identity = serving.blocking_recv().context("the far side ended early")??;
        Ok(network)
    }

    /// What passed and what was dropped.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Writes the catalog to `nodes.json` and what only the emulator knows to `truth.json`.
    pub fn describe(&self, directory: &Path) -> anyhow::Result<()> {
        let identity = self.identity.as_ref().map(|identity| identity.key.as_str());
        for (name, nodes) in
            [("nodes.json", self.world.catalog(identity)), ("truth.json", self.world.truth())]
        {
            let text = serde_json::to_vec(&nodes).context("write JSON")?;
            std::fs::write(directory.join(name), text).with_context(|| format!("write {name}"))?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.ends = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// A command on the near side, as an ordinary user who has no power over the network. It ends with this thread.
pub fn near_command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let words = stage::ordinary();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(program);
    command
}
