//! A catalog in a file of the user's own: TOML with `[[nodes]]`, or the JSON that `cbrowse nodes list --json` prints.

mod parse;
mod watch;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::io::AsyncReadExt as _;

use crate::{
    catalog::{Catalog, ChangeStream, Listing},
    error::{CatalogError, Cause},
    figures::Meter,
    options::Options,
    reach::Reach,
    screen::screen,
    uri::CatalogUri,
};

/// Largest file in bytes: ten thousand nodes with full metadata. Longer ones are not read into memory.
const MAX_FILE_LENGTH: usize = 64 << 20;
/// Longest read, for a file on a network disk that hangs.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// A file as a catalog. It may name any address: it is the user's own word.
#[derive(Debug, Clone)]
pub(crate) struct FileCatalog {
    uri: Arc<CatalogUri>,
    meter: Meter,
}

impl FileCatalog {
    pub(crate) fn new(path: &Path, options: &Options) -> Self {
        let uri = CatalogUri::File(path.to_owned());
        Self { meter: options.figures.meter(&uri), uri: Arc::new(uri) }
    }

    fn path(&self) -> &Path {
        let CatalogUri::File(path) = &*self.uri else { unreachable!("made from a path") };
        path
    }

    async fn read(&self) -> Result<Listing, CatalogError> {
        let reading = async {
            let text = read_capped(self.path()).await?;
            let candidates = parse::candidates(self.path(), &text)?;
            Ok(screen(candidates, Reach::Anything))
        };
        let started = Instant::now();
        let result = tokio::time::timeout(READ_DEADLINE, reading).await;
        let result = result.unwrap_or(Err(Cause::Deadline(READ_DEADLINE)));
        match &result {
            Ok(_) => self.meter.answered(Some(started.elapsed())),
            Err(cause) => self.meter.failed(cause),
        }
        result.map_err(|cause| cause.of(&self.uri))
    }
}

impl Catalog for FileCatalog {
    fn uri(&self) -> &CatalogUri {
        &self.uri
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        self.read().boxed()
    }

    fn watch(&self) -> ChangeStream {
        watch::changes(self.clone())
    }
}

async fn read_capped(path: &Path) -> Result<String, Cause> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Cause::DoesNotExist(
            "there is no such file; check the path, or write one with cbrowse nodes list --json".into(),
        ),
        std::io::ErrorKind::IsADirectory => Cause::Io("it is a directory; name a file in it".into()),
        _ => Cause::Io(error.to_string()),
    };
    let file = tokio::fs::File::open(path).await.map_err(io)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LENGTH as u64 + 1).read_to_end(&mut bytes).await.map_err(io)?;
    if bytes.len() > MAX_FILE_LENGTH {
        return Err(Cause::TooLarge { limit: MAX_FILE_LENGTH });
    }
    String::from_utf8(bytes).map_err(|error| Cause::Syntax {
        line: parse::line_at(error.as_bytes(), error.utf8_error().valid_up_to()),
        message: "not UTF-8 text".into(),
    })
}

/// For [`crate::fuzzing`].
#[cfg(fuzzing)]
pub(crate) fn candidates_of(path: &Path, text: &str) -> Result<Vec<crate::screen::Candidate>, Cause> {
    parse::candidates(path, text)
}
