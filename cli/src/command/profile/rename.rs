//! `cbrowse profile rename`: another name for a profile. Nodes never knew the old one.

use cbrowse_profile::authority::Authority;
use cbrowse_protocol::id::ProfileName;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::key;
use crate::{
    command::{complete, login::blocking},
    context::Globals,
    failure::Failure,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile rename work home

Only this machine changes: nodes never knew the name, and other devices keep theirs.
";

/// Arguments of `cbrowse profile rename`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it is called now.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// What to call it from now on.
    #[arg(value_name = "NEW_NAME")]
    pub new_name: ProfileName,
}

/// Renames. Needs no key.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, name, new_name) = (globals.paths.clone(), args.name.clone(), args.new_name.clone());
    let id = blocking(move || {
        let _held = key::hold_all(&paths)?;
        let mut authority = Authority::open(&paths.profiles(), &name)?;
        authority.rename(&paths.profiles(), &new_name)?;
        Ok(authority.record().id.clone())
    })
    .await?;
    if globals.output.is_json() {
        return globals.output.document(&json!({"profile": args.new_name, "was": args.name, "id": id}));
    }
    globals.output.print(&format!("profile {} is now {}", args.name, args.new_name))
}
