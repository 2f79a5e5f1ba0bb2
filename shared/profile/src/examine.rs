//! What the user's machine checks of a proposed head before it becomes the profile.
//!
//! The node that made it is not trusted: every object it lists must be there and open, every chunk must be what its
//! id says, a chunk may lie in an old pack only where the base says it lies, nothing that can execute may be new,
//! and it may not be emptier than a browser leaves a profile.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use crate::{
    allowlist::{self, Class, LISTING_FILE, PathError},
    extensions,
    keys::ProfileKeys,
    manifest::{ChunkRef, FileEntry, Manifest},
    object::{ObjectStore, StoreError, check_object},
    pack::{self, ReadError},
    proposal::Proposal,
    sanitize::{self, MAX_SETTINGS_LENGTH},
    seal::Kind,
    snapshot::{OpenError, Snapshot, open_snapshot},
};

/// Largest bookmarks file that is looked through, in bytes. Larger ones count as unreadable.
const MAX_BOOKMARKS_LENGTH: u64 = 64 * 1024 * 1024;
const BOOKMARKS: &str = "Default/Bookmarks";
/// Bytes that may be fetched beyond twice the profile's size. Less refuses a small profile whose journals were
/// rewritten often in one session.
const FETCH_ALLOWANCE: u64 = 64 * 1024 * 1024;
/// Files that a browser never leaves a profile without once it had them.
/// Each under any of its names, as they differ between systems.
const ESSENTIAL: &[&[&str]] = &[&["Default/Preferences"], &["Default/Cookies", "Default/Network/Cookies"]];

