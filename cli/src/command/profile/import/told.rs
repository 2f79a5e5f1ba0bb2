//! What an import says: what came along, what did not, and why.

use cbrowse_protocol::{id::ProfileName, node::printable};
use serde_json::json;

use super::{super::words, Done};
use crate::{
    command::profile::{create, seal::Sealed},
    context::Globals,
    failure::{Exit, Failure},
    import::{ImportError, extensions::Extension, find::Source, secrets::What},
    output::Output,
    profile::store_trouble,
};

/// Things that are named one by one; of more, only the number is said.
const NAMED: usize = 20;
/// Longest path that is shown, in characters.
const MAX_PATH: usize = 200;

pub(super) fn report(
    globals: &Globals,
    name: &ProfileName,
    source: &Source,
    done: &Done,
    dry_run: bool,
    in_memory: bool,
) -> Result<(), Failure> {
    let output = &globals.output;
    let Done { imported, sealed, key_made, is_new } = done;
    if output.is_json() {
        return output.document(&json!({
            "profile": name, "new": is_new, "dry_run": dry_run,
            "from": {
                "browser": source.browser, "directory": source.directory, "profile": source.profile,
                "running": imported.running,
            },
            "staged_in_memory": in_memory,
            "imported": imported,
            "sealed": sealed.as_ref().map(Sealed::to_json),
            "key_made": key_made.is_some(),
        }));
    }
    let from = match source.browser {
        Some(browser) => format!("{} of {}", source.profile, browser.title()),
        None => source.profile_path().display().to_string(),
    };
    let verb = if dry_run { "would import" } else { "imported" };
    output.print(&format!("{verb} {from} into profile {name}"))?;
    if let Some(sealed) = sealed {
        output.print(&sealed.sentence())?;
    }
    contents(output, done);
    let left = words::count(imported.left_behind.len() as u64, "file");
    if !imported.left_behind.is_empty() {
        output.note(format_args!("{left} stayed behind:"));
        for one in imported.left_behind.iter().take(NAMED) {
            output.note(format_args!("  {}: {}", printable(&one.path, MAX_PATH), one.reason.words()));
        }
        more(output, imported.left_behind.len());
    }
    extensions(output, &imported.extensions);
    if imported.running {
        output.note("the browser was at work, so this is what a crash would leave: tabs and sites see the last seconds");
    }
    if let Some(place) = key_made {
        create::tell_key(output, place);
    }
    if !dry_run {
        next(output, name, done);
    }
    Ok(())
}

fn contents(output: &Output, done: &Done) {
    let (tally, secrets) = (&done.imported.contents, &done.imported.secrets);
    let counts = [
        (tally.bookmarks, "bookmark"),
        (tally.history, "address in the history"),
        (tally.cookies, "cookie"),
        (tally.logins, "login"),
        (tally.sites_with_data, "site with a database"),
    ];
    let told: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| match (count, noun) {
            (1, noun) => format!("1 {noun}"),
            (count, "address in the history") => format!("{count} addresses in the history"),
            (count, "site with a database") => format!("{count} sites with databases"),
            (count, noun) => format!("{count} {noun}s"),
        })
        .collect();
    if !told.is_empty() {
        output.note(format_args!("with {}", told.join(", ")));
    }
    for dropped in &secrets.dropped {
        output.note(format_args!(
            "{} stayed behind: {}",
            noun(dropped.what, dropped.count),
            dropped.reason.words()
        ));
    }
    if let Some(keyring) = secrets.keyring.as_ref().filter(|_| !secrets.dropped.is_empty()) {
        output.note(format_args!("  {keyring}; once it answers, importing again brings them along"));
    }
}

fn noun(what: What, count: u64) -> String {
    let (one, more) = match what {
        What::Cookies => ("cookie", "cookies"),
        What::Logins => ("login", "logins"),
        What::Notes => ("note to a login", "notes to logins"),
        What::Autofill => ("card or account for forms", "cards and accounts for forms"),
        What::SearchEngines => ("search engine", "search engines"),
        What::Tabs => ("list of open tabs", "lists of open tabs"),
    };
    format!("{count} {}", if count == 1 { one } else { more })
}

fn extensions(output: &Output, extensions: &[Extension]) {
    if extensions.is_empty() {
        return;
    }
    output.note(format_args!("{} stayed behind:", words::count(extensions.len() as u64, "extension")));
    for extension in extensions.iter().take(NAMED) {
        let name = extension.name.as_deref().unwrap_or(&extension.id);
        output.note(format_args!("  {name}: {}", extension.origin.words()));
    }
    more(output, extensions.len());
    output.note(
        "to let extensions travel, seal the browser's own directory, once it is closed: cbrowse profile sync NAME --from \
         USER_DATA_DIR --extensions all",
    );
}

fn more(output: &Output, all: usize) {
    if all > NAMED {
        output.note(format_args!("  and {} more; --json names all", all - NAMED));
    }
}

fn next(output: &Output, name: &ProfileName, done: &Done) {
    let generation = done.sealed.as_ref().and_then(|sealed| sealed.head.as_ref()).map(|head| head.generation);
    match generation {
        Some(generation) if !done.is_new && generation > 1 => output.note(format_args!(
            "what was current before is generation {0}: cbrowse profile diff {name} {0}; cbrowse profile restore {name} --at {0}",
            generation - 1
        )),
        _ => output.note(format_args!("use it: cbrowse connect --profile {name}")),
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let failure = |code| Failure::new(Exit::Profile, code, error.to_string());
        match &error {
            ImportError::Interrupted => Failure::interrupted(),
            ImportError::NoBrowser { looked, .. } => {
                let looked: Vec<_> = looked.iter().map(|path| path.display().to_string()).collect();
                failure("no_browser").hint(format!(
                    "see what there is: cbrowse profile import --list; or name a directory: --from PATH. Looked in {}",
                    looked.join(", ")
                ))
            }
            ImportError::NotABrowser(_) => failure("no_browser_profile").hint(
                "name a user data directory, such as ~/.config/chromium; see what there is: cbrowse profile import --list",
            ),
            ImportError::NoProfile { known, .. } => {
                failure("no_such_profile").hint(format!("there are: {}", known.join(", ")))
            }
            ImportError::Ambiguous { known, .. } => {
                failure("ambiguous_profile").hint(format!("name its directory; there are: {}", known.join(", ")))
            }
            ImportError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                failure("no_source").hint("name a browser (chrome, chromium, brave, edge), or a path that exists")
            }
            ImportError::Read { source, .. } => {
                let (code, hint) = store_trouble(source);
                failure(code).hint(hint)
            }
            ImportError::Write { source, .. } => {
                let (code, hint) = match store_trouble(source) {
                    ("disk_full", _) => (
                        "disk_full",
                        "nothing was made, and the clear copy is wiped; name a larger place for it: --staging DIR",
                    ),
                    (code, _) => (code, "nothing was made, and the clear copy is wiped; try another place: --staging DIR"),
                };
                failure(code).hint(hint)
            }
            ImportError::TooLarge(_) => {
                failure("too_large").hint("clear the browser's site data, and import again; nothing was made")
            }
            ImportError::NoRoom { place, free, needed } => {
                let (free, needed) = (words::size(*free), words::size(*needed));
                let message =
                    format!("{} has {free} free, and the clear copy needs about {needed}", place.display());
                Failure::new(Exit::Profile, "no_room", message)
                    .hint("name a place for it: --staging DIR; on a disk it lies in the clear until it is sealed")
            }
        }
    }
}
