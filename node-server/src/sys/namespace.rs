//! Rooms for one session: user, PID, mount, network, IPC and UTS namespaces, made without privileges.
//!
//! The calling process becomes a doorkeeper that waits; its child is process 1 of the new PID namespace, root of nothing but
//! the room. When process 1 ends, the kernel ends everything else in the room, stopped or hung processes too.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getegid, geteuid, pivot_root, setsid},
};

/// The ordinary user that Chromium is inside the room: its sandbox refuses to run as uid 0.
const BROWSER_UID: u32 = 1000;
/// Where the room's writable directory is; Chromium's HOME.
pub const HOME: &str = "/home/user";
/// Read-only parts of the machine that Chromium needs. What is missing on this machine is left out.
const SHARED: [&str; 7] = [
    "/usr",
    "/etc/fonts",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/var/cache/fontconfig",
];
/// How long a room may outlive its server. Process 1 needs a second to end Chromium; longer keeps a stopped room's memory.
pub const WITHOUT_SERVER: Duration = Duration::from_secs(10);
/// The doorkeeper looks at least this often, in milliseconds; what it waits for wakes it earlier.
const DOOR_INTERVAL: u16 = 1000;
/// Merged-usr links, or directories of their own on older systems.
const ROOT_LINKS: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Where the browsers that the node knows read their managed policies.
/// Where browsers of Chromium's family read their policy.
pub const POLICY_DIRECTORIES: [&str; 4] = [
    "etc/chromium/policies/managed",
    "etc/opt/chrome/policies/managed",
    "etc/brave/policies/managed",
    "etc/opt/edge/policies/managed",
];
/// Its file in each of them.
pub const POLICY_FILE: &str = "cbrowse.json";
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// What kept a room from being made, and what an operator can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct NamespaceError {
    /// A bare verb phrase.
    pub step: String,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

/// The settings that commonly forbid unprivileged user namespaces.
pub const NAMESPACE_HINT: &str = "unprivileged user namespaces must be allowed: sysctl kernel.unprivileged_userns_clone=1 (Debian), \
     user.max_user_namespaces > 0, kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile with `userns,` (Ubuntu); \
     in a container, a seccomp profile that permits unshare and mount";

fn failed<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> NamespaceError {
    let step = step.into();
    move |error| NamespaceError { step, source: error.into() }
}

/// Limits of a room.
#[derive(Debug, Clone)]
pub struct Room {
    /// Size of the writable tmpfs in bytes.
    pub disk: u64,
    /// A Chromium outside `/usr`: its directory appears at the same path, read-only.
    pub browser_directory: Option<PathBuf>,
    /// Text of the managed policy file.
    pub policy: String,
}

/// Enters new namespaces. Returns in process 1 of the room only; the doorkeeper waits for it and exits with its status.
/// Must be called while the process has a single thread.
pub fn enter() -> Result<(), NamespaceError> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
    .map_err(failed("make namespaces"))?;
    fs::write("/proc/self/setgroups", "deny").map_err(failed("deny setgroups"))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(failed("map the user"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(failed("map the group"))?;
    #[expect(
        unsafe_code,
        reason = "fork is safe while the process has one thread, which the caller promises"
    )]
    let forked = unsafe { fork() };
    match forked.map_err(failed("fork process 1"))? {
        ForkResult::Child => become_first(),
        ForkResult::Parent { child } => keep_door(child),
    }
}

fn become_first() -> Result<(), NamespaceError> {
    // The doorkeeper is what the server can kill; with it goes the room.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("tie the room to its doorkeeper"))?;
    nix::sys::prctl::set_no_new_privs().map_err(failed("give up new privileges"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("turn core dumps off"))?;
    setsid().map_err(failed("start a session"))?;
    Ok(())
}

/// Waits for process 1 and exits like it. One thread: who has made a PID namespace can start no other.
fn keep_door(room: Pid) -> ! {
    if let Ok(null) = fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(&null);
    }
    let mut until = None;
    let child_ended = block_signals();
    loop {
        match waitpid(room, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => std::process::exit(code),
            Ok(WaitStatus::Signaled(..)) => std::process::exit(128),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => std::process::exit(1),
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let _ = kill(room, Signal::SIGKILL);
        }
        if wait_for_news(child_ended.as_ref(), until) {
            until = Some(Instant::now() + WITHOUT_SERVER);
        }
    }
}

