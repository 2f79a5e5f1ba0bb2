//! A file as a catalog, read and edited under the eyes of a watch.

use std::path::Path;

use cbrowse_protocol::node::Health;
use cbrowse_registry::{CatalogError, Cause, Change, Options, Query, open};
use tempfile::TempDir;

use crate::support::{catalog, ids, list, next_change, record};

fn uri(directory: &TempDir, name: &str) -> String {
    format!("file:{}", directory.path().join(name).display())
}

/// As an editor does: never half a file.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("a new file");
    std::fs::rename(beside, path).expect("in place of the old one");
}

#[tokio::test]
async fn a_file_may_name_any_address_and_garbage_is_skipped() {
    let directory = TempDir::new().unwrap();
    let entry =
        |id: &str, address: &str| format!("[[nodes]]\nid = {id:?}\naddress = {address:?}\nport = 7443\n");
    let text = entry("a", "127.0.0.1") + &entry("b", "169.254.1.1") + &entry("c", "a b") + &entry("a", "::1");
    write(&directory.path().join("nodes.toml"), &text);
    let listing = list(&*catalog(&uri(&directory, "nodes.toml"))).await;
    assert_eq!(ids(&listing), ["a", "b"]);
    let entries: Vec<_> = listing.rejected.iter().map(|rejected| rejected.entry.as_str()).collect();
    assert_eq!(entries, ["c (line 9)", "a (line 13)"]);
}

#[tokio::test]
async fn what_was_listed_can_be_kept_as_a_file() {
    let directory = TempDir::new().unwrap();
    let node = record("n1", 7443);
    write(&directory.path().join("list.json"), &serde_json::to_string(&[&node]).unwrap());
    let listing = list(&*catalog(&uri(&directory, "list.json"))).await;
    assert_eq!(listing.nodes, [node]);
    write(&directory.path().join("whole.json"), &serde_json::to_string_pretty(&listing).unwrap());
    assert_eq!(list(&*catalog(&uri(&directory, "whole.json"))).await, listing);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_says_where_and_why() {
    let directory = TempDir::new().unwrap();
    write(&directory.path().join("broken.toml"), "[[nodes]]\nid = \"a\"\nport = = 1\n");
    std::fs::write(directory.path().join("bytes.toml"), b"# fine\n\xff\xfe").unwrap();
    for (name, part) in [
        ("broken.toml", "line 3"),
        ("bytes.toml", "line 2"),
        ("missing.toml", "no such file"),
        (".", "directory"),
    ] {
        let uri = uri(&directory, name);
        let error = catalog(&uri).list().await.expect_err(name);
        let text = error.to_string();
        assert!(text.contains(part) && text.contains(&uri), "{text}");
        assert!(!error.is_transient(), "{text}");
    }
}

#[tokio::test]
async fn edits_are_seen_and_a_broken_one_keeps_what_is_known() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("nodes.json");
    let mut changes = catalog(&uri(&directory, "nodes.json")).watch();
    assert_eq!(next_change(&mut changes).await, Change::DoesNotExist);
    write(&path, &serde_json::to_string(&[record("a", 1)]).unwrap());
    assert!(matches!(next_change(&mut changes).await, Change::Reset(listing) if ids(&listing) == ["a"]));
    write(&path, "[{\n");
    let error = futures_util::StreamExt::next(&mut changes).await.unwrap().expect_err("half a file");
    assert!(matches!(error, CatalogError::One { cause: Cause::Syntax { .. }, .. }), "{error}");
    write(&path, &serde_json::to_string(&[record("a", 1), record("b", 2)]).unwrap());
    assert!(matches!(next_change(&mut changes).await, Change::Add(new) if ids(&new) == ["b"]));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(next_change(&mut changes).await, Change::DoesNotExist);
}

#[tokio::test]
async fn a_swapped_link_is_seen_as_kubernetes_swaps_it() {
    // A ConfigMap's files are links to ..data/NAME, and ..data is a link that is swapped as a whole.
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let version = |name: &str, node: &str| {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("nodes.json"), serde_json::to_string(&[record(node, 1)]).unwrap())
            .unwrap();
        std::os::unix::fs::symlink(name, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    version("..1", "a");
    std::os::unix::fs::symlink("..data/nodes.json", at("nodes.json")).unwrap();
    let mut changes = catalog(&uri(&directory, "nodes.json")).watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(listing) if ids(&listing) == ["a"]));
    version("..2", "b");
    assert_eq!(next_change(&mut changes).await, Change::Remove(vec![record("a", 1).id]));
    assert!(matches!(next_change(&mut changes).await, Change::Add(new) if ids(&new) == ["b"]));
}

#[tokio::test]
async fn a_file_says_how_its_nodes_are() {
    let directory = TempDir::new().unwrap();
    let entry =
        |id: &str, more: &str| format!("[[nodes]]\nid = {id:?}\naddress = \"::1\"\nport = 1\n{more}\n");
    let text = entry("a", "")
        + &entry("b", "health = \"warning\"")
        + &entry("c", "health = \"critical\"")
        + &entry("d", "health = \"fine\"")
        + &entry("e", "weight = -1");
    write(&directory.path().join("nodes.toml"), &text);
    let query = Query { health: Health::ALL.into(), ..Query::default() };
    let uri = uri(&directory, "nodes.toml").parse().unwrap();
    let listing = open(&uri, &Options::default().with_query(query)).unwrap().list().await.unwrap();
    let found: Vec<_> = listing.nodes.iter().map(|node| (node.id.as_str(), node.health)).collect();
    assert_eq!(found, [("a", Health::Passing), ("b", Health::Warning), ("c", Health::Critical)]);
    for (rejected, part) in listing.rejected.iter().zip(["fine", "-1"]) {
        assert!(rejected.reason.contains(part), "{rejected:?}");
    }
    assert_eq!(listing.rejected.len(), 2);
}

#[tokio::test]
async fn a_megabyte_in_an_entry_is_neither_used_nor_repeated() {
    let directory = TempDir::new().unwrap();
    let long = "x".repeat(1 << 20);
    let mut node = serde_json::to_value(record("a", 1)).unwrap();
    node["meta"]["long"] = long.clone().into();
    let mut other = serde_json::to_value(record("b", 1)).unwrap();
    other["health"] = long.into();
    write(&directory.path().join("nodes.json"), &serde_json::json!([node, other]).to_string());
    let listing = list(&*catalog(&uri(&directory, "nodes.json"))).await;
    assert_eq!((listing.nodes.len(), listing.rejected.len()), (0, 2));
    assert!(listing.rejected.iter().all(|rejected| rejected.reason.len() < 1000), "{listing:?}");
}
