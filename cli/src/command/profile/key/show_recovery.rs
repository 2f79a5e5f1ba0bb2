//! `cbrowse profile key show-recovery`: the account key as 24 words, on a terminal or where it is meant.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
};

use cbrowse_profile::account::words::to_words;
use serde_json::json;
use zeroize::Zeroizing;

use super::account;
use crate::{
    command::login::blocking,
    context::Globals,
    failure::{Exit, Failure},
    keyring::{Keyring, passphrase::PassphraseArgs},
};

/// Words on a line: six lines of four fit any terminal and a slip of paper.
const ON_A_LINE: usize = 4;

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile key show-recovery
  cbrowse profile key show-recovery --yes --json | jq -r '.words[]'

The words are the account key itself: whoever reads them can open every profile. Keep them on
paper, not in a file. A rotation (revoke-device, rotate) makes others; write down the new ones.
";

/// Arguments of `cbrowse profile key show-recovery`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print them though nobody is at a terminal.
    #[arg(long)]
    pub yes: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Shows. Changes nothing.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    if !args.yes && !io::stdout().is_terminal() {
        let message = "the recovery words open every profile, and standard output is no terminal";
        return Err(Failure::new(Exit::Usage, "confirm", message).hint("if that is meant, add --yes"));
    }
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let (words, epoch) = blocking(move || {
        let keyring = Keyring::open(&paths, source);
        let account =
            account::open(&paths, &keyring)?.ok_or_else(|| none(account::profiles(&paths), &keyring))?;
        Ok((to_words(account.key()), account.epoch()))
    })
    .await?;
    let output = &globals.output;
    if output.is_json() {
        let words: Vec<&str> = words.split(' ').collect();
        return output.document(&json!({ "words": words, "epoch": epoch }));
    }
    output.note("Your recovery words, in this order. They bring your profiles' key back when this machine's keyring is lost,");
    output.note("and whoever else reads them can open every profile: write them on paper, and keep it where you keep keys.\n");
    output.print(&*table(&words))?;
    output.note("\nTo use them: cbrowse profile key recover");
    Ok(())
}

/// Numbered, because order matters.
fn table(words: &str) -> Zeroizing<String> {
    // Room at once, so that nothing is left behind by a move.
    let mut text = Zeroizing::new(String::with_capacity(1024));
    for (index, word) in words.split(' ').enumerate() {
        let end = if (index + 1) % ON_A_LINE == 0 { "\n" } else { "" };
        let _infallible = write!(text, "{:>4} {word:<9}{end}", index + 1);
    }
    text
}

/// Without a key there are no words.
fn none(profiles: usize, keyring: &Keyring) -> Failure {
    if profiles > 0 {
        return super::lost(keyring, profiles);
    }
    let message = format!("{} holds no account key yet", keyring.describe());
    Failure::new(Exit::Profile, "no_account_key", message)
        .hint("the first profile makes one: cbrowse profile create NAME")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_and_none_is_cut() {
        let text = table("one two three four five");
        assert_eq!(*text, "   1 one         2 two         3 three       4 four     \n   5 five     ");
    }
}
