//! Consul: the contract, and what only Consul does.

mod dns;
mod events;
mod failover;
mod fake;
mod filter;
mod health;
mod http;
mod settings;
mod tls;
mod watch;

use cbrowse_testkit::consul::Consul;

use crate::contract::{Server, contract};

impl Server for Consul {
    fn uri(&self) -> String {
        self.http_uri()
    }

    async fn restart_empty(&mut self) {
        self.restart().await.expect("consul comes back");
    }

    fn kill(&mut self) {
        Consul::kill(self);
    }
}

pub(crate) async fn start() -> Consul {
    Consul::start().await.expect("consul starts")
}

contract!(start);
