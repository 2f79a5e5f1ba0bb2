//! The one place that writes: data to standard output, everything else to standard error.

pub mod line;
mod progress;

use std::{
    ffi::OsString,
    fmt::{self, Display},
    io::{self, BufWriter, IsTerminal as _, Write as _},
    process::ExitCode,
};

use cbrowse_protocol::node::is_unprintable;
use serde::Serialize;
use terminal_size::{Width, terminal_size_of};

pub use self::progress::{Followed, Progress};
use crate::failure::{CLOSED_OUTPUT, Exit, Failure, USAGE};

/// Bytes of a document that are written at once: what a pipe holds.
const CHUNK_LENGTH: usize = 64 << 10;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Human,
    /// One JSON document, or one a line for watches.
    Json,
}

/// Emphasis. Meaning never rests on it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Headings, the chosen one.
    Strong,
    /// What may be overlooked.
    Faint,
    /// Something went well.
    Good,
    /// Something to look at.
    Warning,
    /// Something failed.
    Bad,
}

/// Where and how a command writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    format: Format,
    quiet: bool,
    color_out: bool,
    color_error: bool,
}

impl Output {
    /// From the flags; `NO_COLOR`, `TERM=dumb` and pipes turn colour off.
    pub fn new(json: bool, quiet: bool, no_color: bool) -> Self {
        let color = !no_color
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|value| value != "dumb");
        Self {
            format: if json { Format::Json } else { Format::Human },
            quiet,
            color_out: color && !json && io::stdout().is_terminal(),
            color_error: color && !json && io::stderr().is_terminal(),
        }
    }

    /// From arguments that could not be parsed: `--json` counts anywhere before `--`.
    pub fn of_raw(arguments: &[OsString]) -> Self {
        let mut flags = arguments.iter().skip(1).take_while(|argument| *argument != "--");
        let (mut json, mut no_color) = (false, false);
        for flag in &mut flags {
            json |= flag == "--json";
            no_color |= flag == "--no-color";
        }
        Self::new(json, false, no_color)
    }

    /// Whether programs read along.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether `--json` was given.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a person watches standard error, so that progress may be drawn there.
    pub fn draws_progress(&self) -> bool {
        !self.quiet && !self.is_json() && io::stderr().is_terminal()
    }

    /// Whether more than ASCII may be drawn.
    pub fn is_unicode(&self) -> bool {
        speaks_unicode(|name| std::env::var(name).ok())
    }

    /// Columns of the terminal that standard output is; `None` where it is none.
    pub fn columns(&self) -> Option<usize> {
        terminal_size_of(io::stdout())
            .map(|(Width(columns), _)| columns.into())
            .filter(|columns| *columns > 0)
    }

    /// The same of standard error.
    pub fn columns_of_error(&self) -> Option<usize> {
        terminal_size_of(io::stderr())
            .map(|(Width(columns), _)| columns.into())
            .filter(|columns| *columns > 0)
    }

    /// Text for standard output, styled when that is a terminal.
    pub fn styled<T: Display>(&self, style: Style, text: T) -> Styled<T> {
        Styled { style: self.color_out.then_some(style), text }
    }

    /// Text for standard error, styled when that is a terminal.
    fn styled_error<T: Display>(&self, style: Style, text: T) -> Styled<T> {
        Styled { style: self.color_error.then_some(style), text }
    }

    /// Writes human-readable data and a line end to standard output.
    pub fn print(&self, data: &impl Display) -> Result<(), Failure> {
        let mut text = data.to_string();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        write_out(text.as_bytes())
    }

    /// Writes bytes to standard output as they are.
    pub fn print_bytes(&self, data: &[u8]) -> Result<(), Failure> {
        write_out(data)
    }

    /// Writes the one JSON document of a command, or one line of a watch.
    pub fn document<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(CHUNK_LENGTH, io::stdout().lock());
        match serde_json::to_writer(&mut out, value) {
            Err(error) if !error.is_io() => {
                Err(Failure::new(Exit::Bug, "serialize", format!("cannot write JSON: {error}")))
            }
            written => {
                let written = written.map_err(io::Error::from);
                written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).map_err(cannot_write)
            }
        }
    }

    /// A remark for a person on standard error; silent with `--quiet` or `--json`.
    pub fn note(&self, text: impl Display) {
        if !self.quiet && !self.is_json() {
            write_error(&format!("{text}\n"));
        }
    }

    /// A warning on standard error; silent with `--quiet` only.
    pub fn warn(&self, text: impl Display) {
        if !self.quiet {
            let text = clean(&text.to_string());
            write_error(&format!("{} {text}\n", self.styled_error(Style::Warning, "warning:")));
        }
    }

    /// Reports the end of the command and tells its exit code.
    pub fn fail(&self, failure: &Failure) -> ExitCode {
        if failure.code == CLOSED_OUTPUT {
            return ExitCode::SUCCESS;
        }
        if self.is_json() {
            write_error(&format!("{}\n", failure.to_json()));
        } else if failure.exit != Exit::Interrupted {
            // Whoever pressed Ctrl-C knows; for a person it is no error.
            write_error(&self.failure_text(failure));
        }
        ExitCode::from(failure.exit.code())
    }

    fn failure_text(&self, failure: &Failure) -> String {
        let head = format!("{} {}\n", self.styled_error(Style::Bad, "error:"), clean(&failure.message));
        match failure.hint.as_deref().map(clean) {
            // The parser's own hints are whole paragraphs.
            Some(hint) if failure.exit == Exit::Usage && failure.code == USAGE => format!("{head}\n{hint}\n"),
            Some(hint) => format!("{head}{} {hint}\n", self.styled_error(Style::Strong, "try:")),
            None => head,
        }
    }
}