/// Why a proposed head was refused. The profile is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// It does not open with what the session was given.
    #[error("open the proposed head")]
    Open(#[from] OpenError),
    /// Its objects could not be fetched.
    #[error("fetch the proposed objects")]
    Store(#[from] StoreError),
    /// Its contents are not what it says.
    #[error("check the proposed contents")]
    Read(#[from] ReadError),
    /// The head says something else than the proposal around it.
    #[error("the proposed head contradicts its proposal")]
    Contradiction,
    /// More bytes than such a profile can need.
    #[error("the node lists far more data than the profile's files hold")]
    TooMuch,
    /// A path climbs.
    #[error("refuse the proposed files")]
    Path(#[from] PathError),
    /// Files that are no part of a profile.
    #[error("the node added files that are no part of a profile: {}", .0.join(", "))]
    NotListed(Vec<String>),
    /// Files that cannot lie beside each other everywhere.
    #[error(
        "the node added {0:?}, which clashes with another of the profile's files; nothing was taken over"
    )]
    Clash(String),
    /// Code or what starts code.
    #[error("the node added what can execute: {}; nothing was taken over", .0.join(", "))]
    Executable(Vec<String>),
    /// It lacks what the generation before had.
    #[error("the proposed profile lost {0}; the last good one stays")]
    Emptier(String),
}

/// Fetches the proposed head and what it lists from `from` into `store`, and checks all of it against `base`.
pub(crate) fn examine(
    proposal: &Proposal,
    keys: &ProfileKeys,
    base: Option<&Snapshot>,
    from: &dyn ObjectStore,
    store: &dyn ObjectStore,
) -> Result<Snapshot, ExamineError> {
    let proposed = open_snapshot(&proposal.head, from, &keys.session_access(&proposal.session))?;
    let head = proposed.head();
    let agrees = head.generation == proposal.base_generation + 1
        && head.previous == proposal.base
        && head.closing == proposal.closing
        && head.files == proposed.manifest.files.len() as u64
        && head.bytes == proposed.manifest.total_bytes();
    if !agrees {
        return Err(ExamineError::Contradiction);
    }
    check_paths(&proposed.manifest, base.map(|base| &base.manifest))?;
    check_fullness(&proposed.manifest, base)?;
    fetch(&proposed, from, store)?;
    check_chunks(&proposed, base, store)?;
    check_executable(&proposed, base, store)?;
    Ok(proposed)
}

/// Like `copy_objects`, up to what a profile of the said size can need: packs are padded and may hold chunks of
/// files that were read again, but a node cannot make this machine fetch without end.
fn fetch(proposed: &Snapshot, from: &dyn ObjectStore, store: &dyn ObjectStore) -> Result<(), ExamineError> {
    let mut budget = proposed.head().bytes.saturating_mul(2).saturating_add(FETCH_ALLOWANCE);
    for name in store.missing(&proposed.objects())? {
        let object = from.get(&name)?;
        check_object(&name, &object)?;
        budget = budget.checked_sub(object.len() as u64).ok_or(ExamineError::TooMuch)?;
        store.put(&name, &object)?;
    }
    Ok(())
}

fn check_paths(manifest: &Manifest, base: Option<&Manifest>) -> Result<(), ExamineError> {
    let (mut strange, mut executable) = (Vec::new(), Vec::new());
    executable.extend(extensions::changed_by_node(manifest, base));
    for file in &manifest.files {
        match allowlist::classify(&file.path)? {
            Class::Carried | Class::Cleaned(_) => {}
            // Judged above.
            Class::Executable if file.path == LISTING_FILE || allowlist::extension(&file.path).is_some() => {}
            Class::Executable => executable.push(file.path.clone()),
            Class::Ignored => strange.push(file.path.clone()),
        }
    }
    if !executable.is_empty() {
        return Err(ExamineError::Executable(executable));
    }
    let paths = |manifest: &Manifest| {
        allowlist::clash(manifest.files.iter().map(|file| file.path.as_str())).map(str::to_owned)
    };
    // What the user's own browser made is the user's business.
    if let Some(clash) = paths(manifest).filter(|_| base.and_then(paths).is_none()) {
        return Err(ExamineError::Clash(clash));
    }
    if strange.is_empty() { Ok(()) } else { Err(ExamineError::NotListed(strange)) }
}

fn check_fullness(manifest: &Manifest, base: Option<&Snapshot>) -> Result<(), ExamineError> {
    if manifest.files.iter().all(|file| file.size == 0) {
        return Err(ExamineError::Emptier("everything".into()));
    }
    let Some(base) = base else { return Ok(()) };
    let has = |manifest: &Manifest, names: &[&str]| {
        manifest.files.iter().any(|file| names.contains(&file.path.as_str()) && file.size > 0)
    };
    for names in ESSENTIAL {
        if has(&base.manifest, names) && !has(manifest, names) {
            return Err(ExamineError::Emptier(names[0].into()));
        }
    }
    Ok(())
}

/// Chunks that the base does not place there are read and checked against their ids.
fn check_chunks(
    proposed: &Snapshot,
    base: Option<&Snapshot>,
    store: &dyn ObjectStore,
) -> Result<(), ExamineError> {
    let placed = |snapshot: &Snapshot, chunk: &ChunkRef| {
        let pack = snapshot.manifest.packs.get(chunk.pack).expect("the decoder checked the slot");
        (pack.name, *pack.key.expose(), ChunkRef { pack: 0, ..*chunk })
    };
    let old: HashSet<_> =
        base.into_iter().flat_map(|base| base.chunks().map(move |chunk| placed(base, chunk))).collect();
    let mut new: BTreeMap<u32, HashSet<ChunkRef>> = BTreeMap::new();
    for chunk in proposed.chunks().filter(|chunk| !old.contains(&placed(proposed, chunk))) {
        new.entry(chunk.pack).or_default().insert(*chunk);
    }
    for (slot, chunks) in new {
        let entry = proposed.manifest.packs.get(slot).expect("the decoder checked the slot");
        let clear = pack::read_pack(store, entry, Kind::Pack, &proposed.head().profile)?;
        for chunk in chunks {
            pack::read_chunk(&clear, &chunk, &proposed.id_key).ok_or(ReadError::Chunk(entry.name))?;
        }
    }
    Ok(())
}

fn check_executable(
    proposed: &Snapshot,
    base: Option<&Snapshot>,
    store: &dyn ObjectStore,
) -> Result<(), ExamineError> {
    let mut found = Vec::new();
    for file in &proposed.manifest.files {
        if let Ok(Class::Cleaned(settings)) = allowlist::classify(&file.path) {
            let clear = read_small(proposed, file, MAX_SETTINGS_LENGTH, store)?;
            let branches = clear.map_or(vec!["too large".into()], |c| sanitize::offending(settings, &c));
            found.extend(branches.into_iter().map(|branch| format!("{}: {branch}", file.path)));
        }
    }
    let known = match base {
        Some(base) => bookmarklets(base, store)?,
        None => BTreeSet::new(),
    };
    let scripts = bookmarklets(proposed, store)?;
    found.extend(scripts.difference(&known).map(|name| format!("{BOOKMARKS}: {name}")));
    if found.is_empty() { Ok(()) } else { Err(ExamineError::Executable(found)) }
}

/// Bookmarks that run script, each named by a hash of its address, since the address is a stranger's text.
fn bookmarklets(snapshot: &Snapshot, store: &dyn ObjectStore) -> Result<BTreeSet<String>, ReadError> {
    let mut found = BTreeSet::new();
    let Some(file) = snapshot.manifest.files.iter().find(|file| file.path == BOOKMARKS) else {
        return Ok(found);
    };
    match read_small(snapshot, file, MAX_BOOKMARKS_LENGTH, store)?.map(|clear| serde_json::from_slice(&clear))
    {
        Some(Ok(tree)) => collect_scripts(&tree, &mut found),
        _ => drop(found.insert("unreadable bookmarks".into())),
    }
    Ok(found)
}

fn collect_scripts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(tree) => {
            if let Some(url) = tree.get("url").and_then(Value::as_str).filter(|url| runs_script(url)) {
                found.insert(format!("a script, BLAKE3 {}", &blake3::hash(url.as_bytes()).to_hex()[..16]));
            }
            tree.values().for_each(|inner| collect_scripts(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect_scripts(inner, found)),
        _ => {}
    }
}

/// As URL parsers do, blanks and control characters in front and tabs and line ends inside are passed over.
fn runs_script(url: &str) -> bool {
    let scheme: String = url
        .chars()
        .skip_while(|character| *character <= ' ')
        .filter(|character| !matches!(character, '\t' | '\n' | '\r'))
        .take_while(|character| *character != ':')
        .take(16)
        .collect();
    ["javascript", "data", "vbscript"].iter().any(|name| scheme.eq_ignore_ascii_case(name))
}

/// A file's clear bytes; `None` above `limit`.
pub(crate) fn read_small(
    snapshot: &Snapshot,
    file: &FileEntry,
    limit: u64,
    store: &dyn ObjectStore,
) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, ReadError> {
    if file.size > limit {
        return Ok(None);
    }
    let mut clear = zeroize::Zeroizing::new(Vec::new());
    let mut held: Option<(u32, zeroize::Zeroizing<Vec<u8>>)> = None;
    for chunk in &file.chunks {
        let entry = snapshot.manifest.packs.get(chunk.pack).expect("the decoder checked the slot");
        if held.as_ref().is_none_or(|(slot, _)| *slot != chunk.pack) {
            let pack = pack::read_pack(store, entry, Kind::Pack, &snapshot.head().profile)?;
            held = Some((chunk.pack, pack));
        }
        let (_, pack) = held.as_ref().expect("it was just read");
        let bytes = pack::read_chunk(pack, chunk, &snapshot.id_key).ok_or(ReadError::Chunk(entry.name))?;
        clear.extend_from_slice(&bytes);
    }
    Ok(Some(clear))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_however_they_are_spelled() {
        for script in
            ["javascript:1", " JavaScript:1", "java\nscript:1", "\u{1}javascript:1", "data:text/html,x"]
        {
            assert!(runs_script(script), "{script:?}");
        }
        for page in ["https://example.org/javascript:1", "http://x", "about:blank", "javascripts:1", ""] {
            assert!(!runs_script(page), "{page:?}");
        }
    }
}
