//! Limits that cost answers: room for packets that arrive at once, and for connections under way.

use std::{fs, net::UdpSocket};

use nix::sys::{
    resource::{Resource, getrlimit},
    socket::{getsockopt, setsockopt, sockopt},
};
use serde_json::json;

use super::finding::{Check, Finding};
use crate::words::size;

/// The most that a process may ask for, in bytes.
const LIMIT_FILE: &str = "/proc/sys/net/core/rmem_max";
/// What the kernel charges for one small packet that waits, in bytes: its buffer and its bookkeeping.
const CHARGE: usize = 768;
/// Answers that may arrive within one turn of the prober; fewer, and some of a thousand nodes' are lost to the queue.
const WANTED_ANSWERS: usize = 250;
/// Connections under way for a thousand nodes, two each, and what else is open.
const WANTED_FILES: u64 = 4096;

/// What a socket gets that asks for all that it may have.
pub(super) fn buffers() -> Finding {
    let limit = fs::read_to_string(LIMIT_FILE).ok().and_then(|text| text.trim().parse::<usize>().ok());
    let granted = granted(limit);
    judge_buffers(limit, granted).details(json!({"rmem_max": limit, "granted": granted}))
}

/// The kernel doubles what is asked for, to pay for its bookkeeping (socket(7)).
fn granted(limit: Option<usize>) -> Option<usize> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).ok()?;
    if let Some(limit) = limit {
        // What was not granted shows below.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &limit);
    }
    getsockopt(&socket, sockopt::RcvBuf).ok()
}

fn judge_buffers(limit: Option<usize>, granted: Option<usize>) -> Finding {
    let Some(granted) = granted else {
        return Finding::skipped(Check::Buffers, "no socket could be opened to see");
    };
    let answers = granted / CHARGE;
    let limit = limit.map_or_else(|| "unknown".to_owned(), |limit| size(limit as u64));
    let found =
        format!("room for about {answers} answers that arrive at once (net.core.rmem_max is {limit})");
    if answers >= WANTED_ANSWERS {
        return Finding::ok(Check::Buffers, found);
    }
    Finding::warning(
        Check::Buffers,
        format!("{found}; a burst of more looks like lost packets"),
        "sudo sysctl -w net.core.rmem_max=4194304",
    )
}

/// The hard limit decides: cbrowse raises the soft one by itself.
pub(super) fn open_files() -> Finding {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Finding::skipped(Check::OpenFiles, "this system does not tell its limit");
    };
    judge_files(soft, hard).details(json!({"soft": soft, "hard": hard}))
}

fn judge_files(soft: u64, hard: u64) -> Finding {
    let shown = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    let raised = format!(", raised up to {} when nodes are measured", shown(hard));
    let found = format!("{} at once{}", shown(soft), if soft < hard { raised } else { String::new() });
    if hard >= WANTED_FILES {
        return Finding::ok(Check::OpenFiles, found);
    }
    Finding::warning(
        Check::OpenFiles,
        format!("{found}: too few for a thousand nodes side by side"),
        format!(
            "ulimit -Hn {WANTED_FILES} as root, or a line in /etc/security/limits.conf: * hard nofile {WANTED_FILES}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    #[test]
    fn room_is_judged_just_below_at_and_above_what_is_needed() {
        for (answers, state) in [
            (WANTED_ANSWERS - 1, State::Warning),
            (WANTED_ANSWERS, State::Ok),
            (WANTED_ANSWERS + 1, State::Ok),
        ] {
            assert_eq!(judge_buffers(Some(1), Some(answers * CHARGE)).state, state);
        }
        assert_eq!(judge_buffers(None, None).state, State::Skipped);
        // What a Linux machine has unless somebody changed it.
        assert_eq!(judge_buffers(Some(212_992), Some(425_984)).state, State::Ok);
    }

    #[test]
    fn the_hard_limit_of_files_decides() {
        assert_eq!(judge_files(64, WANTED_FILES).state, State::Ok);
        assert_eq!(judge_files(64, WANTED_FILES - 1).state, State::Warning);
        assert!(judge_files(1024, u64::MAX).found.contains("unlimited"));
    }

    #[test]
    fn this_machine_has_both() {
        assert_ne!(buffers().details["granted"], serde_json::Value::Null);
        assert_ne!(open_files().details["hard"], serde_json::Value::Null);
    }
}