/// A terminal's Ctrl-C and a service manager's SIGTERM reach every process; the server alone decides about sessions.
/// `None` where the kernel gives no descriptor for a child's end: it is then looked for every so often.
fn block_signals() -> Option<SignalFd> {
    let asked = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD];
    let _ = SigSet::from_iter(asked).thread_block();
    SignalFd::with_flags(
        &SigSet::from_iter([Signal::SIGCHLD]),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )
    .ok()
}

/// Until process 1 ends, time is up, or the server's end of the link (descriptor 0) closes; whether the last is new.
/// A worker that is stopped, hung or broken into does not end by itself when its server does.
fn wait_for_news(child_ended: Option<&SignalFd>, until: Option<Instant>) -> bool {
    let link = io::stdin();
    // Only a hang-up is waited for; the messages are for process 1.
    let mut watched = Vec::from_iter(until.is_none().then(|| PollFd::new(link.as_fd(), PollFlags::empty())));
    watched.extend(child_ended.map(|ended| PollFd::new(ended.as_fd(), PollFlags::POLLIN)));
    let _ = poll(&mut watched, PollTimeout::from(DOOR_INTERVAL));
    if let Some(ended) = child_ended {
        let _ = ended.read_signal();
    }
    until.is_none() && watched.first().and_then(PollFd::any).unwrap_or(false)
}

