//! The user's directories: theirs, closed to others, writable, and with room left.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{sys::statvfs::statvfs, unistd::geteuid};
use serde_json::json;

use super::finding::{Check, Finding};
use crate::{command::login::blocking, context::Paths, words::size};

/// Files below the data directory whose modes are looked at; more would make a large store slow to check.
const MOST_FILES: usize = 2000;
/// Less free room, and a save of a profile may not fit.
const LITTLE: u64 = 1 << 30;
/// Less, and nothing can be kept.
const LEAST: u64 = 64 << 20;

/// Looks at all of them.
pub(super) async fn check(paths: &Paths) -> Vec<Finding> {
    let paths = paths.clone();
    let looked = blocking(move || Ok(vec![places(&paths), disk(&paths)])).await;
    looked.unwrap_or_else(|failure| vec![Finding::skipped(Check::Storage, failure.message)])
}

/// The first fault, the worst first; a person mends one at a time.
fn places(paths: &Paths) -> Finding {
    let directories =
        [("profiles and keys", &paths.data), ("settings", &paths.config), ("copies", &paths.cache)];
    let faults = directories.iter().find_map(|(what, directory)| unusable(what, directory));
    let open = || secrets(&paths.data).find_map(|(path, metadata)| too_open(&path, &metadata));
    let finding = faults.or_else(open).unwrap_or_else(|| {
        Finding::ok(Check::Storage, format!("{} is yours alone and can be written to", paths.data.display()))
    });
    finding.details(json!({"config": paths.config, "data": paths.data, "cache": paths.cache}))
}

fn unusable(what: &str, directory: &Path) -> Option<Finding> {
    let shown = directory.display();
    match fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => Some(Finding::problem(
            Check::Storage,
            format!("{shown}, for {what}, is a file where a directory should be"),
            format!("mv {shown} {shown}.old"),
        )),
        Ok(metadata) if metadata.uid() != geteuid().as_raw() => Some(Finding::problem(
            Check::Storage,
            format!("{shown}, for {what}, belongs to user {}, not to you ({})", metadata.uid(), geteuid()),
            format!("sudo chown -R {} {shown}", geteuid()),
        )),
        Ok(_) => tempfile::tempfile_in(directory).err().map(|error| cannot_write(what, directory, &error)),
        // It is made when it is needed, in the nearest directory that is there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = existing(directory)?;
            tempfile::tempfile_in(&parent).err().map(|error| cannot_write(what, &parent, &error))
        }
        Err(error) => Some(Finding::problem(
            Check::Storage,
            format!("{shown}, for {what}, cannot be looked at: {error}"),
            format!("ls -ld {shown}"),
        )),
    }
}

fn cannot_write(what: &str, directory: &Path, error: &io::Error) -> Finding {
    let shown = directory.display();
    let mend = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("mount {shown} for writing, or set HOME to a directory that you can write to")
        }
        io::ErrorKind::StorageFull => format!("make room on the file system of {shown}"),
        _ => format!("chmod u+rwx {shown}"),
    };
    Finding::problem(Check::Storage, format!("nothing can be written to {shown}, for {what}: {error}"), mend)
}

/// The data directory itself, and what lies in it and in the directories of its profiles.
fn secrets(data: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let top = entries(data);
    let below: Vec<PathBuf> =
        top.iter().filter(|path| path.is_dir()).flat_map(|path| entries(path)).collect();
    let all = std::iter::once(data.to_owned()).chain(top).chain(below).take(MOST_FILES);
    all.filter_map(|path| fs::symlink_metadata(&path).ok().map(|metadata| (path, metadata)))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path()).take(MOST_FILES).collect()
}

/// Profiles are sealed, so that reading them tells nobody anything; whoever can write could still roll them back.
fn too_open(path: &Path, metadata: &Metadata) -> Option<Finding> {
    let mode = metadata.mode() & 0o7777;
    let shown = path.display();
    if metadata.is_symlink() || mode & 0o022 == 0 {
        return None;
    }
    Some(Finding::problem(
        Check::Storage,
        format!("others may change {shown} (mode {mode:04o})"),
        format!("chmod go-w {shown}"),
    ))
}

fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|ancestor| ancestor.is_dir()).map(Path::to_owned)
}

fn disk(paths: &Paths) -> Finding {
    let Some(directory) = existing(&paths.data) else {
        return Finding::skipped(Check::Disk, format!("{} does not exist", paths.data.display()));
    };
    match statvfs(&directory) {
        Ok(found) => {
            judge_disk(&directory, u64::from(found.fragment_size()) * u64::from(found.blocks_available()))
        }
        Err(error) => Finding::skipped(Check::Disk, format!("{}: {}", directory.display(), error.desc())),
    }
}

fn judge_disk(directory: &Path, free: u64) -> Finding {
    let found = format!("{} free where profiles are kept ({})", size(free), directory.display());
    let mend =
        "make room there; old saves take some of it: cbrowse profile list, cbrowse profile delete NAME";
    let finding = if free < LEAST {
        Finding::problem(Check::Disk, found, mend)
    } else if free < LITTLE {
        Finding::warning(Check::Disk, found, mend)
    } else {
        Finding::ok(Check::Disk, found)
    };
    finding.details(json!({"free": free}))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{super::finding::State, *};

    #[test]
    fn room_is_judged_just_below_and_at_each_limit() {
        let judged = |free| judge_disk(Path::new("/x"), free).state;
        assert_eq!((judged(LEAST - 1), judged(LEAST)), (State::Problem, State::Warning));
        assert_eq!((judged(LITTLE - 1), judged(LITTLE)), (State::Warning, State::Ok));
    }

    #[test]
    fn directories_that_are_not_there_yet_are_no_fault() {
        let home = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(home.path());
        assert_eq!(places(&paths).state, State::Ok);
        assert!(!paths.data.exists(), "looking makes nothing");
    }

    #[test]
    fn what_others_may_change_is_named_with_its_mode() {
        let home = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(home.path());
        let profile = paths.profiles().join("x");
        fs::create_dir_all(&paths.profiles()).expect("made");
        fs::write(&profile, "sealed").expect("written");
        let set = |mode| fs::set_permissions(&profile, fs::Permissions::from_mode(mode)).expect("set");
        for directory in [&paths.data, &paths.profiles()] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("set");
        }
        set(0o644);
        assert_eq!(places(&paths).state, State::Ok, "it is sealed");
        set(0o620);
        let finding = places(&paths);
        assert_eq!(finding.state, State::Problem);
        assert!(
            finding.found.contains("0620") && finding.mend.is_some_and(|mend| mend.starts_with("chmod go-w"))
        );
    }

    #[test]
    fn a_file_in_a_directorys_place_is_told() {
        let home = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(home.path());
        fs::write(&paths.data, "x").expect("written");
        let finding = places(&paths);
        assert!(finding.state == State::Problem && finding.found.contains("is a file"), "{}", finding.found);
    }
}
