//! Who connects, and the private node that a person without a catalog connects to.

use std::time::SystemTime;

use cbrowse_protocol::token::Credential;

use crate::{
    command::login::blocking,
    context::Globals,
    credentials::{self, Credentials, TOKEN_VARIABLE},
    discover::Sources,
    failure::{Exit, Failure},
    keyring::{Keyring, passphrase::PassphraseArgs},
    local::{self, OwnNode},
};

/// The private node of this machine, where no catalog is named.
pub(super) async fn start_own_node(globals: &Globals) -> Result<Option<OwnNode>, Failure> {
    if !Sources::of_settings(&globals.settings)?.private_node {
        return Ok(None);
    }
    globals.output.note("no catalog is named: starting a private node on this machine");
    start_private_node(globals).await.map(Some)
}

/// Starts the private node of this machine.
pub(in crate::command) async fn start_private_node(globals: &Globals) -> Result<OwnNode, Failure> {
    let data_dir = local::private_directory(&globals.paths.data);
    let parent = data_dir.parent().unwrap_or(&data_dir);
    std::fs::create_dir_all(parent).map_err(|error| {
        Failure::new(Exit::Configuration, "local_node", format!("cannot make {}: {error}", parent.display()))
    })?;
    let id = "private".parse().expect("letters are an id");
    // A full disk is no reason to refuse its owner: there is no other node to go to.
    let arguments = ["--no-warm", "--health-disk=off", "--health-memory=off"].map(Into::into).into();
    let plan = local::Plan { data_dir, id, region: "local".into(), arguments };
    OwnNode::start(&plan).await
}

/// The user's credential for nodes of catalogs, or that of the private node.
pub(in crate::command) async fn credentials_for(
    passphrase: &PassphraseArgs,
    globals: &Globals,
    own_node: Option<&OwnNode>,
) -> Result<Credentials, Failure> {
    if own_node.is_some() {
        return own_credentials(globals).await;
    }
    let (paths, source) = (globals.paths.clone(), passphrase.source());
    let variable = std::env::var(TOKEN_VARIABLE).ok();
    let found = blocking(move || {
        credentials::find(variable.as_deref(), || Keyring::open(&paths, source), SystemTime::now())
    });
    found.await.map(|(credentials, _)| credentials)
}

/// The credential of the private node of this machine.
pub(in crate::command) async fn own_credentials(globals: &Globals) -> Result<Credentials, Failure> {
    let line = local::credential(&local::private_directory(&globals.paths.data)).await?;
    let credential = Credential::parse(&line).map_err(credentials::CredentialsError::from)?;
    Ok(Credentials::new(&credential, None, SystemTime::now())?)
}
