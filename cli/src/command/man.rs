//! `cbrowse man`: writes the manual pages, one a subcommand. Hidden; the installer calls it.

use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, ValueHint};

use super::Root;
use crate::{
    context::Globals,
    failure::{Exit, Failure},
};

/// Arguments of `cbrowse man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory to write to; it is made when it does not exist.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

/// Writes the pages.
#[expect(clippy::unused_async, reason = "every subcommand has this shape")]
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let written = write(&args.dir).map_err(|error| {
        let message = format!("cannot write manual pages to {}: {error}", args.dir.display());
        Failure::new(Exit::Configuration, "man", message)
    })?;
    globals.output.note(format_args!("{written} manual pages are in {}", args.dir.display()));
    Ok(())
}

/// Writes `cbrowse.1`, `cbrowse-nodes.1`, …; returns how many.
pub fn write(directory: &Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Root::command(), directory)?;
    Ok(std::fs::read_dir(directory)?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_its_page() {
        let directory = tempfile::tempdir().unwrap();
        let written = write(directory.path()).unwrap();
        assert!(written >= 5, "{written}");
        for (page, words) in [
            ("cbrowse.1", "Exit codes"),
            ("cbrowse-nodes-probe.1", "max\\-latency"),
            ("cbrowse-config-show.1", "default_context"),
        ] {
            let text = std::fs::read_to_string(directory.path().join(page)).unwrap();
            assert!(text.contains(words), "{page} lacks {words}");
        }
    }
}
