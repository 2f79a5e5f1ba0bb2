//! How a node failed that was asked about itself.

use std::fmt;

/// In which way. The names are stable: programs read them beside the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// It accepts connections, or should, and says nothing.
    Silent,
    /// It began to answer, and did not come to an end in time.
    Slow,
    /// No connection came about, or it broke off.
    Disconnected,
    /// What it speaks is not TLS, or proves nobody's identity.
    NoTls,
    /// Its answer is not what a node says.
    Garbage,
    /// Its answer is longer than any node's.
    TooLong,
    /// Its answer has the right form, and cannot be true.
    Implausible,
    /// It refused to answer.
    Refused,
    /// Something else.
    Other,
}

impl Failing {
    /// Stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Disconnected => "disconnected",
            Self::NoTls => "no_tls",
            Self::Garbage => "garbage",
            Self::TooLong => "too_long",
            Self::Implausible => "implausible",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }
}

/// A failure, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// In which way.
    pub failing: Failing,
    /// What happened.
    pub words: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.words)
    }
}

impl From<String> for Failed {
    fn from(words: String) -> Self {
        Self { failing: Failing::Other, words }
    }
}

impl From<&str> for Failed {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}
