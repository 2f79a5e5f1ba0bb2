//! What strategies remember between commands: one small file among the user's own data.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use crate::{
    context::Paths,
    private_file::{self, FileError},
    probe::Probed,
    select::{Choice, Memory, Strategy},
};

/// Longest file in bytes: the turns of ten thousand nodes fit.
const MAX_LENGTH: u64 = 4 * 1024 * 1024;

fn file(paths: &Paths) -> PathBuf {
    paths.data.join("choices.json")
}

/// What `strategy` goes on from. A file that cannot be read counts as none: the next choice is drawn, as a first one is.
pub fn load(paths: &Paths, strategy: Strategy) -> Memory {
    if !strategy.remembers() {
        return Memory::default();
    }
    let bytes = private_file::read(&file(paths), MAX_LENGTH).ok().flatten();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Notes that the first node of `choice` was taken.
pub fn note(paths: &Paths, strategy: Strategy, nodes: &[Probed], choice: &Choice) -> Result<(), FileError> {
    if !strategy.remembers() {
        return Ok(());
    }
    let path = file(paths);
    let _held = private_file::lock(&path)?;
    let mut memory = load(paths, strategy);
    memory.note(strategy, nodes, choice, now());
    let bytes = serde_json::to_vec(&memory).expect("plain data serializes");
    private_file::replace(&path, &bytes)
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        select::{Constraints, tests::node},
        survey::Preference,
    };

    #[test]
    fn turns_go_on_from_command_to_command() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(directory.path());
        let nodes = [node("a", "", 10), node("b", "", 200), node("c", "", 90)];
        let mut taken = Vec::new();
        for _ in 0..6 {
            let preference = Preference {
                memory: load(&paths, Strategy::RoundRobin),
                ..Preference::from(Strategy::RoundRobin)
            };
            let choice = preference.choose(&nodes, &Constraints::default());
            note(&paths, Strategy::RoundRobin, &nodes, &choice).expect("noted");
            taken.push(choice.chosen().expect("eligible"));
        }
        // Begun anywhere, then each in turn.
        assert!(taken.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 3), "{taken:?}");
        std::fs::write(paths.data.join("choices.json"), b"{broken").expect("written");
        assert_eq!(load(&paths, Strategy::RoundRobin), Memory::default());
    }

    #[test]
    fn a_strategy_without_memory_leaves_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(directory.path());
        let nodes = [node("a", "", 10)];
        let choice = Preference::default().choose(&nodes, &Constraints::default());
        note(&paths, Strategy::Responsive, &nodes, &choice).expect("nothing to note");
        assert!(!file(&paths).exists());
    }
}
