//! Names of things: short strings that are safe in a path, a URL, a header and on a terminal.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest id in bytes. Consul allows more, a file name with a suffix does not.
pub const MAX_ID_LENGTH: usize = 128;

/// Why a string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there.
    #[error("an id is empty")]
    Empty,
    /// Longer than [`MAX_ID_LENGTH`].
    #[error("an id has {0} bytes; {MAX_ID_LENGTH} are allowed")]
    TooLong(usize),
    /// A character that could climb a path or reach a terminal.
    #[error(
        "{0:?} is not allowed in an id (letters, digits, and . _ : - inside; the first is a letter or digit)"
    )]
    Character(char),
}

/// The rule all ids share: ASCII letters and digits, then also `.`, `_`, `:`, `-`, `[`, `]`.
fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_LENGTH {
        return Err(IdError::TooLong(text.len()));
    }
    for (index, character) in text.chars().enumerate() {
        let inner = matches!(character, '.' | '_' | ':' | '-' | ']') && index > 0;
        let bracket = character == '[';
        if !character.is_ascii_alphanumeric() && !inner && !bracket {
            return Err(IdError::Character(character));
        }
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }
    };
}

id! {
    /// A node, unique within its fleet. A node known by DNS alone is named `host:port` until it has spoken.
    NodeId
}
id! {
    /// A session on one node: random, and of no use without a proof.
    SessionId
}
id! {
    /// A profile: 32 hexadecimal digits, random at creation; its readable name never leaves the user's machine.
    ProfileId
}
id! {
    /// The readable name a person gave a profile; known on the user's machine only.
    ProfileName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_climb_a_path_or_reach_a_terminal() {
        for bad in ["", ".", "..", "../x", "a/b", "a b", "\u{1b}[2J", "-x", "ü", ":"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?}");
        }
        for good in ["a", "node-1", "10.0.0.1:7443", "[::1]:7443", "eu_1.x"] {
            assert_eq!(good.parse::<NodeId>().expect(good).as_str(), good);
        }
    }

    #[test]
    fn the_length_limit_holds_at_and_above() {
        assert!("x".repeat(MAX_ID_LENGTH).parse::<NodeId>().is_ok());
        assert_eq!("x".repeat(MAX_ID_LENGTH + 1).parse::<NodeId>(), Err(IdError::TooLong(MAX_ID_LENGTH + 1)));
    }
}
