//! Two thresholds as they are written: `90%,97%`, `95%` for a warning alone, `off` for none.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// From which share on a figure is worth a warning, and from which on the node is not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Limits {
    /// From 0 to 1; `None`: never.
    pub warning: Option<f64>,
    /// The same, not below the warning.
    pub critical: Option<f64>,
}

/// Why a text names no thresholds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Not of the form.
    #[error("{0:?} is no threshold: percentages from 0% to 100%, warning first, such as 90%,97% or 95%,off")]
    Form(String),
    /// The critical one would come first.
    #[error("{0:?}: the warning has to come before the critical threshold")]
    Order(String),
}

const OFF: &str = "off";

impl FromStr for Limits {
    type Err = LimitsError;

    fn from_str(text: &str) -> Result<Self, LimitsError> {
        let (warning, critical) = text.split_once(',').unwrap_or((text, OFF));
        let garbage = |_| LimitsError::Form(text.chars().take(40).collect());
        let limits = Self {
            warning: threshold(warning).map_err(garbage)?,
            critical: threshold(critical).map_err(garbage)?,
        };
        match (limits.warning, limits.critical) {
            (Some(warning), Some(critical)) if warning > critical => {
                Err(LimitsError::Order(text.chars().take(40).collect()))
            }
            _ => Ok(limits),
        }
    }
}

struct Garbage;

fn threshold(text: &str) -> Result<Option<f64>, Garbage> {
    let text = text.trim();
    if text == OFF {
        return Ok(None);
    }
    let percent = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<f64>().map_err(|_| Garbage)?;
    if (0.0..=100.0).contains(&percent) { Ok(Some(percent / 100.0)) } else { Err(Garbage) }
}

impl TryFrom<String> for Limits {
    type Error = LimitsError;

    fn try_from(text: String) -> Result<Self, LimitsError> {
        text.parse()
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |threshold: Option<f64>| {
            threshold.map_or_else(|| OFF.to_owned(), |share| format!("{:.0}%", share * 100.0))
        };
        write!(formatter, "{},{}", word(self.warning), word(self.critical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_percentages_or_off() {
        for (text, warning, critical) in [
            ("90%,97%", Some(0.9), Some(0.97)),
            ("90, 97", Some(0.9), Some(0.97)),
            ("95%", Some(0.95), None),
            ("off", None, None),
            ("off,98%", None, Some(0.98)),
            ("0%,100%", Some(0.0), Some(1.0)),
            ("50%,50%", Some(0.5), Some(0.5)),
        ] {
            assert_eq!(text.parse(), Ok(Limits { warning, critical }), "{text}");
        }
        for text in ["", "x", "90%,", "101%", "-1%", "NaN", "inf", "1,2,3", "90%;97%"] {
            assert!(matches!(text.parse::<Limits>(), Err(LimitsError::Form(_))), "{text}");
        }
        assert!(matches!("97%,90%".parse::<Limits>(), Err(LimitsError::Order(_))));
        assert_eq!("90,off".parse::<Limits>().map(|limits| limits.to_string()), Ok("90%,off".into()));
    }
}
