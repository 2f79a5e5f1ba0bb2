//! An extension's files on this machine: read under limits, named, hashed, given a key where they have none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::Engine as _;
use serde_json::{Map, Value};
use sha2::Digest as _;

use super::{ContentHash, ExtensionId, MAX_CODE_FILE_LENGTH, MAX_CODE_FILES};
use crate::{
    allowlist,
    files::{self, read_limited},
    object::ObjectName,
};

const MANIFEST: &str = "manifest.json";
const HASH_CONTEXT: &str = "cbrowse extension content v1";
const KEY_CONTEXT: &str = "cbrowse unpacked extension key v1";
/// What reaches past the pages: around the node's proxy setting, into every tab, out of the sandbox.
const POWERS: [&str; 3] = ["proxy", "debugger", "nativeMessaging"];

/// Why an extension cannot travel.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The disk said no.
    #[error("read {path}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No manifest that can be read as plain JSON with a name and a version.
    #[error("{0} has no manifest.json that can be read")]
    Manifest(PathBuf),
    /// A web app.
    #[error("{0} is an app, not an extension; apps do not travel")]
    App(PathBuf),
    /// Holds a link or a special file, or a name that cannot be stored.
    #[error("{0} is no plain file that can be stored")]
    Strange(PathBuf),
    /// Too many files.
    #[error("{0} holds more than 20,000 files")]
    TooMany(PathBuf),
}

/// One extension's files, looked at.
#[derive(Debug)]
pub(super) struct Code {
    root: PathBuf,
    /// As it travels: with a key.
    manifest: Vec<u8>,
    tree: Map<String, Value>,
    /// Relative, in ascending order.
    paths: Vec<String>,
    /// What its key makes it.
    pub(super) id: ExtensionId,
    pub(super) version: String,
}

impl Code {
    /// Reads the manifest and lists the files. `known_as` makes the key of an extension that has none.
    pub(super) fn read(root: &Path, known_as: &ExtensionId) -> Result<Self, CodeError> {
        let unreadable = || CodeError::Manifest(root.to_owned());
        let path = root.join(MANIFEST);
        let mut manifest = read_limited(&path, MAX_CODE_FILE_LENGTH).map_err(|source| disk(&path, source))?;
        let mut tree = parse(&manifest).ok_or_else(unreadable)?;
        if tree.contains_key("app") {
            return Err(CodeError::App(root.to_owned()));
        }
        let version = tree.get("version").and_then(Value::as_str).ok_or_else(unreadable)?.to_owned();
        if !allowlist::is_extension_version(&version) {
            return Err(unreadable());
        }
        if !tree.contains_key("key") {
            tree.insert("key".into(), key_for(known_as).into());
            manifest = serde_json::to_vec_pretty(&tree).expect("plain data serializes");
        }
        let id = tree.get("key").and_then(Value::as_str).and_then(id_of_key).ok_or_else(unreadable)?;
        let mut paths = Vec::new();
        list(root, "", &mut paths)?;
        paths.sort();
        Ok(Self { root: root.to_owned(), manifest, tree, paths, id, version })
    }

    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// One of its files as it travels.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, CodeError> {
        if path == MANIFEST {
            return Ok(self.manifest.clone());
        }
        let path = self.root.join(path);
        read_limited(&path, MAX_CODE_FILE_LENGTH).map_err(|source| disk(&path, source))
    }

    /// The hash of all of them.
    pub(super) fn hash(&self) -> Result<ContentHash, CodeError> {
        let mut hasher = Hasher::new();
        for path in &self.paths {
            hasher.add(path, &self.bytes(path)?);
        }
        Ok(hasher.finish())
    }

    /// What it calls itself, in its own default language.
    pub(super) fn name(&self) -> String {
        let name = self.tree.get("name").and_then(Value::as_str).unwrap_or_default();
        let message = name.strip_prefix("__MSG_").and_then(|rest| rest.strip_suffix("__"));
        super::name(&message.and_then(|key| self.translated(key)).unwrap_or_else(|| name.to_owned()))
    }

    fn translated(&self, key: &str) -> Option<String> {
        let language = self.tree.get("default_locale")?.as_str()?;
        let bytes = self.bytes(&format!("_locales/{language}/messages.json")).ok()?;
        let messages = parse(&bytes)?;
        let (_, message) = messages.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        message.get("message")?.as_str().map(str::to_owned)
    }

    /// Those of [`POWERS`] that it has or may ask for.
    pub(super) fn powers(&self) -> Vec<&'static str> {
        let asks = |name: &str| {
            let lists = ["permissions", "optional_permissions"].map(|list| self.tree.get(list));
            lists.into_iter().flatten().filter_map(Value::as_array).flatten().any(|item| item == name)
        };
        POWERS.into_iter().filter(|name| asks(name)).collect()
    }
}

