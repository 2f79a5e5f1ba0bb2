//! Cookies that a running browser holds in memory: kept beside its files in every autosave, handed to the next browser.
//!
//! Chromium writes cookies to its disk about every 30 s. What DevTools tells of them in between goes to
//! [`COOKIES_FILE`] in the data directory; after a clean close the file is removed, since the browser's own database has
//! everything then, session cookies too.
//!
//! ```text
//! {"version": 1, "cookies": [what `Storage.getCookies` tells of each, ordered by domain, path, name and partition]}
//! ```

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cbrowse_profile::allowlist::COOKIES_FILE;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Of the file's layout. A newer one is passed over: the browser's own database is there all the same.
const VERSION: u32 = 1;
/// Longest file in bytes. Chromium keeps at most 3,300 cookies of at most 4 KiB and their attributes.
const MAX_LENGTH: u64 = 32 * 1024 * 1024;
/// Most cookies in it; Chromium itself keeps 3,300, partitioned ones apart. What is past it is dropped.
const MAX_COOKIES: usize = 10_000;
/// What `Storage.setCookies` takes as `Storage.getCookies` gives it; domain and expiry need another shape.
const SAME: [&str; 10] = [
    "name",
    "value",
    "path",
    "secure",
    "httpOnly",
    "sameSite",
    "priority",
    "sourceScheme",
    "sourcePort",
    "partitionKey",
];

#[derive(Serialize, Deserialize)]
struct Jar {
    version: u32,
    cookies: Vec<Value>,
}

/// Where the file is.
pub fn file(data: &Path) -> PathBuf {
    data.join(COOKIES_FILE)
}

/// The file's bytes for what `Storage.getCookies` answered. Equal cookies make equal bytes, so that nothing new is saved
/// while nothing changes; `None` for an answer that holds none.
pub fn encode(answer: &Value) -> Option<Vec<u8>> {
    let mut cookies = answer["cookies"].as_array()?.clone();
    cookies.truncate(MAX_COOKIES);
    cookies.sort_by_cached_key(key);
    let bytes = serde_json::to_vec(&Jar { version: VERSION, cookies }).expect("JSON values serialize");
    (bytes.len() as u64 <= MAX_LENGTH).then_some(bytes)
}

/// Puts the bytes into the file, in full or not at all.
pub fn write(data: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let path = file(data);
    let directory = path.parent().expect("it lies in a directory of its own");
    fs::create_dir_all(directory)?;
    // The name of what is never carried along.
    let draft = path.with_extension("tmp");
    let mut options = fs::OpenOptions::new();
    let mut drafted = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    drafted.write_all(bytes)?;
    fs::rename(draft, path)
}

/// The browser has written everything down.
pub fn remove(data: &Path) {
    let _never_written = fs::remove_file(file(data));
}

/// What an earlier session's browser held; nothing for a file that is not there or cannot be understood.
pub fn read(data: &Path) -> Vec<Value> {
    let path = file(data);
    let is_fit = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= MAX_LENGTH);
    let bytes = if is_fit { fs::read(&path).ok() } else { None };
    bytes.map(|bytes| decode(&bytes)).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Vec<Value> {
    match serde_json::from_slice::<Jar>(bytes) {
        Ok(Jar { version: VERSION, mut cookies }) => {
            cookies.truncate(MAX_COOKIES);
            cookies
        }
        Ok(Jar { version, .. }) => {
            tracing::warn!("the profile's cookies of a running browser have version {version}; passed over");
            Vec::new()
        }
        Err(error) => {
            tracing::warn!("the profile's cookies of a running browser cannot be read: {error}");
            Vec::new()
        }
    }
}

/// What the browser is to be given, as `Storage.setCookies` takes it: of what was `saved`, what its own database, read
/// as `present`, lacks or has in an older form. `now` in seconds since the epoch; what has expired by then stays behind.
///
/// Neither says when a cookie was set. A renewed one expires later; where that does not tell them apart, what was saved
/// from memory is newer than what had reached the disk by then.
pub fn to_hand_over(saved: &[Value], present: &[Value], now: u64) -> Vec<Value> {
    let known: HashMap<_, _> = present.iter().map(|cookie| (key(cookie), cookie)).collect();
    let is_wanted = |cookie: &&Value| {
        !has_expired(cookie, now)
            && known.get(&key(cookie)).is_none_or(|present| {
                expiry(cookie) >= expiry(present) && cookie["value"] != present["value"]
            })
    };
    saved.iter().filter(is_wanted).filter_map(parameter).collect()
}

/// What makes two cookies the same one (RFC 6265 section 5.3, and the partition).
fn key(cookie: &Value) -> [String; 4] {
    ["domain", "path", "name", "partitionKey"].map(|field| cookie[field].to_string())
}

