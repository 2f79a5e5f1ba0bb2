//! The ways to nodes that hold, or will hold, a profile: the fleet's with the user's credential, the private node with its own.

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::{identity::IdentityKey, node::NodeRecord};

use crate::{
    attach::finalist::{Finalist, Interview, Judge, interview},
    command::connect,
    context::Globals,
    credentials::Credentials,
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseArgs,
    local::{self, OwnNode},
    probe::Probed,
};

/// The private node ends by itself afterwards; nobody waits longer than this for it.
const OWN_NODE_PATIENCE: Duration = Duration::from_secs(5);

/// Credentials and the private node, each made when first needed.
pub(super) struct Doors<'a> {
    globals: &'a Globals,
    passphrase: &'a PassphraseArgs,
    pub(super) judge: Judge,
    fleet: Option<Result<Arc<Credentials>, Failure>>,
    own: Option<Result<(OwnNode, Arc<Credentials>), Failure>>,
}

/// A node that may be asked, as whom.
pub(super) struct Door {
    pub(super) finalist: Finalist,
    pub(super) credentials: Arc<Credentials>,
}

impl<'a> Doors<'a> {
    pub(super) fn new(globals: &'a Globals, passphrase: &'a PassphraseArgs) -> Result<Self, Failure> {
        Ok(Self { globals, passphrase, judge: Judge::of(globals)?, fleet: None, own: None })
    }

    /// The user's credential for nodes of catalogs.
    pub(super) async fn fleet(&mut self) -> Result<Arc<Credentials>, Failure> {
        if self.fleet.is_none() {
            let found = connect::credentials_for(self.passphrase, self.globals, None).await;
            self.fleet = Some(found.map(Arc::new));
        }
        self.fleet.clone().expect("it was just found")
    }

    /// Where `record` can be reached now, and with which credential: the private node has another port each time.
    pub(super) async fn place(
        &mut self,
        record: &NodeRecord,
    ) -> Result<(NodeRecord, Arc<Credentials>), Failure> {
        if is_loopback(record)
            && let Some(found) = self.own_with(record.identity.as_ref()).await?
        {
            return Ok(found);
        }
        Ok((record.clone(), self.fleet().await?))
    }

    /// A node that this machine wrote down when it trusted it.
    pub(super) async fn open(&mut self, record: &NodeRecord) -> Result<Door, Failure> {
        let (record, credentials) = self.place(record).await?;
        let finalist = match interview(&Probed::unprobed(record), &self.judge.of_own_record()).await {
            Interview::Trusted(finalist) => *finalist,
            Interview::FirstUse(stranger) => {
                let message = format!("{} is not trusted any more", stranger.status.id);
                return Err(Failure::new(Exit::Trust, "not_trusted", message));
            }
            Interview::Refused(failure) => return Err(*failure),
            Interview::Failed(reason) => return Err(Failure::new(Exit::SessionLost, "connection", reason)),
        };
        Ok(Door { finalist, credentials })
    }

    /// The private node, if that is the one with this identity. It is started only where it ever ran.
    async fn own_with(
        &mut self,
        identity: Option<&IdentityKey>,
    ) -> Result<Option<(NodeRecord, Arc<Credentials>)>, Failure> {
        let data_dir = local::private_directory(&self.globals.paths.data);
        let Some(identity) = identity.filter(|_| data_dir.is_dir()) else { return Ok(None) };
        if local::identity(&data_dir).await.as_ref() != Some(identity) {
            return Ok(None);
        }
        if self.own.is_none() {
            self.own = Some(start(self.globals).await);
        }
        match self.own.as_ref().expect("it was just started") {
            Ok((node, credentials)) => Ok(Some((node.record.clone(), credentials.clone()))),
            Err(failure) => Err(failure.clone()),
        }
    }

    /// Ends what was started.
    pub(super) async fn close(self) {
        if let Some(Ok((node, _))) = self.own {
            node.end(OWN_NODE_PATIENCE).await;
        }
    }
}

fn is_loopback(record: &NodeRecord) -> bool {
    record.address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

async fn start(globals: &Globals) -> Result<(OwnNode, Arc<Credentials>), Failure> {
    let node = connect::start_private_node(globals).await?;
    match connect::own_credentials(globals).await {
        Ok(credentials) => Ok((node, Arc::new(credentials))),
        Err(failure) => {
            node.end(OWN_NODE_PATIENCE).await;
            Err(failure)
        }
    }
}
