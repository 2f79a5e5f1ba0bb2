//! `cbrowse completions SHELL`: the script that makes a shell ask `cbrowse` itself what could come next.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap_complete::{CompleteEnv, env::Shells};

use super::Root;
use crate::{
    context::Globals,
    failure::{Exit, Failure},
};

/// The variable by which a shell's script tells the shell's name and asks for candidates.
const VARIABLE: &str = "COMPLETE";

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
    completion.try_complete(arguments, directory.as_deref()).unwrap_or(true)
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
    fn an_unknown_shell_is_an_error_not_a_panic() {
        assert_eq!(script("tcsh").unwrap_err().code, "completions");
    }
}
