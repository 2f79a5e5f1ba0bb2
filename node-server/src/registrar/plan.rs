//! What has to be done so that the nodes looked after are those of the file.

use std::collections::BTreeMap;

use cbrowse_protocol::id::NodeId;

use super::Target;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be deregistered.
    pub(super) gone: Vec<NodeId>,
    /// New, or other than before.
    pub(super) changed: Vec<Target>,
}

/// Compares what is looked after with what the file says.
pub(super) fn plan<'a>(known: impl Iterator<Item = (&'a NodeId, Target)>, fresh: Vec<Target>) -> Plan {
    let known: BTreeMap<_, _> = known.collect();
    let fresh: BTreeMap<_, _> = fresh.into_iter().map(|target| (target.record.id.clone(), target)).collect();
    let gone = known.keys().filter(|id| !fresh.contains_key(**id)).map(|id| (*id).clone()).collect();
    let changed = fresh.into_iter().filter(|(id, target)| known.get(id) != Some(target));
    Plan { gone, changed: changed.map(|(_, target)| target).collect() }
}

#[cfg(test)]
mod tests {
    use super::{super::CheckKind, *};

    fn target(id: &str, port: u16) -> Target {
        let record = serde_json::json!({"id": id, "address": "127.0.0.1", "port": port});
        Target::new(serde_json::from_value(record).expect("a record"), CheckKind::Tcp).expect("a target")
    }

    #[test]
    fn only_what_differs_is_done() {
        let known = [target("a", 1), target("b", 1), target("c", 1)];
        let compare = |fresh: Vec<Target>| plan(known.iter().map(|t| (&t.record.id, t.clone())), fresh);
        assert_eq!(compare(known.to_vec()), Plan::default());
        let moved = compare(vec![target("c", 2), target("d", 1), target("a", 1)]);
        assert_eq!(moved.gone, [known[1].record.id.clone()]);
        assert_eq!(moved.changed, [target("c", 2), target("d", 1)]);
        assert_eq!(compare(Vec::new()).gone.len(), 3);
    }
}