/// Hashes files in ascending order of path.
pub(super) struct Hasher(blake3::Hasher);

impl Hasher {
    pub(super) fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(HASH_CONTEXT))
    }

    /// Every field has a length before it or of its own, so that no two sets of files read alike.
    pub(super) fn add(&mut self, path: &str, bytes: &[u8]) {
        self.0.update(&(path.len() as u64).to_le_bytes()).update(path.as_bytes());
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(blake3::hash(bytes).as_bytes());
    }

    pub(super) fn finish(self) -> ContentHash {
        ContentHash(ObjectName::from_bytes(*self.0.finalize().as_bytes()))
    }
}

/// The id that Chromium makes of a manifest's `key`: the first half of its SHA-256, in letters.
pub(super) fn id_of_key(key: &str) -> Option<ExtensionId> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(key.trim()).ok()?;
    let digits = sha2::Sha256::digest(&bytes);
    let letters = digits[..16].iter().flat_map(|byte| [byte >> 4, byte & 15]);
    letters.map(|digit| char::from(b'a' + digit)).collect::<String>().parse().ok()
}

/// A key that is always the same for one unpacked extension of one machine. Chromium asks of it only that it be Base64.
fn key_for(known_as: &ExtensionId) -> String {
    let key = blake3::derive_key(KEY_CONTEXT, known_as.as_str().as_bytes());
    base64::engine::general_purpose::STANDARD.encode(key)
}

/// Some editors put a byte order mark in front.
fn parse(bytes: &[u8]) -> Option<Map<String, Value>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(tree)) => Some(tree),
        _ => None,
    }
}

fn list(root: &Path, inside: &str, paths: &mut Vec<String>) -> Result<(), CodeError> {
    let directory = root.join(inside);
    for entry in fs::read_dir(&directory).map_err(|source| disk(&directory, source))? {
        let entry = entry.map_err(|source| disk(&directory, source))?;
        let strange = || CodeError::Strange(entry.path());
        let name = entry.file_name().into_string().map_err(|_| strange())?;
        let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        let kind = entry.file_type().map_err(|source| disk(&directory, source))?;
        // What a store signed is nothing to a browser that did not install it from there, and a repository is no code.
        if matches!(path.as_str(), "_metadata" | ".git") {
            continue;
        }
        // The id's place takes some of the length that a path may have.
        let stored = format!("{}/Extensions/{}/0/{path}", allowlist::PROFILE_DIRECTORY, "a".repeat(80));
        if kind.is_dir() {
            list(root, &path, paths)?;
        } else if !kind.is_file() || allowlist::classify(&stored).is_err() {
            return Err(strange());
        } else if allowlist::classify(&stored) == Ok(allowlist::Class::Executable) {
            paths.push(path);
        }
        if paths.len() > MAX_CODE_FILES {
            return Err(CodeError::TooMany(root.to_owned()));
        }
    }
    Ok(())
}

fn disk(path: &Path, source: io::Error) -> CodeError {
    CodeError::Disk { path: path.to_owned(), source }
}

/// The hash of files that were written, and the id that their manifest makes; `None` where that cannot be read.
pub(super) fn written(root: &Path) -> Option<(ExtensionId, ContentHash)> {
    let manifest = files::read_limited(&root.join(MANIFEST), MAX_CODE_FILE_LENGTH).ok()?;
    let id = id_of_key(parse(&manifest)?.get("key")?.as_str()?)?;
    let mut paths = Vec::new();
    list(root, "", &mut paths).ok()?;
    paths.sort();
    let mut hasher = Hasher::new();
    for path in &paths {
        hasher.add(path, &read_limited(&root.join(path), MAX_CODE_FILE_LENGTH).ok()?);
    }
    Some((id, hasher.finish()))
}
