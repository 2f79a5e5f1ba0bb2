//! Which browsers left profiles on this machine, and which of those is meant. Reads names and sizes; changes nothing.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cbrowse_protocol::node::printable;
use serde::Serialize;
use serde_json::Value;

use super::{ImportError, browser::Browser, copy, system};

/// Longest `Local State` that is read, in bytes; it holds names and times, and much that is not asked for.
const MAX_LOCAL_STATE: u64 = 16 * 1024 * 1024;
/// Longest name that is shown, in characters.
const MAX_NAME: usize = 100;
/// Most profiles of one browser that are looked at.
const MAX_PROFILES: usize = 256;
/// Directories that look like a profile and belong to nobody.
const NOBODYS: [&str; 2] = ["System Profile", "Guest Profile"];

/// Where a browser keeps its profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub browser: Browser,
    /// Its channel, or how it is packaged.
    pub channel: &'static str,
    /// Its user data directory.
    pub directory: PathBuf,
}

/// A profile that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Which browser; `None` for a directory that was named.
    pub browser: Option<Browser>,
    /// Its channel, or how it is packaged.
    pub channel: &'static str,
    /// Its user data directory.
    pub directory: PathBuf,
    /// The profile's directory inside, such as `Profile 1`.
    pub profile: String,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Seconds since the Unix epoch.
    pub last_used: Option<u64>,
    /// Whether the browser works in that user data directory now.
    pub running: bool,
}

/// The profile that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Of which browser, if that is known.
    pub browser: Option<Browser>,
    /// The user data directory.
    pub directory: PathBuf,
    /// The profile's directory inside.
    pub profile: String,
    /// Whether the browser works there now.
    pub running: bool,
}

impl Source {
    /// The profile's directory.
    pub fn profile_path(&self) -> PathBuf {
        self.directory.join(&self.profile)
    }
}

impl From<Found> for Source {
    fn from(found: Found) -> Self {
        Self {
            browser: found.browser,
            directory: found.directory,
            profile: found.profile,
            running: found.running,
        }
    }
}

/// The user whose browsers are looked for.
#[derive(Debug, Clone)]
pub struct Home {
    /// The home directory.
    pub directory: PathBuf,
    /// `XDG_CONFIG_HOME`, if it is set to an absolute path.
    pub config: Option<PathBuf>,
}

impl Home {
    /// Of the user who runs this process.
    pub fn of_user() -> Option<Self> {
        let directory = directories::BaseDirs::new()?.home_dir().to_owned();
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        Some(Self { directory, config })
    }

    /// Every profile of every browser, the browsers in their order, the profiles of each by last use.
    pub fn all(&self) -> Vec<Found> {
        let places = system::places(&self.directory, self.config.as_deref());
        places.iter().flat_map(|place| look(Some(place.browser), place.channel, &place.directory)).collect()
    }

    /// The profile that `from` (a browser's name or a path) and `profile` (a directory's or a profile's name) mean.
    pub fn choose(&self, from: &str, profile: Option<&str>) -> Result<Source, ImportError> {
        if let Ok(browser) = from.parse::<Browser>() {
            return self.choose_of(browser, profile);
        }
        let path = Path::new(from);
        let read = |source: io::Error| ImportError::Read { path: path.to_owned(), source };
        let path = fs::canonicalize(path).map_err(read)?;
        let all = look(self.browser_at(&path), "", &path);
        if !all.is_empty() {
            return pick(&all, profile, &path).map(Source::from);
        }
        // A profile's own directory, named in full.
        let (parent, name) = (path.parent(), path.file_name().and_then(|name| name.to_str()));
        if let (Some(parent), Some(name), None) = (parent, name, profile)
            && is_profile(&path)
        {
            return Ok(Source {
                browser: self.browser_at(parent),
                directory: parent.to_owned(),
                profile: name.to_owned(),
                running: is_in_use(parent),
            });
        }
        Err(ImportError::NotABrowser(path))
    }