/// Replaces the root file system by a fresh tmpfs that holds what Chromium needs and nothing of the machine's data.
pub fn furnish(room: &Room) -> Result<(), NamespaceError> {
    umask(Mode::from_bits_truncate(0o077));
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(failed("make mounts private"))?;
    // Any directory that exists everywhere serves as the place to build on.
    let root = Path::new("/tmp");
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("size={},mode=0755,nr_inodes=262144", room.disk);
    mount(Some("tmpfs"), root, Some("tmpfs"), safe, Some(options.as_str()))
        .map_err(failed("mount the room's tmpfs"))?;
    for shared in SHARED.iter().map(Path::new).chain(room.browser_directory.as_deref()) {
        share(root, shared)?;
    }
    link_root_directories(root)?;
    make_devices(root)?;
    make_files(root, &room.policy)?;
    let proc = root.join("proc");
    make_directory(&proc)?;
    mount(Some("proc"), &proc, Some("proc"), safe, None::<&str>).map_err(failed("mount /proc"))?;
    std::env::set_current_dir(root).map_err(failed("enter the room"))?;
    pivot_root(".", ".").map_err(failed("make the room the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("let go of the machine's files"))?;
    std::env::set_current_dir("/").map_err(failed("enter the room"))?;
    raise_loopback()
}

/// Binds `path` read-only at the same place under `root`; nothing if the machine has no such path.
fn share(root: &Path, path: &Path) -> Result<(), NamespaceError> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let target = under(root, path);
    if metadata.is_dir() {
        make_directory(&target)?;
    } else {
        make_directory(target.parent().unwrap_or(root))?;
        fs::write(&target, "").map_err(failed(format!("make a place for {}", path.display())))?;
    }
    let step = || format!("share {}", path.display());
    mount(Some(path), &target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(failed(step()))?;
    let read_only =
        MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    // A mount that was inherited keeps flags that may not be cleared; asking for them again is what the kernel wants.
    mount(None::<&str>, &target, None::<&str>, read_only, None::<&str>)
        .or_else(|_| mount(None::<&str>, &target, None::<&str>, read_only | kept_flags(path), None::<&str>))
        .map_err(failed(format!("{} read-only", step())))
}

fn kept_flags(path: &Path) -> MsFlags {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let Ok(found) = statvfs(path).map(|found| found.flags()) else { return MsFlags::empty() };
    let mut flags = MsFlags::empty();
    for (seen, kept) in [
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        flags.set(kept, found.contains(seen));
    }
    flags
}

fn link_root_directories(root: &Path) -> Result<(), NamespaceError> {
    for name in ROOT_LINKS {
        let path = Path::new("/").join(name);
        match fs::read_link(&path) {
            Ok(target) => {
                std::os::unix::fs::symlink(target, root.join(name))
                    .map_err(failed(format!("link /{name}")))?;
            }
            Err(_) => share(root, &path)?,
        }
    }
    Ok(())
}

fn make_devices(root: &Path) -> Result<(), NamespaceError> {
    let dev = root.join("dev");
    make_directory(&dev.join("shm"))?;
    for name in DEVICES {
        let target = dev.join(name);
        fs::write(&target, "").map_err(failed(format!("make a place for /dev/{name}")))?;
        mount(Some(&Path::new("/dev").join(name)), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(failed(format!("share /dev/{name}")))?;
    }
    std::os::unix::fs::symlink("/proc/self/fd", dev.join("fd")).map_err(failed("link /dev/fd"))
}

fn make_files(root: &Path, policy: &str) -> Result<(), NamespaceError> {
    for directory in ["tmp", "run", "home/user"] {
        make_directory(&root.join(directory))?;
    }
    for directory in POLICY_DIRECTORIES.map(|directory| root.join(directory)) {
        make_directory(&directory)?;
        fs::write(directory.join(POLICY_FILE), policy).map_err(failed("write the browser's policy"))?;
    }
    let user = format!("user:x:{BROWSER_UID}:{BROWSER_UID}::{HOME}:/usr/sbin/nologin\n");
    for (path, text) in [
        ("etc/passwd", user.as_str()),
        ("etc/group", &format!("user:x:{BROWSER_UID}:\n")),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
        ("etc/machine-id", "00000000000000000000000000000000\n"),
    ] {
        fs::write(root.join(path), text).map_err(failed(format!("write /{path}")))?;
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), NamespaceError> {
    fs::create_dir_all(path).map_err(failed(format!("make {}", path.display())))
}

fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Brings `lo` up in a fresh network namespace; there is no other interface.
fn raise_loopback() -> Result<(), NamespaceError> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(failed("open a socket for lo"))?;
    let mut request = libc_ifreq();
    #[expect(unsafe_code, reason = "SIOCSIFFLAGS takes a pointer to this live ifreq")]
    let result = unsafe { nix::libc::ioctl(socket.as_raw_fd(), nix::libc::SIOCSIFFLAGS, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(failed("bring lo up")(io::Error::last_os_error())) }
}

fn libc_ifreq() -> nix::libc::ifreq {
    #[expect(unsafe_code, reason = "ifreq is plain data, all zero is a value of it")]
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(nix::libc::IFF_UP | nix::libc::IFF_RUNNING).unwrap_or(1);
    request
}

/// Makes `command` start as an ordinary user of a nested user namespace, with `orders` as descriptor 3 and `answers` as 4
/// (what `--remote-debugging-pipe` expects). Both descriptors must stay open until the command is spawned.
pub fn as_browser(command: &mut Command, orders: &OwnedFd, answers: &OwnedFd) {
    let (orders, answers) = (orders.as_raw_fd(), answers.as_raw_fd());
    let map = format!("{BROWSER_UID} 0 1");
    let nested = move || {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        write_raw(c"/proc/self/setgroups", b"deny")?;
        write_raw(c"/proc/self/uid_map", map.as_bytes())?;
        write_raw(c"/proc/self/gid_map", map.as_bytes())?;
        inherit(orders, answers)
    };
    #[expect(
        unsafe_code,
        reason = "the closure makes only async-signal-safe system calls and allocates nothing"
    )]
    unsafe {
        command.pre_exec(nested);
    }
}

fn write_raw(path: &std::ffi::CStr, bytes: &[u8]) -> io::Result<()> {
    use nix::fcntl::{OFlag, open};
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&file, bytes)?;
    Ok(())
}

fn inherit(orders: i32, answers: i32) -> io::Result<()> {
    // Out of the way first: either may already be 3 or 4.
    #[expect(unsafe_code, reason = "plain descriptor arithmetic in the child; both numbers are open")]
    unsafe {
        let orders = nix::libc::fcntl(orders, nix::libc::F_DUPFD_CLOEXEC, 10);
        let answers = nix::libc::fcntl(answers, nix::libc::F_DUPFD_CLOEXEC, 10);
        if orders < 0 || answers < 0 || nix::libc::dup2(orders, 3) < 0 || nix::libc::dup2(answers, 4) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
