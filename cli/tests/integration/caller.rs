//! A user's client inside the test, for what the command itself never sends: the library's own connections to real nodes.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{sync::Arc, time::SystemTime};

use cbrowse::{
    attach::{
        connection::{Ask, ConnectionError, Response, TrustedConnection},
        finalist::{Interview, Judge, interview},
        journey::Plan,
    },
    context::{Globals, Paths},
    credentials::Credentials,
    output::Output,
    probe::Probed,
    select::{Constraints, Strategy},
    settings::{Flags, Settings},
    survey::Probing,
};
use cbrowse_protocol::{
    api::{Problem, SessionRequest},
    node::NodeRecord,
    token::Credential,
};
use cbrowse_registry::Listing;
use cbrowse_testkit::{fleet::Fleet, node::Node};
use http::Method;
use tempfile::TempDir;

/// One user with directories of its own.
pub(crate) struct Caller {
    _directory: TempDir,
    pub(crate) globals: Globals,
    pub(crate) credentials: Arc<Credentials>,
}

impl Caller {
    pub(crate) fn of(fleet: &Fleet, user: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::below(directory.path());
        // Nodes are named by a file of the user's own, which vouches for them.
        let flags = Flags { catalogs: vec!["file:nodes.json".into()], ..Flags::default() };
        let settings = Settings::resolve(&flags, &|_| None, &paths.settings()).unwrap();
        let credential = Credential::parse(&fleet.token(user).unwrap()).unwrap();
        let credentials = Credentials::new(&credential, None, SystemTime::now()).unwrap();
        let globals = Globals::new(Output::new(false, true, true), paths, settings);
        Self { _directory: directory, globals, credentials: Arc::new(credentials) }
    }

    fn judge(&self) -> Judge {
        Judge::of(&self.globals).unwrap().of_own_record()
    }

    /// A connection that may carry this user's token.
    pub(crate) async fn connect(&self, node: &Node) -> TrustedConnection {
        let record = serde_json::from_value(node.record()).unwrap();
        match interview(&Probed::unprobed(record), &self.judge()).await {
            Interview::Trusted(finalist) => finalist.connection,
            Interview::Failed(unanswered) => panic!("{unanswered:?}"),
            Interview::FirstUse(_) | Interview::Refused(_) => panic!("the catalog vouches for it"),
        }
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, node: &Node, ask: Ask<'_>) -> Result<Response, Problem> {
        self.ask_on(&mut self.connect(node).await, ask).await
    }

    pub(crate) async fn ask_on(
        &self,
        connection: &mut TrustedConnection,
        ask: Ask<'_>,
    ) -> Result<Response, Problem> {
        connection.request(ask, &self.credentials).await.map_err(|error| match error {
            ConnectionError::Refused { problem, .. } => *problem,
            other => panic!("{other}"),
        })
    }

    /// What `connect` without a profile plans.
    pub(crate) fn plan(&self, nodes: Vec<NodeRecord>) -> Plan {
        Plan {
            listing: Listing { nodes, ..Listing::default() },
            judge: self.judge(),
            constraints: Constraints::default(),
            strategy: Strategy::Latency,
            probing: Probing::All,
            history: None,
            request: SessionRequest::default(),
            profile: None,
            credentials: self.credentials.clone(),
        }
    }
}

/// `POST /v1/seats`.
pub(crate) fn seat() -> Ask<'static> {
    Ask::new(Method::POST, "/v1/seats")
}

/// `POST /v1/sessions`.
pub(crate) fn session() -> Ask<'static> {
    Ask::new(Method::POST, "/v1/sessions").json(&SessionRequest::default())
}
