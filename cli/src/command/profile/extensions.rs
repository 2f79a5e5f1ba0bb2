//! Which of a browser's extensions go into a profile: asked once, remembered with the profile.

use std::path::Path;

use cbrowse_profile::extensions::{Choice, Chosen, Installed, Word, choose, find};

use crate::{
    failure::{Exit, Failure},
    output::Output,
    profile::{OpenProfile, chain},
};

/// Whose word lets extensions in.
#[derive(Debug, Clone, clap::Args)]
pub struct ExtensionArgs {
    /// Let extensions of the browser travel: none, all, or their ids; remembered until it is given again [default: none].
    #[arg(long, value_name = "none|all|ID,...")]
    pub extensions: Option<Choice>,
}

/// What the next generation carries: what `choice` says of the extensions of `directory`, else what was said before.
pub(super) fn word(
    choice: Option<&Choice>,
    profile: &OpenProfile,
    directory: &Path,
    output: &Output,
) -> Result<Option<Word>, Failure> {
    let Some(choice) = choice else { return Ok(profile.authority().extensions()?) };
    let found = find(directory, |id, error| {
        output.warn(format_args!("extension {id} cannot travel: {}", chain(error)));
    });
    let chosen = choose(&found, choice).map_err(|error| {
        let known: Vec<String> = found.iter().map(named).collect();
        let hint = if known.is_empty() {
            "the browser has no extension that could travel; say --extensions none".to_owned()
        } else {
            format!("it has: {}", known.join(", "))
        };
        Failure::new(Exit::Profile, "no_extension", format!("{error}; nothing was sealed")).hint(hint)
    })?;
    tell(&chosen, output);
    Ok(Some(chosen.word))
}

fn tell(chosen: &Chosen, output: &Output) {
    for one in &chosen.refused {
        output.warn(format_args!(
            "extension {} stays behind: it may use {}; to let it travel all the same, name its id with --extensions",
            named(one),
            one.powers.join(", ")
        ));
    }
    for one in &chosen.powerful {
        output.warn(format_args!(
            "extension {} travels as you say: it may use {}. In a session it sees every page, and the node's walls are what \
             keeps its traffic on the node's road",
            named(one),
            one.powers.join(", ")
        ));
    }
}

/// A name is the extension's own text; what is kept of it holds nothing that a terminal would obey.
fn named(one: &Installed) -> String {
    let listed = &one.allowed.listed;
    format!("{} ({} {})", listed.id, listed.name, listed.version)
}