/// Whether the locale's characters are Unicode's, as the C library decides it: the first of three variables that is set.
pub fn speaks_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        .unwrap_or_default()
        .to_ascii_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

/// A reader that went away has all it wanted: not an error to report.
fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(cannot_write)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn cannot_write(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::Bug, CLOSED_OUTPUT, "standard output was closed"),
        _ => Failure::new(Exit::Bug, "output", format!("cannot write to standard output: {error}")),
    }
}

/// Errors quote what strangers sent. Whoever made the text has cleaned it; what slipped through ends here.
fn clean(text: &str) -> String {
    let is_safe = |character: char| character == '\n' || !is_unprintable(character);
    text.chars().map(|character| if is_safe(character) { character } else { '\u{fffd}' }).collect()
}

/// Nobody can be told when even standard error fails.
fn write_error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Text with its emphasis; see [`Output::styled`].
#[derive(Debug, Clone, Copy)]
pub struct Styled<T> {
    style: Option<Style>,
    text: T,
}

impl<T: Display> Display for Styled<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.style {
            None => return self.text.fmt(formatter),
            Some(Style::Strong) => "1",
            Some(Style::Faint) => "2",
            Some(Style::Good) => "32",
            Some(Style::Warning) => "33",
            Some(Style::Bad) => "31",
        };
        write!(formatter, "\u{1b}[{code}m")?;
        self.text.fmt(formatter)?;
        formatter.write_str("\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let under = |set: &[(&str, &str)]| {
            let set = set.to_vec();
            speaks_unicode(|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(under(&[("LANG", "de_DE.UTF-8")]) && under(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!under(&[]) && !under(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
    }

    #[test]
    fn what_slipped_through_is_no_terminal_escape() {
        let output = Output { format: Format::Human, quiet: false, color_out: false, color_error: false };
        let failure = Failure::new(Exit::Refused, "x", "no\n  \u{1b}[2J\u{9b}31m\u{202e}").hint("try\u{7}");
        assert_eq!(
            output.failure_text(&failure),
            "error: no\n  \u{fffd}[2J\u{fffd}31m\u{fffd}\ntry: try\u{fffd}\n"
        );
    }
}
