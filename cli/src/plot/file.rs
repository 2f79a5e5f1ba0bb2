//! The file that a plot goes to: refused before anything is measured where it cannot be written, and replaced as a whole.

use std::{
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::failure::{Exit, Failure};

/// A plot to be.
#[derive(Debug)]
pub struct PlotFile {
    path: PathBuf,
    draft: NamedTempFile,
}

impl PlotFile {
    /// Makes sure that `path` names an SVG file in a place that can be written to.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let is_svg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
        if !is_svg {
            let message = format!("cannot draw a plot to {}: plots are SVG", path.display());
            let hint = format!("name it {}", path.with_extension("svg").display());
            return Err(Failure::new(Exit::Usage, "plot_format", message).hint(hint));
        }
        if path.is_dir() {
            return Err(unwritable(path, &"it is a directory"));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As any other file of the user's: less what their umask takes away.
        let draft = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(parent);
        let draft = draft.map_err(|error| unwritable(path, &reason(&error)))?;
        Ok(Self { path: path.to_owned(), draft })
    }

    /// Writes it; whoever reads sees the old or the new one.
    pub fn write(mut self, svg: &str) -> Result<(), Failure> {
        let written = self.draft.write_all(svg.as_bytes());
        let put = written.and_then(|()| self.draft.persist(&self.path).map_err(|error| error.error));
        put.map(drop).map_err(|error| unwritable(&self.path, &error))
    }
}

/// The temporary file's name, which the error holds, is nobody's business.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        kind => kind.to_string(),
    }
}

fn unwritable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Configuration,
        "plot_file",
        format!("cannot write the plot to {}: {why}", path.display()),
    )
    .hint("name a file in a directory that you can write to with --plot FILE.svg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let refused = |name: &str| PlotFile::open(&directory.path().join(name)).expect_err("refused");
        let png = refused("plot.png");
        assert_eq!((png.exit, png.code), (Exit::Usage, "plot_format"));
        assert!(png.hint.expect("a hint").ends_with("plot.svg"));
        assert_eq!(refused("plot").code, "plot_format");
        let missing = refused("missing/plot.svg");
        assert_eq!((missing.exit, missing.code), (Exit::Configuration, "plot_file"));
        assert!(missing.message.contains("no such directory"), "{}", missing.message);
        std::fs::create_dir(directory.path().join("d.svg")).expect("made");
        assert!(refused("d.svg").message.contains("directory"));
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1, "no draft is left");
    }

    #[test]
    fn a_plot_replaces_the_one_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("Plot.SVG");
        for text in ["<svg/>", "<svg></svg>"] {
            PlotFile::open(&path).expect("opened").write(text).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1);
    }
}
