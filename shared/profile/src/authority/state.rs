//! The small files of a profile's directory: HEAD, SEEN and the records of its generations.
//!
//! Order of writes when a head becomes current: its record, HEAD, SEEN. A crash between any two leaves the old
//! head or the new one current, and the next change mends the rest.

use std::{fs, io, path::Path};

use cbrowse_protocol::id::SessionId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{AuthorityError, disk};
use crate::{
    files::{self, Beside},
    head::{Closing, Head},
    object::ObjectName,
    save::{SaveMeta, SaveStats},
};

/// Longest of these files in bytes.
const MAX_STATE_LENGTH: u64 = 64 * 1024;

/// A generation and the head that is it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRef {
    /// 1 is the first save.
    pub generation: u64,
    /// The head's object.
    pub name: ObjectName,
}

/// What is kept of a generation, to be shown without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRecord {
    /// Which.
    pub head: HeadRef,
    /// Seconds since the Unix epoch.
    pub time: u64,
    /// Who saved.
    pub device: String,
    /// The browser that wrote the files.
    pub browser_version: String,
    /// How it ended.
    pub closing: Closing,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The proposed head it was taken over from, so that the same proposal is not taken twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<ObjectName>,
    /// The session that proposed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// For a version that lost a conflict: the name it is kept under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
}

impl HeadRecord {
    /// Of a head that was opened, and is at `at`.
    pub(crate) fn of_head(head: &Head, at: HeadRef) -> Self {
        Self {
            head: at,
            time: head.time,
            device: head.device.clone(),
            browser_version: head.browser_version.clone(),
            closing: head.closing,
            files: head.files,
            bytes: head.bytes,
            proposed: None,
            session: None,
            kept_as: None,
        }
    }

    pub(crate) fn of(head: HeadRef, meta: &SaveMeta, stats: &SaveStats) -> Self {
        Self {
            head,
            time: meta.now,
            device: meta.device.clone(),
            browser_version: meta.browser_version.clone(),
            closing: meta.closing,
            files: stats.files,
            bytes: stats.bytes,
            proposed: None,
            session: None,
            kept_as: None,
        }
    }
}

pub(super) fn current(directory: &Path) -> Result<Option<HeadRef>, AuthorityError> {
    let head: Option<HeadRef> = read_json(directory, "HEAD")?;
    let seen: Option<HeadRef> = read_json(directory, "SEEN")?;
    let found = head.as_ref().map_or(0, |head| head.generation);
    match seen {
        Some(seen) if seen.generation > found => {
            Err(AuthorityError::RolledBack { found, seen: seen.generation })
        }
        Some(seen) if seen.generation == found && head.as_ref() != Some(&seen) => {
            Err(AuthorityError::Forked(found))
        }
        _ => Ok(head),
    }
}

/// Under the lock. All bytes are flushed together; the names follow one another, each durable before the next.
pub(super) fn advance(directory: &Path, next: &HeadRecord) -> Result<(), AuthorityError> {
    let heads = directory.join("heads");
    files::make_durable_directory(&heads).map_err(|source| disk("make", &heads, source))?;
    let record = heads.join(format!("{:020}.json", next.head.generation));
    let (head, seen) = (directory.join("HEAD"), directory.join("SEEN"));
    let written = [(record, json(next)), (head, json(&next.head)), (seen, json(&next.head))]
        .map(|(path, bytes)| Beside::write(&path, &bytes).map_err(|source| disk("write", &path, source)));
    let written = written.into_iter().collect::<Result<Vec<_>, _>>()?;
    files::at_once(&written, Beside::flush).map_err(|source| disk("write in", directory, source))?;
    for file in &written {
        file.replace()
            .and_then(|()| files::flush_parent(file.path()))
            .map_err(|source| disk("write", file.path(), source))?;
    }
    clear_unfinished(directory);
    Ok(())
}

/// What processes that were killed left half written, objects above all, goes with the next change.
fn clear_unfinished(directory: &Path) {
    let Ok(now) = fs::metadata(directory.join("HEAD")).and_then(|head| head.modified()) else { return };
    files::clear_unfinished(directory, now);
    files::clear_unfinished(&directory.join("heads"), now);
    for objects in fs::read_dir(directory.join("objects")).into_iter().flatten().flatten() {
        files::clear_unfinished(&objects.path(), now);
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("plain data serializes")
}

/// Under the lock. Gives the name it is kept under.
pub(super) fn keep_beside(directory: &Path, next: &HeadRecord) -> Result<String, AuthorityError> {
    let kept_as = format!("{:020}-{}", next.head.generation, &next.head.name.to_string()[..8]);
    let record = HeadRecord { kept_as: Some(kept_as.clone()), ..next.clone() };
    write_json(&directory.join("heads"), &format!("{kept_as}.json"), &record)?;
    Ok(kept_as)
}

/// Records up to the current generation, and versions kept beside.
pub(super) fn history(directory: &Path) -> Result<Vec<HeadRecord>, AuthorityError> {
    let newest = current(directory)?.map_or(0, |head| head.generation);
    let heads = directory.join("heads");
    let entries = match fs::read_dir(&heads) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(disk("list", &heads, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|source| disk("list", &heads, source))?.file_name());
    }
    names.sort();
    let mut records: Vec<HeadRecord> = Vec::new();
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| is_record(name)) {
        records.extend(read_json(&heads, name)?);
    }
    records.retain(|record| record.kept_as.is_some() || record.head.generation <= newest);
    Ok(records)
}

/// Not the unfinished file of a crash.
fn is_record(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "json")
}

pub(crate) fn read_json<T: DeserializeOwned>(
    directory: &Path,
    name: &str,
) -> Result<Option<T>, AuthorityError> {
    let path = directory.join(name);
    match files::read_limited(&path, MAX_STATE_LENGTH) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| AuthorityError::Damaged(path)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(disk("read", &path, source)),
    }
}

pub(crate) fn write_json<T: Serialize>(
    directory: &Path,
    name: &str,
    value: &T,
) -> Result<(), AuthorityError> {
    let path = directory.join(name);
    files::make_durable_directory(directory)
        .and_then(|()| files::replace(&path, &json(value)))
        .map_err(|source| disk("write", &path, source))
}
