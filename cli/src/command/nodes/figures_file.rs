//! Counters in a file, for a collector that reads such files: OpenMetrics text, replaced as a whole.

use std::{
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use cbrowse_registry::Figures;
use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::failure::{Exit, Failure};

/// A file and what is written to it.
pub(super) struct FiguresFile {
    path: PathBuf,
    figures: Figures,
    registry: Registry,
}

impl FiguresFile {
    /// Writes it once, so that a place that cannot be written to is said at once.
    pub(super) fn new(path: &Path, figures: &Figures) -> Result<Self, Failure> {
        let mut registry = Registry::default();
        figures.register(&mut registry);
        let file = Self { path: path.to_owned(), figures: figures.clone(), registry };
        file.write().map(|()| file)
    }

    /// Replaces it by what is counted now.
    pub(super) fn write(&self) -> Result<(), Failure> {
        self.figures.observe();
        let mut text = String::new();
        encode(&mut text, &self.registry)
            .map_err(|error| Failure::new(Exit::Bug, "metrics", format!("cannot write metrics: {error}")))?;
        self.replace(text.as_bytes()).map_err(|error| {
            let message = format!("cannot write the metrics to {}: {error}", self.path.display());
            Failure::new(Exit::Configuration, "metrics_file", message)
                .hint("name a file in a directory that you can write to with --metrics-file FILE")
        })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut draft = tempfile::NamedTempFile::new_in(parent.unwrap_or(Path::new(".")))?;
        draft.write_all(bytes)?;
        // Its reader is another user.
        draft.as_file().set_permissions(Permissions::from_mode(0o644))?;
        draft.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}
