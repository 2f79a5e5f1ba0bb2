use std::fs;

use serde_json::json;

use super::*;
use crate::{
    authority::Authority,
    directory::DirectoryStore,
    grant::{Grant, SessionSecret},
    head::Closing,
    keys::{AccountKey, ProfileKeys},
    meter::Meter,
    object::copy_objects,
    proposal::propose,
    restore::{Restored, restore, restore_without_extensions},
    save::SaveMeta,
    scan::Reason,
    secret::SystemRandom,
    snapshot::{Snapshot, open_snapshot},
};

const STORE_KEY: &str = "Y2Jyb3dzZSBleHRlbnNpb25zIHRlc3Qga2V5";

struct Ground {
    directory: tempfile::TempDir,
    authority: Authority,
    keys: ProfileKeys,
    node: DirectoryStore,
}

fn meta(now: u64) -> SaveMeta {
    SaveMeta { now, device: "d".into(), browser_version: "156".into(), closing: Closing::Clean }
}

fn unpacked_id() -> ExtensionId {
    "abcdefghijklmnopabcdefghijklmnop".parse().unwrap()
}

fn store_id() -> ExtensionId {
    code::id_of_key(STORE_KEY).unwrap()
}

impl Ground {
    /// A browser with one extension from a store, one loaded unpacked without a key, an app, and a part of the browser.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let account = AccountKey::from_bytes([1; 32]);
        let authority = Authority::create(
            &root.join("profiles"),
            &"work".parse().unwrap(),
            &account,
            1,
            &mut SystemRandom,
        )
        .unwrap();
        let keys = authority.keys(&account).unwrap();
        let node = DirectoryStore::open(root.join("node")).unwrap();
        let ground = Self { directory, authority, keys, node };
        let (store, unpacked) = (store_id(), unpacked_id());
        let app = ExtensionId("p".repeat(32));
        ground.plant("browser/Default/Cookies", b"cookies");
        let manifest =
            json!({ "name": "__MSG_title__", "version": "1.2", "default_locale": "en", "key": STORE_KEY });
        let code = format!("browser/Default/Extensions/{store}/1.2_0");
        ground.plant(&format!("{code}/manifest.json"), manifest.to_string().as_bytes());
        ground.plant(&format!("{code}/_locales/en/messages.json"), br#"{"Title":{"message":"Clock"}}"#);
        ground.plant(&format!("{code}/_metadata/verified_contents.json"), b"[]");
        ground.plant(&format!("{code}/background.js"), b"one()");
        ground.plant(&format!("browser/Default/Local Extension Settings/{store}/000003.log"), b"clock state");
        ground.plant("unpacked/manifest.json", br#"{"name":"Mine","version":"3","permissions":["proxy"]}"#);
        ground.plant("unpacked/mine.js", b"mine()");
        ground.plant(&format!("browser/Default/Local Extension Settings/{unpacked}/000003.log"), b"my state");
        let database =
            format!("browser/Default/IndexedDB/chrome-extension_{unpacked}_0.indexeddb.leveldb/CURRENT");
        ground.plant(&database, b"of the old id");
        ground.plant(
            &format!("browser/Default/Extensions/{app}/1_0/manifest.json"),
            br#"{"name":"a","version":"1","app":{}}"#,
        );
        let settings = json!({
            store.as_str(): { "location": 1, "path": format!("{store}/1.2_0") },
            unpacked.as_str(): { "location": 4, "path": ground.path("unpacked") },
            app.as_str(): { "location": 1, "path": format!("{app}/1_0") },
            "o".repeat(32): { "location": 5, "path": "/usr/share/chromium/resources/pdf" },
            "n".repeat(32): { "location": 1, "path": format!("{}/../../x", "n".repeat(32)) },
        });
        let preferences = json!({ "extensions": { "settings": settings } });
        ground.plant("browser/Default/Secure Preferences", preferences.to_string().as_bytes());
        ground
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn plant(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn found(&self) -> Vec<Installed> {
        let mut apps = 0;
        let found = find(&self.path("browser"), |_, error| {
            assert!(matches!(error, CodeError::App(_)), "{error:?}");
            apps += 1;
        });
        assert_eq!(apps, 1);
        found
    }

    fn sync(&self, choice: &str, now: u64) -> Vec<crate::scan::LeftBehind> {
        let chosen = choose(&self.found(), &choice.parse().unwrap()).unwrap();
        self.authority.allow_extensions(&chosen.word).unwrap();
        self.sync_again(now)
    }

    fn sync_again(&self, now: u64) -> Vec<crate::scan::LeftBehind> {
        let data = self.path("browser");
        self.authority.sync(&data, &self.keys, &meta(now), &mut SystemRandom).unwrap().left_behind
    }

    fn snapshot(&self) -> Snapshot {
        self.authority.snapshot(&self.keys).unwrap().unwrap()
    }

    fn paths(&self) -> Vec<String> {
        let ours = |path: &&String| path.contains("xtension");
        let snapshot = self.snapshot();
        let paths: Vec<String> = snapshot.manifest().files().iter().map(|file| file.path.clone()).collect();
        paths.iter().filter(ours).cloned().collect()
    }

    fn restored(&self, name: &str) -> Restored {
        restore(&self.snapshot(), self.authority.store(), &self.path(name)).unwrap()
    }
}

fn mine() -> ExtensionId {
    let ground = Ground::new();
    let found = ground.found();
    let mine = found.iter().find(|one| one.allowed.known_as == unpacked_id()).unwrap();
    mine.allowed.listed.id.clone()
}

#[test]
fn an_extensions_id_is_what_chromium_makes_of_its_key() {
    // What Chromium 156 answered to `Extensions.loadUnpacked` for this key.
    let key = "Y2Jyb3dzZSB1bnBhY2tlZCBleHRlbnNpb24gdjEgZXhwZXJpbWVudA==";
    assert_eq!(code::id_of_key(key).unwrap().as_str(), "peaepfnnedhobpjhedhjcppdomfnmbkm");
    assert_eq!(code::id_of_key("no base64!"), None);
}

#[test]
fn what_a_browser_has_is_found_with_names_powers_and_stable_ids() {
    let ground = Ground::new();
    let found = ground.found();
    let seen: Vec<_> = found
        .iter()
        .map(|one| {
            (one.allowed.listed.name.as_str(), one.allowed.listed.version.as_str(), one.powers.clone())
        })
        .collect();
    assert_eq!(seen.len(), 2);
    assert!(
        seen.contains(&("Clock", "1.2", vec![])) && seen.contains(&("Mine", "3", vec!["proxy"])),
        "{seen:?}"
    );
    assert_eq!(mine(), mine(), "the same on every look");
    assert_ne!(mine(), unpacked_id());
}

#[test]
fn all_leaves_out_what_is_powerful_and_a_name_lets_it_in() {
    let found = Ground::new().found();
    let all = choose(&found, &Choice::All).unwrap();
    assert_eq!((all.word.allowed.len(), all.refused.len(), all.powerful.len()), (1, 1, 0));
    let named = choose(&found, &unpacked_id().as_str().parse().unwrap()).unwrap();
    assert_eq!((named.word.allowed.len(), named.refused.len(), named.powerful.len()), (1, 0, 1));
    assert_eq!(choose(&found, &Choice::None).unwrap().word, Word::new(vec![]));
    let unknown = choose(&found, &Choice::Named(vec!["d".repeat(32).parse().unwrap()]));
    assert!(matches!(unknown, Err(ChooseError::NotInstalled(_))));
    for bad in ["", "ALL", "abc", "all,none"] {
        assert!(bad.parse::<Choice>().is_err(), "{bad:?}");
    }
}

#[test]
fn nothing_of_an_extension_travels_without_the_users_word() {
    let ground = Ground::new();
    ground.sync_again(1);
    assert_eq!(ground.paths(), Vec::<String>::new());
    ground.sync("all", 2);
    assert_eq!(ground.paths().len(), 5, "{:?}", ground.paths());
    ground.sync("none", 3);
    assert_eq!(ground.paths(), Vec::<String>::new(), "and goes when it is taken back");
}

#[test]
fn an_allowed_extension_comes_back_with_its_state_and_an_unpacked_one_under_a_stable_id() {
    let ground = Ground::new();
    ground.sync(&format!("{},{}", store_id(), unpacked_id()), 1);
    assert!(ground.restored("out").stripped.is_empty());
    let out = ground.path("out/Default");
    assert_eq!(fs::read(out.join(format!("Extensions/{}/1.2/background.js", store_id()))).unwrap(), b"one()");
    assert!(!out.join(format!("Extensions/{}/1.2/_metadata", store_id())).exists());
    let mine = mine();
    let manifest = fs::read_to_string(out.join(format!("Extensions/{mine}/3/manifest.json"))).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(code::id_of_key(manifest["key"].as_str().unwrap()), Some(mine.clone()));
    assert_eq!(
        fs::read(out.join(format!("Local Extension Settings/{mine}/000003.log"))).unwrap(),
        b"my state"
    );
    assert!(!out.join("IndexedDB").exists(), "a database of the old id would not be found under the new one");
    assert!(!ground.path("out/cbrowse").exists());

    let none = ground.path("none");
    let stripped =
        restore_without_extensions(&ground.snapshot(), ground.authority.store(), &none, &Meter::default());
    assert!(stripped.unwrap().stripped.iter().all(|left| left.reason == Reason::Executable));
    assert!(
        !none.join("Default/Extensions").exists() && !none.join("Default/Local Extension Settings").exists()
    );
}

#[test]
fn an_extension_that_changed_waits_for_a_new_word_and_the_old_one_stays() {
    let ground = Ground::new();
    ground.sync("all", 1);
    let before = ground.paths();
    ground.plant(&format!("browser/Default/Extensions/{}/1.2_0/background.js", store_id()), b"two()");
    assert!(ground.sync_again(2).iter().all(|left| left.reason != Reason::NotAsAllowed));
    assert_eq!(ground.paths(), before);
    ground.restored("old");
    let code = format!("Default/Extensions/{}/1.2/background.js", store_id());
    assert_eq!(fs::read(ground.path("old").join(&code)).unwrap(), b"one()");
    ground.sync("all", 3);
    ground.restored("new");
    assert_eq!(fs::read(ground.path("new").join(&code)).unwrap(), b"two()");

    let fresh = Ground::new();
    let chosen = choose(&fresh.found(), &Choice::All).unwrap();
    fresh.authority.allow_extensions(&chosen.word).unwrap();
    fresh.plant(&format!("browser/Default/Extensions/{}/1.2_0/background.js", store_id()), b"two()");
    let left = fresh.sync_again(1);
    assert!(left.iter().any(|left| left.reason == Reason::NotAsAllowed), "{left:?}");
    assert_eq!(fresh.paths(), Vec::<String>::new());
}

#[test]
fn a_session_keeps_extensions_and_brings_their_state_home() {
    let ground = Ground::new();
    ground.sync("all", 1);
    let base = ground.snapshot();
    copy_objects(&base.objects(), ground.authority.store(), &ground.node).unwrap();
    let state = format!("Default/Local Extension Settings/{}/000003.log", store_id());
    for (round, carries) in [(2_u64, true), (3, false)] {
        let base = ground.snapshot();
        copy_objects(&base.objects(), ground.authority.store(), &ground.node).unwrap();
        let (_, public) = SessionSecret::generate(&mut SystemRandom);
        let grant = Grant::new(&ground.keys, &public, "n".parse().unwrap(), Some(&base), 100);
        let opened = open_snapshot(&base.name(), &ground.node, &grant.access().unwrap()).unwrap();
        let data = ground.path(&format!("session{round}"));
        if carries {
            restore(&opened, &ground.node, &data).unwrap();
            // As a worker does before Chromium starts.
            fs::rename(data.join("Default/Extensions"), ground.path("loaded")).unwrap();
            fs::write(data.join(&state), b"ticked").unwrap();
        } else {
            restore_without_extensions(&opened, &ground.node, &data, &Meter::default()).unwrap();
        }
        fs::write(data.join("Default/Cookies"), format!("{round}")).unwrap();
        let (proposal, _) =
            propose(&data, &grant, Some(&opened), &ground.node, &meta(round), &mut SystemRandom).unwrap();
        let accepted = ground.authority.accept(&proposal, &ground.keys, &ground.node, &mut SystemRandom);
        assert!(matches!(accepted, Ok(crate::authority::Accepted::Current(_))), "{accepted:?}");
        ground.restored(&format!("home{round}"));
        let home = ground.path(&format!("home{round}"));
        assert_eq!(fs::read(home.join(&state)).unwrap(), b"ticked", "a node that wants none loses none");
        assert!(home.join(format!("Default/Extensions/{}/1.2/background.js", store_id())).exists());
    }
}

#[test]
fn a_word_and_a_listing_survive_their_text_and_nonsense_says_nothing() {
    let listed = Listed {
        id: store_id(),
        version: "1.2".into(),
        name: "Clock".into(),
        hash: ContentHash(ObjectName::of(b"x")),
    };
    let listing = Listing { version: LISTING_VERSION, extensions: vec![listed.clone()] };
    assert_eq!(Listing::decode(&listing.encode()).into_values().collect::<Vec<_>>(), listing.extensions);
    assert_eq!(
        String::from_utf8(listing.encode()).unwrap(),
        format!(
            r#"{{"version":1,"extensions":[{{"id":"{}","version":"1.2","name":"Clock","hash":"{}"}}]}}"#,
            store_id(),
            ObjectName::of(b"x")
        ),
        "part of format version 1"
    );
    let allowed = Allowed { listed: listed.clone(), known_as: unpacked_id(), path: "/x".into() };
    let word = Word::new(vec![allowed]);
    assert_eq!(Word::decode(&word.encode()), Some(word));
    let many = Listing { version: 1, extensions: vec![listed.clone(); MAX_EXTENSIONS + 1] };
    let later = Listing { version: 2, extensions: vec![listed.clone()] };
    let climbing =
        Listing { version: 1, extensions: vec![Listed { version: "../x".into(), ..listed.clone() }] };
    let painted = Listing { version: 1, extensions: vec![Listed { name: "\u{1b}[2J".into(), ..listed }] };
    for listing in [many, later, climbing, painted] {
        assert!(Listing::decode(&listing.encode()).is_empty());
    }
    for nonsense in [&b""[..], b"[]", b"{", b"{\"version\":1}"] {
        assert_eq!(decode_listing(nonsense), 0);
        assert_eq!(Word::decode(nonsense), None);
    }
}
