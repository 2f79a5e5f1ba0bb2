//! The browsers whose profiles are understood.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A browser that is made from Chromium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Browser {
    /// Google Chrome.
    Chrome,
    /// Chromium.
    Chromium,
    /// Brave.
    Brave,
    /// Microsoft Edge.
    Edge,
}

impl Browser {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chrome, Self::Chromium, Self::Brave, Self::Edge];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chrome => "chrome",
            Self::Chromium => "chromium",
            Self::Brave => "brave",
            Self::Edge => "edge",
        }
    }

    /// As it calls itself.
    pub fn title(self) -> &'static str {
        match self {
            Self::Chrome => "Google Chrome",
            Self::Chromium => "Chromium",
            Self::Brave => "Brave",
            Self::Edge => "Microsoft Edge",
        }
    }
}

impl FromStr for Browser {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|browser| browser.name() == text).ok_or(())
    }
}

impl fmt::Display for Browser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
