//! What processes a server started, and whether they are gone: read from `/proc`, past namespaces and changed parents.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number in this namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Name of its program, at most 15 bytes.
    pub name: String,
}

/// Another program may run in it meanwhile: a child is first a copy of its parent.
impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.start) == (other.pid, other.start)
    }
}

impl Eq for Process {}

impl std::hash::Hash for Process {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.pid, self.start).hash(state);
    }
}

/// What `/proc/PID/stat` says, as far as it is needed here (proc_pid_stat(5)).
struct Stat {
    process: Process,
    parent: i32,
    is_zombie: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may itself hold blanks and brackets.
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let process = Process { pid, start: fields.get(19)?.parse().ok()?, name };
    Some(Stat { process, parent: fields.get(1)?.parse().ok()?, is_zombie: matches!(fields[0], "Z" | "X") })
}

fn all() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat).collect()
}

/// The processes that `root` started itself.
pub fn children(root: u32) -> Vec<Process> {
    all().into_iter().filter(|stat| stat.parent == number(root)).map(|stat| stat.process).collect()
}

/// Every process below `root`, itself not among them.
pub fn descendants(root: u32) -> Vec<Process> {
    below(&all(), number(root))
}

/// Process numbers fit: the kernel's largest is 2^22.
fn number(pid: u32) -> i32 {
    i32::try_from(pid).unwrap_or(i32::MAX)
}

fn below(all: &[Stat], root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<&Stat>> = HashMap::new();
    for stat in all {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            open.push(child.process.pid);
            found.push(child.process.clone());
        }
    }
    found
}

/// What ran below a server at one moment, and the rooms it ran in.
#[derive(Debug)]
pub struct Footprint {
    server: i32,
    processes: Vec<Process>,
    /// Process namespaces other than our own: whatever is born in them later counts, too. Held open, so that the kernel
    /// gives their numbers to nobody else.
    rooms: Vec<(u64, File)>,
}

fn room_of(pid: i32) -> Option<u64> {
    std::fs::metadata(room_path(pid)).ok().map(|metadata| metadata.ino())
}

fn room_path(pid: i32) -> PathBuf {
    format!("/proc/{pid}/ns/pid").into()
}

impl Footprint {
    /// Of everything below the server with this number.
    pub fn of(server: u32) -> Self {
        Self::new(number(server), descendants(server))
    }

    fn new(server: i32, processes: Vec<Process>) -> Self {
        let mut seen: BTreeSet<u64> = room_of(number(std::process::id())).into_iter().collect();
        let mut rooms = Vec::new();
        for process in &processes {
            let Ok(file) = File::open(room_path(process.pid)) else { continue };
            let Ok(number) = file.metadata().map(|metadata| metadata.ino()) else { continue };
            if seen.insert(number) {
                rooms.push((number, file));
            }
        }
        Self { server, processes, rooms }
    }

    /// What ran when this was taken.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// How many processes of this name ran.
    pub fn count(&self, name: &str) -> usize {
        self.processes.iter().filter(|process| process.name == name).count()
    }

    /// Of those, and of their rooms' later inhabitants, what still exists. A dead process counts until the server that
    /// lives has reaped it; those of a dead server are the init process's to reap.
    pub fn left(&self) -> Vec<Process> {
        let own = |stat: &Stat| {
            self.processes.contains(&stat.process)
                || room_of(stat.process.pid)
                    .is_some_and(|room| self.rooms.iter().any(|(number, _)| *number == room))
        };
        let counts = |stat: &Stat| !stat.is_zombie || stat.parent == self.server;
        all().into_iter().filter(|stat| own(stat) && counts(stat)).map(|stat| stat.process).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_footprint_holds_children_until_they_are_gone() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        // The shell writes its line after it has started the sleeper.
        let mut line = [0];
        std::io::Read::read_exact(&mut child.stdout.take().expect("piped"), &mut line).expect("a line");
        let footprint = Footprint::of(child.id());
        assert_eq!(footprint.processes().len(), 1);
        assert_eq!(footprint.left(), footprint.processes());
        let pid = nix::unistd::Pid::from_raw(footprint.processes()[0].pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
        child.wait().expect("the shell ends after its child");
        assert_eq!(footprint.left(), []);
    }
}