    /// Of several channels the one that was used last and has the profile.
    fn choose_of(&self, browser: Browser, profile: Option<&str>) -> Result<Source, ImportError> {
        let places: Vec<Place> = system::places(&self.directory, self.config.as_deref())
            .into_iter()
            .filter(|place| place.browser == browser)
            .collect();
        let mut all: Vec<Vec<Found>> =
            places.iter().map(|place| look(Some(browser), place.channel, &place.directory)).collect();
        all.retain(|found| !found.is_empty());
        all.sort_by_key(|found| std::cmp::Reverse(found.iter().filter_map(|one| one.last_used).max()));
        let mut refused = None;
        for found in all {
            let directory = found[0].directory.clone();
            match pick(&found, profile, &directory) {
                Ok(found) => return Ok(found.into()),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let looked = places.into_iter().map(|place| place.directory).collect();
        Err(refused.unwrap_or(ImportError::NoBrowser { browser: browser.title(), looked }))
    }

    fn browser_at(&self, directory: &Path) -> Option<Browser> {
        let places = system::places(&self.directory, self.config.as_deref());
        let is_here = |place: &&Place| fs::canonicalize(&place.directory).is_ok_and(|path| path == directory);
        places.iter().find(is_here).map(|place| place.browser)
    }
}

/// Bytes of a profile that would travel.
pub fn size(found: &Found) -> u64 {
    copy::plan(&found.directory.join(&found.profile)).map_or(0, |plan| plan.bytes())
}

/// The profiles in a user data directory, the last used one first; none where it is no such directory.
fn look(browser: Option<Browser>, channel: &'static str, directory: &Path) -> Vec<Found> {
    let Ok(directory) = fs::canonicalize(directory) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(&directory) else { return Vec::new() };
    let state = local_state(&directory);
    let running = is_in_use(&directory);
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<Found> = names
        .filter(|name| !NOBODYS.contains(&name.as_str()) && is_profile(&directory.join(name)))
        .take(MAX_PROFILES)
        .map(|profile| {
            let info = &state["profile"]["info_cache"][profile.as_str()];
            Found {
                browser,
                channel,
                directory: directory.clone(),
                name: info["name"].as_str().map(|name| printable(name, MAX_NAME)),
                last_used: last_used(info, &directory.join(&profile)),
                running,
                profile,
            }
        })
        .collect();
    found.sort_by(|a, b| b.last_used.cmp(&a.last_used).then_with(|| a.profile.cmp(&b.profile)));
    found
}

/// A directory (no link) with what a browser writes first; its preferences come a while later.
fn is_profile(path: &Path) -> bool {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    is_directory && ["Preferences", "History", "Bookmarks"].iter().any(|name| path.join(name).is_file())
}

fn last_used(info: &Value, profile: &Path) -> Option<u64> {
    let told = info["active_time"].as_f64().filter(|seconds| *seconds >= 1.0);
    let written = || {
        let time = fs::metadata(profile.join("Preferences")).and_then(|metadata| metadata.modified()).ok()?;
        since_epoch(time)
    };
    let told = told.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    told.map(|told| told.as_secs()).or_else(written)
}

fn since_epoch(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn local_state(directory: &Path) -> Value {
    let bytes = copy::read_small(&directory.join("Local State"), MAX_LOCAL_STATE);
    bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null)
}

/// By the directory's name first, then by the name that its owner gave it; without a wish the one that was used last.
fn pick(all: &[Found], wanted: Option<&str>, directory: &Path) -> Result<Found, ImportError> {
    let known = || -> Vec<String> {
        let name = |found: &Found| match &found.name {
            Some(name) => format!("{} ({name})", found.profile),
            None => found.profile.clone(),
        };
        all.iter().map(name).collect()
    };
    let Some(wanted) = wanted else {
        return all.first().cloned().ok_or_else(|| ImportError::NotABrowser(directory.to_owned()));
    };
    if let Some(found) = all.iter().find(|found| found.profile == wanted) {
        return Ok(found.clone());
    }
    let mut named = all.iter().filter(|found| found.name.as_deref() == Some(wanted));
    let (directory, wanted) = (directory.to_owned(), wanted.to_owned());
    match (named.next(), named.count()) {
        (Some(found), 0) => Ok(found.clone()),
        (Some(_), more) => Err(ImportError::Ambiguous { wanted, directory, count: more + 1, known: known() }),
        (None, _) => Err(ImportError::NoProfile { wanted, directory, known: known() }),
    }
}

/// Whether a browser works in the user data directory: it holds a link `HOST-PID`, and one that a crash left names a process
/// that is gone; or it answers at its socket, whose process may have another number outside its sandbox.
pub fn is_in_use(directory: &Path) -> bool {
    if UnixStream::connect(directory.join("SingletonSocket")).is_ok() {
        return true;
    }
    let Ok(target) = fs::read_link(directory.join("SingletonLock")) else { return false };
    let text = target.to_string_lossy();
    let Some((host, pid)) = text.rsplit_once('-') else { return false };
    let elsewhere = host != host_name();
    elsewhere || Path::new("/proc").join(pid).exists()
}

/// This machine's name, as the kernel has it.
pub fn host_name() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    printable(text.lines().next().unwrap_or_default().trim(), MAX_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant(directory: &Path, profiles: &[(&str, &str, f64)]) {
        let mut info = serde_json::Map::new();
        for (profile, name, time) in profiles {
            fs::create_dir_all(directory.join(profile)).unwrap();
            fs::write(directory.join(profile).join("Preferences"), "{}").unwrap();
            info.insert((*profile).into(), serde_json::json!({ "name": name, "active_time": time }));
        }
        let state = serde_json::json!({ "profile": { "info_cache": info } });
        fs::write(directory.join("Local State"), state.to_string()).unwrap();
    }

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home { directory: directory.path().canonicalize().unwrap(), config: None };
        (directory, home)
    }

    #[test]
    fn profiles_are_found_by_directory_by_name_and_by_last_use() {
        let (_kept, home) = home();
        let chrome = home.directory.join(".config/google-chrome");
        plant(&chrome, &[("Default", "Me", 10.0), ("Profile 1", "Work", 20.0), ("Profile 2", "Work", 5.0)]);
        fs::create_dir_all(chrome.join("System Profile")).unwrap();
        fs::write(chrome.join("System Profile/Preferences"), "{}").unwrap();
        fs::create_dir_all(chrome.join("Crash Reports")).unwrap();
        let told: Vec<_> = home.all().into_iter().map(|found| (found.profile, found.last_used)).collect();
        let expected = [("Profile 1", 20), ("Default", 10), ("Profile 2", 5)];
        assert_eq!(told, expected.map(|(name, time)| (name.to_owned(), Some(time))));
        let chosen = |profile| home.choose("chrome", profile).map(|source| source.profile);
        assert_eq!(chosen(None).unwrap(), "Profile 1");
        assert_eq!(chosen(Some("Me")).unwrap(), "Default");
        assert_eq!(chosen(Some("Profile 2")).unwrap(), "Profile 2");
        assert!(matches!(chosen(Some("Work")), Err(ImportError::Ambiguous { count: 2, .. })));
        assert!(
            matches!(chosen(Some("Nobody")), Err(ImportError::NoProfile { known, .. }) if known.len() == 3)
        );
        assert!(matches!(home.choose("edge", None), Err(ImportError::NoBrowser { .. })));
        let path = chrome.to_str().unwrap();
        let by_path = home.choose(path, Some("Me")).unwrap();
        assert_eq!((by_path.browser, by_path.profile.as_str()), (Some(Browser::Chrome), "Default"));
        let inner = home.choose(&format!("{path}/Profile 1"), None).unwrap();
        assert_eq!((inner.directory, inner.profile.as_str()), (chrome, "Profile 1"));
    }

    #[test]
    fn of_two_channels_the_one_used_last_is_meant_unless_it_lacks_the_profile() {
        let (_kept, home) = home();
        plant(&home.directory.join(".config/google-chrome"), &[("Default", "Old", 10.0)]);
        plant(&home.directory.join(".config/google-chrome-beta"), &[("Default", "New", 20.0)]);
        assert!(home.choose("chrome", None).unwrap().directory.ends_with("google-chrome-beta"));
        assert!(home.choose("chrome", Some("Old")).unwrap().directory.ends_with("google-chrome"));
    }

    #[test]
    fn what_is_no_browser_is_not_taken_for_one() {
        let (_kept, home) = home();
        let empty = home.directory.join("empty");
        fs::create_dir(&empty).unwrap();
        let refused = |path: &Path| home.choose(path.to_str().unwrap(), None).unwrap_err();
        assert!(matches!(refused(&empty), ImportError::NotABrowser(_)));
        assert!(matches!(refused(&home.directory.join("nowhere")), ImportError::Read { .. }));
        plant(&home.directory.join("real"), &[("Default", "x", 1.0)]);
        fs::create_dir(home.directory.join("linked")).unwrap();
        std::os::unix::fs::symlink(
            home.directory.join("real/Default"),
            home.directory.join("linked/Default"),
        )
        .unwrap();
        assert!(matches!(refused(&home.directory.join("linked")), ImportError::NotABrowser(_)));
    }

    #[test]
    fn a_lock_counts_while_its_process_lives() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("SingletonLock");
        assert!(!is_in_use(directory.path()));
        let host = host_name();
        let cases = [
            (format!("{host}-{}", std::process::id()), true),
            (format!("{host}-999999999"), false),
            (format!("not{host}-1"), true),
        ];
        for (target, expected) in cases {
            let _ = fs::remove_file(&lock);
            std::os::unix::fs::symlink(&target, &lock).unwrap();
            assert_eq!(is_in_use(directory.path()), expected, "{target}");
        }
    }
}
