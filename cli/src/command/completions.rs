//! `cbrowse completions SHELL`: the script that makes a shell ask `cbrowse` itself what could come next.

use std::{
    ffi::{OsStr, OsString},
    sync::OnceLock,
};

use clap::CommandFactory as _;
use clap_complete::{CompleteEnv, env::Shells};

use super::Root;
use crate::{
    context::Globals,
    failure::{Exit, Failure},
};

/// The variable by which a shell's script tells the shell's name and asks for candidates.
const VARIABLE: &str = "COMPLETE";
/// The variable in which bash's script tells which word is being typed.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";
/// A flag that changes nothing about what can follow.
const FILLER: &str = "--no-color";

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse completions bash > ~/.local/share/bash-completion/completions/cbrowse
  cbrowse completions zsh > ~/.zfunc/_cbrowse
  cbrowse completions fish > ~/.config/fish/completions/cbrowse.fish
";

/// Answers a shell that asks what could come next, if it is one that called; true when it was.
pub fn answer_shell(arguments: &[OsString]) -> bool {
    let directory = std::env::current_dir().ok();
    let completion = CompleteEnv::with_factory(Root::command).var(VARIABLE);
    // An error leaves the shell without candidates; there is nobody to read it.
    completion.try_complete(typed(arguments), directory.as_deref()).unwrap_or(true)
}

/// The words typed so far as a person sees them. Worked out once: what tells the shell is gone from the environment when
/// candidates are looked for.
pub(super) fn typed(arguments: &[OsString]) -> &'static [OsString] {
    static TYPED: OnceLock<Vec<OsString>> = OnceLock::new();
    TYPED.get_or_init(|| whole_words(arguments))
}

/// Bash hands `consul://h:8500` over in five pieces; other shells, and people who run cbrowse, say what they mean.
fn whole_words(arguments: &[OsString]) -> Vec<OsString> {
    let index = || std::env::var(INDEX).ok()?.parse().ok();
    let is_bash = std::env::var_os(VARIABLE).is_some_and(|shell| shell == "bash");
    match arguments.iter().position(|argument| argument == "--").zip(index()) {
        Some((end, current)) if is_bash => {
            let (head, words) = arguments.split_at(end + 1);
            [head, &joined(words, current)].concat()
        }
        _ => arguments.to_vec(),
    }
}

/// Joins what bash took apart at `:` and `=`, in front of the word that is being typed. There are as many words as before:
/// bash counts them.
fn joined(words: &[OsString], current: usize) -> Vec<OsString> {
    let Some((program, words)) = words.split_first() else { return Vec::new() };
    let mut whole: Vec<OsString> = Vec::new();
    let mut continues = false;
    for (index, word) in words.iter().enumerate().map(|(index, word)| (index + 1, word)) {
        let is_break = word == ":" || word == "=";
        let is_flag = |word: &OsString| word.as_encoded_bytes().starts_with(b"--");
        match whole.last_mut().filter(|_| index < current) {
            // The value of a flag is a word of its own.
            Some(last) if word == "=" && is_flag(last) => {}
            Some(last) if is_break || continues => last.push(word),
            _ => whole.push(word.clone()),
        }
        continues = is_break && !(word == "=" && whole.last().is_some_and(is_flag));
    }
    let fillers = vec![OsStr::new(FILLER).to_owned(); words.len() - whole.len()];
    [vec![program.clone()], fillers, whole].concat()
}

/// Arguments of `cbrowse completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to write for.
    #[arg(value_parser = ["bash", "zsh", "fish", "powershell", "elvish"])]
    pub shell: String,
}

/// Prints the script.
#[expect(clippy::unused_async, reason = "every subcommand has this shape")]
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    globals.output.print_bytes(&script(&args.shell)?)
}

/// The registration script of one shell.
pub fn script(shell: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Bug, "completions", format!("cannot write completions for {shell}: {error}"))
    };
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| failed(&"unknown shell"))?;
    let mut text = Vec::new();
    completer
        .write_registration(VARIABLE, "cbrowse", "cbrowse", "cbrowse", &mut text)
        .map_err(|error| failed(&error))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a change of clap: `for s in …; do cbrowse completions $s > completions/…; done`.
    #[test]
    fn the_committed_scripts_are_what_is_printed() {
        let committed: [(&str, &[u8]); 5] = [
            ("bash", include_bytes!("../../../completions/cbrowse.bash")),
            ("zsh", include_bytes!("../../../completions/_cbrowse")),
            ("fish", include_bytes!("../../../completions/cbrowse.fish")),
            ("powershell", include_bytes!("../../../completions/cbrowse.ps1")),
            ("elvish", include_bytes!("../../../completions/cbrowse.elv")),
        ];
        for (shell, bytes) in committed {
            assert!(script(shell).unwrap() == bytes, "completions/ is out of date for {shell}");
        }
    }

    #[test]
    fn what_bash_took_apart_is_one_word_again() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let joined = |text: &str, current| {
            let joined = joined(&words(text), current);
            assert_eq!(joined.len(), words(text).len(), "bash counts them");
            joined.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            joined("cbrowse connect --catalog consul : //h : 8500 --region e", 8),
            "cbrowse --no-color --no-color --no-color --no-color connect --catalog consul://h:8500 --region e"
        );
        assert_eq!(
            joined("cbrowse list --catalog = file : n.toml --region = e", 9),
            "cbrowse --no-color --no-color --no-color --no-color list --catalog file:n.toml --region e"
        );
        assert_eq!(joined("cbrowse connect --region", 2), "cbrowse connect --region");
        assert_eq!(joined("cbrowse a : b", 3), "cbrowse --no-color a: b", "what is being typed stays");
    }

    #[test]
    fn an_unknown_shell_is_an_error_not_a_panic() {
        assert_eq!(script("tcsh").unwrap_err().code, "completions");
    }
}
