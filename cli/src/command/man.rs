//! `cbrowse man`: writes the manual pages, one a subcommand. Hidden; the installer calls it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

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
    let mut written = 0;
    for page in std::fs::read_dir(directory)? {
        let path = page?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|section| section == "1") && name.starts_with("cbrowse") {
            std::fs::write(&path, finish(&name, &std::fs::read_to_string(&path)?))?;
            written += 1;
        }
    }
    Ok(written)
}

/// The foot names the program; examples keep their lines, which the generator would run together.
fn finish(name: &str, page: &str) -> String {
    let mut finished = String::with_capacity(page.len());
    let mut keeps_lines = false;
    for line in page.lines() {
        if line.starts_with(".TH ") {
            let version = env!("CARGO_PKG_VERSION");
            // Writing to a string does not fail.
            let _ = writeln!(finished, ".TH {name} 1 \"\" \"cbrowse {version}\" \"cbrowse manual\"");
            continue;
        }
        if line.starts_with(".SH") && keeps_lines {
            finished.push_str(".fi\n");
            keeps_lines = false;
        }
        if line == ".SH EXTRA" {
            finished.push_str(".SH NOTES\n.nf\n");
            keeps_lines = true;
            continue;
        }
        finished.push_str(line);
        finished.push('\n');
    }
    finished
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

    #[test]
    fn examples_keep_their_lines() {
        let page = ".TH cbrowse-x 1  \"x \"\n.SH NAME\nx\n.SH EXTRA\na\nb\n.SH VERSION\n1\n";
        let finished = finish("cbrowse-x", page);
        assert!(finished.starts_with(".TH cbrowse-x 1 \"\" \"cbrowse "), "{finished}");
        assert!(finished.ends_with(".SH NOTES\n.nf\na\nb\n.fi\n.SH VERSION\n1\n"), "{finished}");
    }
}
