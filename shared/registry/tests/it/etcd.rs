//! etcd: the contract, and what only etcd does.

mod access;
mod cluster;
mod entries;
mod lease;
mod resume;

use cbrowse_protocol::node::NodeRecord;
use cbrowse_testkit::etcd::Etcd;

use crate::contract::{Server, contract};

impl Server for Etcd {
    fn uri(&self) -> String {
        Etcd::uri(self)
    }

    async fn restart_empty(&mut self) {
        Etcd::restart_empty(self).await.expect("etcd comes back");
    }

    fn kill(&mut self) {
        Etcd::kill(self);
    }
}

async fn start() -> Etcd {
    Etcd::start().await.expect("etcd starts")
}

/// As an operator does by hand.
async fn put(etcd: &Etcd, key: &str, value: &str) {
    etcd.ctl(&["put", "--", key, value]).await.expect("an operator writes");
}

fn text(record: &NodeRecord) -> String {
    serde_json::to_string(record).expect("a record")
}

contract!(start);