/// In seconds since the epoch; a session's cookie outlives every other, as far as anybody knows.
fn expiry(cookie: &Value) -> f64 {
    if cookie["session"] == true { f64::INFINITY } else { cookie["expires"].as_f64().unwrap_or(0.0) }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of this age of the world fit")]
fn has_expired(cookie: &Value, now: u64) -> bool {
    expiry(cookie) <= now as f64
}

/// `None` for what is no cookie, or one whose partition nobody can name.
fn parameter(cookie: &Value) -> Option<Value> {
    let domain = cookie["domain"].as_str().filter(|domain| !domain.is_empty())?;
    let path = cookie["path"].as_str().filter(|path| path.starts_with('/'))?;
    if cookie["partitionKeyOpaque"] == true {
        return None;
    }
    let mut given: Map<String, Value> =
        SAME.iter().filter_map(|field| Some(((*field).to_owned(), cookie.get(*field)?.clone()))).collect();
    if cookie["session"] != true {
        given.insert("expires".into(), cookie["expires"].clone());
    }
    // A domain is taken for all that lies below it; a cookie of one host alone is named by an address of that host.
    if domain.starts_with('.') {
        given.insert("domain".into(), json!(domain));
    } else {
        let scheme = if cookie["sourceScheme"] == "Secure" { "https" } else { "http" };
        given.insert("url".into(), json!(format!("{scheme}://{domain}{path}")));
    }
    Some(Value::Object(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Chromium 156 tells it.
    fn cookie(name: &str, value: &str, expires: f64) -> Value {
        json!({
            "name": name, "value": value, "domain": "a.example", "path": "/", "expires": expires, "size": 5,
            "httpOnly": true, "secure": false, "session": expires < 0.0, "priority": "Medium",
            "sourceScheme": "NonSecure", "sourcePort": 80
        })
    }

    fn names(given: &[Value]) -> Vec<&str> {
        given.iter().map(|cookie| cookie["name"].as_str().expect("a name")).collect()
    }

    #[test]
    fn the_next_browser_gets_what_it_lacks_and_what_is_newer() {
        let now = 1000;
        let saved = [
            cookie("missing", "1", 2000.0),
            cookie("session", "1", -1.0),
            cookie("gone", "1", 1000.0),
            cookie("just", "1", 1000.5),
            cookie("same", "1", 2000.0),
            cookie("renewed", "2", 2000.0),
            cookie("renewed there", "1", 2000.0),
            cookie("other session", "2", -1.0),
        ];
        let present = [
            cookie("same", "1", 2000.0),
            cookie("renewed", "1", 2000.0),
            cookie("renewed there", "2", 3000.0),
            cookie("other session", "1", -1.0),
            cookie("untouched", "1", 2000.0),
        ];
        let given = to_hand_over(&saved, &present, now);
        assert_eq!(names(&given), ["missing", "session", "just", "renewed", "other session"]);
        assert_eq!(given[1].get("expires"), None, "a session's cookie stays one");
        assert_eq!(given[0]["expires"], 2000.0);
    }

    #[test]
    fn a_cookie_of_one_host_stays_with_it_and_a_partition_is_kept() {
        let mut wide = cookie("wide", "1", 2000.0);
        wide["domain"] = json!(".example");
        let mut parted = cookie("parted", "1", -1.0);
        (parted["secure"], parted["sourceScheme"]) = (json!(true), json!("Secure"));
        parted["partitionKey"] = json!({ "topLevelSite": "https://b.example", "hasCrossSiteAncestor": true });
        let mut opaque = cookie("opaque", "1", -1.0);
        opaque["partitionKeyOpaque"] = json!(true);
        let given = to_hand_over(&[cookie("one", "1", 2000.0), wide, parted.clone(), opaque], &[], 0);
        assert_eq!(names(&given), ["one", "wide", "parted"]);
        assert_eq!((given[0].get("domain"), &given[0]["url"]), (None, &json!("http://a.example/")));
        assert_eq!((given[1].get("url"), &given[1]["domain"]), (None, &json!(".example")));
        assert_eq!(given[2]["partitionKey"], parted["partitionKey"]);
        assert_eq!(given[2]["url"], "https://a.example/");
        // The same name elsewhere is another cookie.
        let whole = cookie("parted", "1", -1.0);
        assert_eq!(to_hand_over(std::slice::from_ref(&parted), &[whole], 0).len(), 1);
    }

    #[test]
    fn the_file_is_the_same_for_the_same_cookies_and_survives_itself() {
        let (one, other) = (cookie("a", "1", 2000.0), cookie("b", "2", -1.0));
        let bytes = encode(&json!({ "cookies": [one, other] })).expect("cookies");
        assert_eq!(encode(&json!({ "cookies": [other, one] })), Some(bytes.clone()));
        let data = tempfile::tempdir().expect("a directory");
        write(data.path(), &bytes).expect("write");
        assert_eq!(read(data.path()), [one, other]);
        assert_eq!(fs::read_dir(data.path().join("cbrowse")).expect("a directory").count(), 1);
        remove(data.path());
        assert!(read(data.path()).is_empty());
        assert_eq!(encode(&json!({})), None, "no answer is no empty jar");
    }

    #[test]
    fn a_file_that_is_no_jar_hands_nothing_over() {
        let bytes = encode(&json!({ "cookies": [cookie("a", "1", 2000.0)] })).expect("cookies");
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_empty(), "cut at {end}");
        }
        assert!(decode(br#"{"version":2,"cookies":[{}]}"#).is_empty());
        for strange in [json!(1), json!({}), json!({ "domain": "x", "path": "y" }), json!({ "domain": 1 })] {
            assert!(to_hand_over(&[strange], &[], 0).is_empty());
        }
    }
}
