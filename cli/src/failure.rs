//! What ends a command: an exit code that programs can rely on, a stable code, and words for a person.

use std::fmt;

use serde_json::{Value, json};

/// Exit codes, documented in `cbrowse --help` and frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// A bug in cbrowse, or something it did not expect.
    Bug = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The settings, or the machine, are not as they must be.
    Configuration = 3,
    /// No catalog answered, and no cache could stand in.
    Catalog = 4,
    /// There are nodes, and none may be chosen.
    NoEligibleNode = 5,
    /// The node did not accept who we are.
    Authentication = 6,
    /// We did not accept who the node is.
    Trust = 7,
    /// A profile or its key cannot be read.
    Profile = 8,
    /// A running session broke off.
    SessionLost = 9,
    /// The node refused, or is full.
    Refused = 10,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// The process exit code.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// The end of a command that did not do what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// Stable name for programs, in `snake_case`.
    pub code: &'static str,
    /// What failed and with which value, without a final full stop.
    pub message: String,
    /// What to try next.
    pub hint: Option<String>,
    /// More for programs; `null` when there is none.
    pub details: Value,
}

/// Code of the failure that stands for a reader that closed our standard output; it is not reported.
pub(crate) const CLOSED_OUTPUT: &str = "output_closed";
/// Code of a command line that makes no sense; its hint is whole paragraphs where the parser wrote it.
pub const USAGE: &str = "usage";

impl Failure {
    /// A failure without hint or details.
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), hint: None, details: Value::Null }
    }

    /// Adds what to try next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds data for programs.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// Ctrl-C, or a request to end.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted", "interrupted")
    }

    /// What clap has against the command line.
    pub fn from_usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        // clap writes the message, then usage and tips, separated by empty lines.
        let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.strip_prefix("error: ").unwrap_or(message).trim();
        let failure = Self::new(Exit::Usage, USAGE, message);
        if rest.trim().is_empty() { failure } else { failure.hint(rest.trim()) }
    }

    /// The document that `--json` promises as the last line of standard error.
    pub fn to_json(&self) -> Value {
        json!({"error": {
            "code": self.code,
            "exit": self.exit.code(),
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_has_all_five_fields_always() {
        let bare = Failure::new(Exit::Catalog, "catalog_unreachable", "no answer").to_json();
        assert_eq!(
            bare.to_string(),
            r#"{"error":{"code":"catalog_unreachable","details":null,"exit":4,"hint":null,"message":"no answer"}}"#
        );
    }

    #[test]
    fn exit_codes_are_frozen() {
        let codes = [
            Exit::Bug,
            Exit::Usage,
            Exit::Configuration,
            Exit::Catalog,
            Exit::NoEligibleNode,
            Exit::Authentication,
            Exit::Trust,
            Exit::Profile,
            Exit::SessionLost,
            Exit::Refused,
            Exit::Interrupted,
        ]
        .map(Exit::code);
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130]);
    }
}
