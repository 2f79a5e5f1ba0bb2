//! Namespaces and interfaces: what has to be permitted here, and what is set up in them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{getegid, geteuid},
};

use super::world::Family;

/// Packets that wait in an interface. The usual 500 lose those of a burst, which a real network interface would not.
const QUEUE: u32 = 20_000;
/// Where connections wait for being accepted, and connections under way. Less: the far side ignores a burst of them.
const BACKLOG: &str = "65535";
/// Sockets of one process: every node's connection, a few times over.
const OPEN_FILES: u64 = 65_536;
/// Address of the near side.
const NEAR: [&str; 2] = ["10.127.0.1/32", "fd00:ca::1/128"];
/// All nodes.
const NODES: [&str; 2] = ["10.128.0.0/16", "fd00:cb::/64"];
/// Who commands are run as: nobody's number matters, as long as it is not root's.
const ORDINARY: &str = "1000";

/// What is not to be had here. Not a fault of anything that is tested.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct Unavailable {
    /// A bare verb phrase.
    pub step: String,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

pub(super) fn cannot<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Unavailable {
    let step = step.into();
    move |error| Unavailable { step, source: error.into() }
}

/// Whether echo requests are to be had for ordinary users of the near side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ping {
    /// `net.ipv4.ping_group_range` holds everybody.
    Open,
    /// It holds nobody, as the kernel sets it.
    Closed,
}

/// Moves this process, which must have a single thread, into namespaces of its own, where it is root.
pub(super) fn enter() -> Result<(), Unavailable> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(cannot("make namespaces"))?;
    fs::write("/proc/self/setgroups", "deny").map_err(cannot("deny setgroups"))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(cannot("map the user"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(cannot("map the group"))
}

/// Sets up the near side, in the namespace of this thread; the device to read and write its packets.
pub(super) fn near(family: Family, ping: Ping) -> Result<OwnedFd, Unavailable> {
    let device = tun("near")?;
    let (address, nodes) = (NEAR[family as usize], NODES[family as usize]);
    // An address is used at once: nobody else is there who could have it.
    let at_once = if family == Family::V6 { " nodad" } else { "" };
    ip(&format!(
        "link set lo up\naddr add {address} dev near{at_once}\nlink set near txqueuelen {QUEUE} up\nroute add {nodes} dev near\n"
    ))?;
    if ping == Ping::Open {
        // The only group that exists in this namespace, whoever it is outside.
        set("net/ipv4/ping_group_range", "0 0")?;
    }
    raise_open_files();
    Ok(device)
}

/// The same for the far side, in a network namespace of this thread alone. One kernel answers for all nodes.
pub(super) fn far(family: Family) -> Result<OwnedFd, Unavailable> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(cannot("make the far network"))?;
    let device = tun("far")?;
    let (address, nodes) = (NEAR[family as usize], NODES[family as usize]);
    ip(&format!(
        "link set lo up\nlink set far txqueuelen {QUEUE} up\nroute add local {nodes} dev lo\nroute add {address} dev far\n"
    ))?;
    set("net/core/somaxconn", BACKLOG)?;
    set("net/ipv4/tcp_max_syn_backlog", BACKLOG)?;
    // One real node answers for all of them, and its own queue of connections is a short one.
    set("net/ipv4/tcp_syncookies", "1")?;
    set("net/ipv4/icmp_ratelimit", "0")?;
    if family == Family::V6 {
        set("net/ipv6/icmp/ratelimit", "0")?;
    }
    Ok(device)
}

/// Opens a TUN device, without further bytes around its packets (Linux, networking/tuntap).
fn tun(name: &str) -> Result<OwnedFd, Unavailable> {
    let path = Path::new("/dev/net/tun");
    let step = || format!("open {}", path.display());
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(cannot(step()))?;
    attach(&file, name).map_err(cannot(format!("make the interface {name}")))?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(cannot(step()))?;
    Ok(file.into())
}

fn attach(file: &fs::File, name: &str) -> io::Result<()> {
    const TUNSETIFF: nix::libc::Ioctl =
        nix::request_code_write!(b'T', 202, std::mem::size_of::<nix::libc::c_int>());
    let flags = nix::libc::IFF_TUN | nix::libc::IFF_NO_PI;
    #[expect(unsafe_code, reason = "ifreq is plain data, all zero is a value of it")]
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or_default();
    #[expect(unsafe_code, reason = "TUNSETIFF takes a pointer to this live ifreq")]
    let result = unsafe { nix::libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs lines of iproute2's `ip` in the network of this thread.
fn ip(lines: &str) -> Result<(), Unavailable> {
    let run = || {
        let mut child = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(io::Error::other(words.trim().to_owned())) }
    };
    run().map_err(cannot("set up the interfaces with ip (Debian's iproute2)"))
}

/// Settings below `/proc/sys/net` are those of this thread's network.
fn set(name: &str, value: &str) -> Result<(), Unavailable> {
    fs::write(Path::new("/proc/sys").join(name), value).map_err(cannot(format!("set {name}")))
}

fn raise_open_files() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < OPEN_FILES {
        // With fewer, a connection to very many nodes at once fails, and says why.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard);
    }
}

/// What stands before a command that is to run as an ordinary user, without any power over the network that it is in, and
/// to end when the thread that started it does.
pub fn ordinary() -> Vec<String> {
    let user = [format!("--map-user={ORDINARY}"), format!("--map-group={ORDINARY}")];
    let words = ["setpriv", "--pdeathsig", "KILL", "--"].map(String::from);
    [vec!["unshare".to_owned(), "--user".to_owned()], user.into(), words.into()].concat()
}
