//! The files: one a network, below one directory, changed under one lock.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    content::{Content, Home, MAX_AGE, MAX_LENGTH, Unusable},
    fading::{Found, first},
};
use crate::{
    network::NetworkKey,
    private_file::{self, FileError},
};

/// Networks that are kept: home, work and the cafés between. Of more, those that were written to longest ago go.
pub const MOST_NETWORKS: usize = 16;
/// A draft older than this was left behind by a command that was killed; writing one takes milliseconds.
const ABANDONED: Duration = Duration::from_secs(600);
/// How the names of unfinished files begin.
const DRAFT: &str = ".tmp";

/// What a command adds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Addition {
    /// What was found of nodes.
    pub found: Vec<Found>,
    /// The node that was taken.
    pub home: Option<Home>,
    /// Whether what was found replaces what was known, instead of joining it.
    pub anew: bool,
}

/// The directory.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

/// Why a file tells nothing, where the user should know.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file makes no sense.
    #[error("{} makes no sense; it is written anew", .0.display())]
    Corrupt(PathBuf),
}

impl Store {
    /// The files in this directory, which is made when something is written.
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Where the history of a network lies.
    pub fn path(&self, network: &NetworkKey) -> PathBuf {
        self.0.join(format!("{network}.json"))
    }

    /// What is known of a network; empty where nothing is, or what another version wrote.
    pub fn load(&self, network: &NetworkKey, now: u64) -> Result<Content, StoreError> {
        let path = self.path(network);
        let bytes = match private_file::read(&path, MAX_LENGTH) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Content::default()),
            Err(FileError::TooLong { .. }) => return Err(StoreError::Corrupt(path)),
            Err(error) => return Err(error.into()),
        };
        match Content::decode(&bytes, network, now) {
            Ok(content) => Ok(content),
            Err(Unusable::Foreign) => Ok(Content::default()),
            Err(Unusable::Corrupt) => Err(StoreError::Corrupt(path)),
        }
    }

    /// Adds to what is known of a network, whatever other commands add meanwhile. Blocks for the lock.
    pub fn add(&self, network: &NetworkKey, addition: &Addition, now: u64) -> Result<(), FileError> {
        let _held = private_file::lock(&self.0.join("history"))?;
        let content = match self.load(network, now) {
            Ok(content) => content,
            Err(StoreError::Corrupt(_)) => Content::default(),
            Err(StoreError::File(error)) => return Err(error),
        };
        let content = joined(content, addition, now);
        let path = self.path(network);
        private_file::replace_lightly(&path, &content.encode(network))?;
        self.tidy(&path);
        Ok(())
    }

    /// Forgets one network, or all of them; how many were known.
    pub fn forget(&self, only: Option<&NetworkKey>) -> Result<usize, FileError> {
        if !self.0.exists() {
            return Ok(0);
        }
        let _held = private_file::lock(&self.0.join("history"))?;
        let mut forgotten = 0;
        for (path, _) in self.files() {
            if only.is_none_or(|network| self.path(network) == path) {
                forgotten += usize::from(private_file::remove(&path)?);
            }
        }
        Ok(forgotten)
    }

    /// How many networks are known.
    pub fn networks(&self) -> usize {
        self.files().len()
    }

    fn files(&self) -> Vec<(PathBuf, SystemTime)> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let written = |entry: &fs::DirEntry| entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let files = entries.flatten().filter_map(|entry| Some((entry.path(), written(&entry)?)));
        files.filter(|(path, _)| path.extension().is_some_and(|extension| extension == "json")).collect()
    }

    /// Removes what is too old or too much, and what killed commands left. Failing costs nothing but room.
    fn tidy(&self, newest: &Path) {
        let now = SystemTime::now();
        let is_older = |written: SystemTime, age| now.duration_since(written).is_ok_and(|is| is > age);
        let mut files = self.files();
        files.retain(|(path, _)| path != newest);
        files.sort_by_key(|(_, written)| *written);
        let surplus = (files.len() + 1).saturating_sub(MOST_NETWORKS);
        for (index, (path, written)) in files.iter().enumerate() {
            if index < surplus || is_older(*written, MAX_AGE) {
                let _ = fs::remove_file(path);
            }
        }
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            let is_draft = entry.file_name().to_string_lossy().starts_with(DRAFT);
            if is_draft && written.is_ok_and(|written| is_older(written, ABANDONED)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// What is known once an addition is made to it.
pub fn joined(mut content: Content, addition: &Addition, now: u64) -> Content {
    let mut known: HashMap<_, usize> =
        content.nodes.iter().enumerate().map(|(index, entry)| (entry.node.id.clone(), index)).collect();
    for found in &addition.found {
        match known.get(&found.node.id).copied() {
            Some(index) if content.nodes[index].node == found.node && !addition.anew => {
                content.nodes[index] = content.nodes[index].then(found, now);
            }
            // Another node under that name, or one that is measured as if for the first time.
            Some(index) => {
                let new = first(found, now).filter(|new| content.nodes[index].yields_to(new));
                if let Some(entry) = new {
                    content.nodes[index] = entry;
                }
            }
            None => {
                if let Some(entry) = first(found, now) {
                    known.insert(found.node.id.clone(), content.nodes.len());
                    content.nodes.push(entry);
                }
            }
        }
    }
    content.home = addition.home.clone().or(content.home);
    content.prune(now);
    content
}
