//! One version of a profile by the name a person gives it: the current one, a generation, or one kept beside.

use std::{convert::Infallible, fmt, str::FromStr};

use super::{Authority, AuthorityError, HeadRecord};

/// Which version is meant: `12`, `00000000000000000012-1a2b3c4d`, or `current`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Version {
    /// What is current now.
    #[default]
    Current,
    /// The generation of this number.
    Generation(u64),
    /// A version that lost a conflict, by the name it is kept under, or the last digits of it.
    Kept(String),
}

impl FromStr for Version {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            _ if text == "current" => Self::Current,
            Ok(generation) => Self::Generation(generation),
            Err(_) => Self::Kept(text.to_owned()),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => formatter.write_str("current"),
            Self::Generation(generation) => write!(formatter, "{generation}"),
            Self::Kept(name) => formatter.write_str(name),
        }
    }
}

impl Authority {
    /// What is known of a version; [`AuthorityError::NoVersion`] where there is none, a profile never saved included.
    pub fn record_of(&self, version: &Version) -> Result<HeadRecord, AuthorityError> {
        let current = self.head()?;
        let is_meant = |record: &HeadRecord| match version {
            Version::Current => Some(&record.head) == current.as_ref(),
            Version::Generation(number) => record.kept_as.is_none() && record.head.generation == *number,
            Version::Kept(name) => record.kept_as.as_ref().is_some_and(|kept| is_named(kept, name)),
        };
        let mut found = self.history()?.into_iter().filter(is_meant);
        // Two that end alike are told apart by more digits.
        match (found.next(), found.next()) {
            (Some(record), None) => Ok(record),
            _ => Err(AuthorityError::NoVersion { name: self.record.name.clone(), version: version.clone() }),
        }
    }
}

/// The generation's leading zeros need not be typed, nor the generation at all.
fn is_named(kept: &str, name: &str) -> bool {
    let short = kept.trim_start_matches('0');
    let digits = kept.split_once('-').map_or("", |(_, digits)| digits);
    !name.is_empty() && (kept == name || short == name.trim_start_matches('0') || digits == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_survives_its_text() {
        for (text, version) in [
            ("current", Version::Current),
            ("12", Version::Generation(12)),
            ("12-1a2b3c4d", Version::Kept("12-1a2b3c4d".into())),
            ("-3", Version::Kept("-3".into())),
        ] {
            assert_eq!(text.parse(), Ok(version.clone()));
            assert_eq!(version.to_string(), text);
        }
    }

    #[test]
    fn a_name_that_climbs_is_compared_and_never_a_path() {
        let root = tempfile::tempdir().unwrap();
        let account = crate::keys::AccountKey::from_bytes([1; 32]);
        let mut random = crate::secret::SystemRandom;
        let authority =
            Authority::create(root.path(), &"work".parse().unwrap(), &account, 1, &mut random).unwrap();
        let heads = authority.directory().join("heads");
        std::fs::create_dir_all(&heads).unwrap();
        // Where it would lead, if it were one.
        std::fs::copy(authority.directory().join("profile.json"), authority.directory().join("x.json"))
            .unwrap();
        for name in ["../x", "../../y", "/etc/passwd", "..", "x\0y", "12-../../x", "%2e%2e/x"] {
            let version: Version = name.parse().unwrap();
            assert_eq!(version, Version::Kept(name.into()));
            assert!(matches!(authority.record_of(&version), Err(AuthorityError::NoVersion { .. })), "{name}");
        }
    }

    #[test]
    fn a_kept_version_is_found_by_as_little_as_tells_it_apart() {
        let kept = "00000000000000000012-1a2b3c4d";
        for name in [kept, "12-1a2b3c4d", "0012-1a2b3c4d", "1a2b3c4d"] {
            assert!(is_named(kept, name), "{name}");
        }
        for name in ["", "12", "2-1a2b3c4d", "1a2b", "0"] {
            assert!(!is_named(kept, name), "{name}");
        }
    }
}
