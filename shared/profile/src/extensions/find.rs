//! Which extensions a browser of this machine has, and which of them the user lets travel.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use serde_json::{Map, Value};

use super::{Allowed, ExtensionId, IdError, Listed, Word, code::Code};
use crate::{allowlist::PROFILE_DIRECTORY, files, sanitize::MAX_SETTINGS_LENGTH};

/// Loaded from a directory by a developer, and on a command line. Chromium's `ManifestLocation`.
const UNPACKED: [u64; 2] = [4, 8];
/// Parts of the browser itself.
const COMPONENTS: [u64; 2] = [5, 10];

/// An extension of a browser's data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// What the user's word would be.
    pub allowed: Allowed,
    /// Permissions that reach past pages: `proxy`, `debugger`, `nativeMessaging`. Such a one travels only if it is named.
    pub powers: Vec<&'static str>,
}

/// What the user says of a browser's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// None travels.
    None,
    /// All but those with powers.
    All,
    /// These, whatever they may do.
    Named(Vec<ExtensionId>),
}

impl FromStr for Choice {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            ids => ids.split(',').map(|id| id.trim().parse()).collect::<Result<_, _>>().map(Self::Named),
        }
    }
}

/// What came of a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// To be kept for the profile.
    pub word: Word,
    /// Left out of "all" for what they may do.
    pub refused: Vec<Installed>,
    /// Let through although they may do such things, since they were named.
    pub powerful: Vec<Installed>,
}

/// Why a choice cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// The browser has no such extension, or it cannot travel.
    #[error("the browser has no extension {0} that could travel")]
    NotInstalled(ExtensionId),
}

/// The extensions of a data directory whose files can be read, by id. What the browser brings itself, apps, and what is
/// not described in its settings are no part of it; `trouble` gets what cannot travel, and why.
pub fn find(
    data_directory: &Path,
    mut trouble: impl FnMut(&ExtensionId, &super::CodeError),
) -> Vec<Installed> {
    let mut found = BTreeMap::new();
    for (id, settings) in described(data_directory) {
        let Some(path) = place(&id, &settings) else { continue };
        match look(data_directory, &id, path) {
            Ok(installed) => drop(found.insert(installed.allowed.listed.id.clone(), installed)),
            Err(error) => trouble(&id, &error),
        }
    }
    found.into_values().collect()
}

/// Follows a choice.
pub fn choose(found: &[Installed], choice: &Choice) -> Result<Chosen, ChooseError> {
    let mut chosen = Chosen { word: Word::new(Vec::new()), refused: Vec::new(), powerful: Vec::new() };
    let (harmless, powerful): (Vec<_>, Vec<_>) =
        found.iter().cloned().partition(|installed| installed.powers.is_empty());
    let taken = match choice {
        Choice::None => Vec::new(),
        Choice::All => {
            chosen.refused = powerful;
            harmless
        }
        Choice::Named(ids) => {
            let named = |id: &ExtensionId| {
                let fits = |one: &&Installed| one.allowed.listed.id == *id || one.allowed.known_as == *id;
                found.iter().find(fits).cloned().ok_or_else(|| ChooseError::NotInstalled(id.clone()))
            };
            let named = ids.iter().map(named).collect::<Result<Vec<_>, _>>()?;
            chosen.powerful = named.iter().filter(|one| !one.powers.is_empty()).cloned().collect();
            named
        }
    };
    chosen.word = Word::new(taken.into_iter().map(|installed| installed.allowed).collect());
    Ok(chosen)
}

fn look(data_directory: &Path, id: &ExtensionId, path: PathBuf) -> Result<Installed, super::CodeError> {
    let code = Code::read(&data_directory.join(&path), id)?;
    let listed =
        Listed { id: code.id.clone(), version: code.version.clone(), name: code.name(), hash: code.hash()? };
    let powers = code.powers();
    Ok(Installed { allowed: Allowed { listed, known_as: id.clone(), path }, powers })
}

/// `extensions.settings` of both settings files. Chromium keeps them in the second where it protects them.
fn described(data_directory: &Path) -> BTreeMap<ExtensionId, Map<String, Value>> {
    let mut all = BTreeMap::new();
    for file in ["Preferences", "Secure Preferences"] {
        let path = data_directory.join(PROFILE_DIRECTORY).join(file);
        let Ok(bytes) = files::read_limited(&path, MAX_SETTINGS_LENGTH) else { continue };
        let Ok(Value::Object(mut tree)) = serde_json::from_slice(&bytes) else { continue };
        let settings = tree.get_mut("extensions").and_then(|branch| branch.get_mut("settings"));
        let Some(Value::Object(settings)) = settings.map(Value::take) else { continue };
        for (id, value) in settings {
            if let (Ok(id), Value::Object(value)) = (id.parse::<ExtensionId>(), value) {
                all.insert(id, value);
            }
        }
    }
    all
}

/// Relative to the data directory for what was installed, absolute for what was loaded unpacked.
fn place(id: &ExtensionId, settings: &Map<String, Value>) -> Option<PathBuf> {
    let path = Path::new(settings.get("path")?.as_str()?);
    let location = settings.get("location").and_then(Value::as_u64)?;
    if path.is_absolute() {
        return UNPACKED.contains(&location).then(|| path.to_owned());
    }
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    let own = path.starts_with(id.as_str()) && inside && !COMPONENTS.contains(&location);
    own.then(|| Path::new(PROFILE_DIRECTORY).join("Extensions").join(path))
}
