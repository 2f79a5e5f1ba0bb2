//! Nacos: the contract, and what only Nacos does. r-nacos, the real server of these tests, takes minutes to build, so
//! what needs it is left to `./test.sh --long`.

mod documented;
mod instances;
mod login;
mod tls;
mod v3;

use cbrowse_testkit::nacos::Nacos;

use crate::contract::{Server, contract};

impl Server for Nacos {
    fn uri(&self) -> String {
        Nacos::uri(self)
    }

    async fn restart_empty(&mut self) {
        Nacos::restart_empty(self).await.expect("rnacos comes back");
    }

    fn kill(&mut self) {
        Nacos::kill(self);
    }
}

pub(crate) async fn start() -> Nacos {
    Nacos::start().await.expect("rnacos starts")
}

contract!(start, #[ignore = "needs r-nacos: ./test.sh --long installs it"]);
