//! Which nodes were sent a profile's sealed objects: noted before the first one leaves, so that a deletion knows where to
//! go. One small file a node, beside the profile itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cbrowse_profile::authority::HeadRef;
use cbrowse_protocol::{identity::IdentityKey, node::NodeRecord};
use serde::{Deserialize, Serialize};

use crate::private_file::{self, FileError};

/// Seconds for which a node's word that it holds a generation is not asked for again. Longer: a node that lost its disk is
/// noticed later; shorter: whoever syncs by a timer asks the whole fleet each time that nothing changed.
pub const CONFIRMED_FOR: u64 = 3600;
/// Longest file in bytes; a record with all its metadata fits.
const MAX_LENGTH: u64 = 256 * 1024;

fn file(profile: &Path, identity: &IdentityKey) -> PathBuf {
    profile.join("copies").join(format!("node-{identity}.json"))
}

/// Notes that the node with this identity holds objects of the profile in the directory `profile`, or soon will.
/// A later note of the same node replaces an older address, and keeps an id that says more than an address.
pub fn note(profile: &Path, identity: &IdentityKey, node: &NodeRecord) -> Result<(), FileError> {
    let path = file(profile, identity);
    let known = read(&path);
    let is_named = node.id.as_str() != node.endpoint();
    let same_place = known.as_ref().is_some_and(|known| known.endpoint() == node.endpoint());
    if same_place && !is_named {
        return Ok(());
    }
    let mut noted = NodeRecord { identity: Some(*identity), ..node.clone() };
    // An address of before would say less than the one of now.
    if let Some(known) = known.filter(|known| !is_named && known.id.as_str() != known.endpoint()) {
        noted.id = known.id;
    }
    let bytes = serde_json::to_vec(&noted).expect("records serialize");
    let _held = private_file::lock(&path)?;
    private_file::replace(&path, &bytes)
}

/// A node's word that it holds everything of a generation, and points to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Which node.
    pub identity: IdentityKey,
    /// Which generation.
    pub head: HeadRef,
    /// Seconds since the Unix epoch, by this machine's clock.
    pub time: u64,
}

fn confirmations(profile: &Path) -> PathBuf {
    profile.join("copies").join("confirmed")
}

/// Notes it in the place of whatever was confirmed before.
pub fn confirm(profile: &Path, confirmation: &Confirmation) -> Result<(), FileError> {
    let path = confirmations(profile);
    let bytes = serde_json::to_vec(confirmation).expect("plain data serializes");
    let _held = private_file::lock(&path)?;
    private_file::replace_lightly(&path, &bytes)
}

/// The last confirmation, if it is about `head` and neither old nor from the future.
pub fn confirmed(profile: &Path, head: &HeadRef, now: u64) -> Option<Confirmation> {
    let bytes = private_file::read(&confirmations(profile), MAX_LENGTH).ok().flatten()?;
    let known: Confirmation = serde_json::from_slice(&bytes).ok()?;
    let age = now.checked_sub(known.time)?;
    (known.head == *head && age <= CONFIRMED_FOR).then_some(known)
}

/// Nobody's word counts any more.
pub fn doubt(profile: &Path) {
    let _already_gone = fs::remove_file(confirmations(profile));
}

/// Every node that was noted, by id. A file that cannot be read names nobody.
pub fn list(profile: &Path) -> Vec<NodeRecord> {
    let Ok(entries) = fs::read_dir(profile.join("copies")) else { return Vec::new() };
    let mut nodes: Vec<NodeRecord> = entries.flatten().filter_map(|entry| read(&entry.path())).collect();
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    nodes
}

/// The node holds nothing any more.
pub fn forget(profile: &Path, identity: &IdentityKey) {
    let _already_gone = fs::remove_file(file(profile, identity));
}

fn read(path: &Path) -> Option<NodeRecord> {
    let is_note = path.extension().is_some_and(|extension| extension == "json");
    let bytes = private_file::read(path, MAX_LENGTH).ok().flatten().filter(|_| is_note)?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use cbrowse_profile::object::ObjectName;
    use cbrowse_protocol::identity::SigningKey;

    use super::*;

    fn node(id: &str, port: u16) -> NodeRecord {
        serde_json::from_value(serde_json::json!({"id": id, "address": "192.0.2.1", "port": port})).unwrap()
    }

    #[test]
    fn a_confirmation_counts_for_its_generation_and_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let head = |generation| HeadRef { generation, name: ObjectName::of(b"head") };
        let identity = SigningKey::generate().public();
        let confirmation = Confirmation { identity, head: head(3), time: 1000 };
        let known = |of, now| confirmed(directory.path(), &head(of), now);
        assert_eq!(known(3, 1000), None);
        confirm(directory.path(), &confirmation).unwrap();
        assert!(list(directory.path()).is_empty(), "it is no copy");
        assert_eq!(known(3, 1000), Some(confirmation.clone()));
        assert_eq!(known(3, 1000 + CONFIRMED_FOR), Some(confirmation));
        assert_eq!(known(3, 1000 + CONFIRMED_FOR + 1), None);
        assert_eq!((known(4, 1000), known(3, 999)), (None, None));
        doubt(directory.path());
        assert_eq!(known(3, 1000), None);
    }

    #[test]
    fn a_node_is_noted_once_with_its_newest_address_and_best_name() {
        let directory = tempfile::tempdir().unwrap();
        let identity = SigningKey::generate().public();
        note(directory.path(), &identity, &node("192.0.2.1:7", 7)).unwrap();
        note(directory.path(), &identity, &node("192.0.2.1:1", 1)).unwrap();
        assert_eq!(list(directory.path())[0].id.as_str(), "192.0.2.1:1", "where it was before names nothing");
        note(directory.path(), &identity, &node("eu-1", 1)).unwrap();
        note(directory.path(), &identity, &node("192.0.2.1:2", 2)).unwrap();
        let noted = list(directory.path());
        let told: Vec<_> = noted.iter().map(|node| (node.id.as_str(), node.port, node.identity)).collect();
        assert_eq!(told, [("eu-1", 2, Some(identity))]);
        forget(directory.path(), &identity);
        assert!(list(directory.path()).is_empty());
    }
}
