//! `cbrowse-node identity`: prints the node's identity key, for whoever signs it or pins it.

use std::{io::Write as _, path::PathBuf};

use crate::identity;

/// Print this node's identity key; it is made when there is none yet.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's data directory.
    #[arg(long, value_name = "DIR", env = "CBROWSE_NODE_DATA_DIR", default_value_os_t = crate::config::default_data_dir())]
    pub data_dir: PathBuf,
}

/// Prints one line: the public key.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let key = identity::load_or_create(&args.data_dir)?.public();
    writeln!(std::io::stdout(), "{key}")?;
    Ok(())
}
