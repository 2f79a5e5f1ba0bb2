//! A look at a copy for somebody who waits at a prompt: the fields that are asked for, and no others, are read.

use std::fs::File;

use cbrowse_registry::{CatalogUri, Query};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Cache, VERSION, read_limited, text_of};

/// The same as [`super::Content`], of nodes of which only `T` matters: the rest is passed over, which takes a tenth of the
/// time that reading it would.
#[derive(Deserialize)]
struct Glance<T> {
    version: u32,
    catalog: String,
    #[serde(default)]
    query: String,
    nodes: Vec<T>,
}

impl Cache {
    /// What `T` holds of the nodes of one catalog's last answer; nothing where that cannot be read. Nothing is checked
    /// either: it is for showing, and whoever shows it looks for what could drive a terminal.
    pub fn glance<T: DeserializeOwned>(&self, uri: &CatalogUri) -> Vec<T> {
        let whole = Query::default();
        let bytes = File::open(self.path(uri, &whole)).and_then(|mut file| read_limited(&mut file));
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let read = text.and_then(|text| serde_json::from_str::<Glance<T>>(&text).ok());
        let is_ours = |seen: &Glance<T>| {
            seen.version == VERSION && seen.catalog == uri.to_string() && seen.query == text_of(&whole)
        };
        read.filter(is_ours).map(|seen| seen.nodes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cbrowse_registry::Listing;

    use super::*;
    use crate::discover::cache::{Rules, now};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Region {
        region: String,
    }

    #[test]
    fn a_glance_sees_what_was_stored_and_of_no_other_catalog() {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = Rules { ttl: Duration::ZERO, refresh: Duration::ZERO, size: 1 << 20 };
        let cache = Cache::new(directory.path().to_owned(), rules);
        let uri = |text: &str| -> CatalogUri { text.parse().expect("a catalog") };
        let (mine, other) = (uri("consul://127.0.0.1:1"), uri("consul://127.0.0.1:2"));
        let node = r#"{"id":"a","address":"192.0.2.1","port":1,"region":"eu","tags":["x"],"meta":{"k":"v"}}"#;
        let nodes = vec![serde_json::from_str(node).expect("a record")];
        let listing = Listing { nodes, ..Listing::default() };
        assert_eq!(cache.glance::<Region>(&mine), []);
        cache.store(&mine, &Query::default(), &listing, now()).expect("stored");
        assert_eq!(cache.glance::<Region>(&mine), [Region { region: "eu".into() }]);
        std::fs::rename(cache.path(&mine, &Query::default()), cache.path(&other, &Query::default()))
            .expect("moved");
        assert_eq!(cache.glance::<Region>(&other), [], "it is a copy of another catalog");
        std::fs::write(cache.path(&mine, &Query::default()), b"{broken").expect("written");
        assert_eq!(cache.glance::<Region>(&mine), []);
        assert!(cache.path(&mine, &Query::default()).exists(), "a prompt changes nothing");
    }
}
