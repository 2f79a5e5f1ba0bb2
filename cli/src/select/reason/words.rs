//! A reason in words, for a person and for programs.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::Reason;
use crate::{breaker::KeptOut, probe::Reach, words::count};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: &Duration| duration.as_secs_f64() * 1e3;
        match self {
            Self::Region { is, wanted } => write!(f, "in {is}, not {}", wanted.join(" or ")),
            Self::RegionUnknown => f.write_str("does not name its region"),
            Self::Zone { is, wanted } => write!(f, "zone {}, not {}", or_unknown(is), wanted.join(" or ")),
            Self::Tag(tag) => write!(f, "lacks the tag {tag}"),
            Self::Meta { key, value, is: None } => write!(f, "lacks the metadata {key}={value}"),
            Self::Meta { key, value, is: Some(is) } => write!(f, "metadata {key}={is}, not {value}"),
            Self::Country { is, wanted } => {
                write!(f, "country {}, not {}", is.as_deref().unwrap_or("unknown"), wanted.join(" or "))
            }
            Self::Distance { is: None, around } => {
                write!(f, "does not say where it is, so not how far from {}", around.center)
            }
            Self::Distance { is: Some(km), around } => {
                write!(f, "{km:.0} km from {}, over {:.0} km", around.center, around.radius_km)
            }
            Self::Health { is, wanted } => {
                let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                write!(f, "health {is}, not {}", wanted.join(" or "))
            }
            Self::VersionRange { is, range } => write!(f, "version {}, not {range}", or_unknown(is)),
            Self::NotAsked => f.write_str("not one of --node"),
            Self::Version { is, least } => write!(f, "version {}, {least} is needed", or_unknown(is)),
            Self::BrowserTooOld { is, profile } => {
                write!(f, "browser {} is older than the profile's {profile}", or_unknown(is))
            }
            Self::NoWeight => f.write_str("weight 0: takes no new sessions"),
            Self::Full { sessions, capacity } => write!(f, "full ({sessions} of {capacity} seats)"),
            Self::KeptOut(KeptOut { failures: 0, wait }) => {
                write!(f, "kept out as it asked for, tried again in {} s", wait.as_secs() + 1)
            }
            Self::KeptOut(KeptOut { failures, wait }) => {
                let times = count(u64::from(*failures), "failure");
                write!(f, "kept out after {times}, tried again in {} s", wait.as_secs() + 1)
            }
            Self::Draining => f.write_str("draining"),
            Self::TooFar { rtt, limit } => write!(f, "{:.1} ms away, over {:.1} ms", ms(rtt), ms(limit)),
            Self::Unreachable(reach) => f.write_str(match reach {
                Reach::Refused => "nothing listens on its port",
                Reach::NoRoute => "no route to it",
                Reach::PortSilent => "answers ping, its port does not",
                Reach::Forbidden => "its name leads where its catalog may not point",
                Reach::Unresolved => "its name does not resolve",
                Reach::Silent
                | Reach::NotAwaited
                | Reach::NotProbed
                | Reach::Serving
                | Reach::Unconfirmed
                | Reach::Remembered
                | Reach::NotRemembered
                | Reach::NotDrawn => "no answer",
            }),
            Self::NotDrawn => f.write_str("not among the few that quiet probing drew"),
            Self::NotRemembered => f.write_str("no earlier probing on this network found it serving"),
            Self::NotServing(why) => write!(f, "does not serve: {why}"),
            Self::NotTrusted(why) => write!(f, "not trusted: {why}"),
        }
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cause = self.cause();
        let mut object = serializer.serialize_struct("Reason", 2 + usize::from(cause.is_some()))?;
        object.serialize_field("code", self.code())?;
        if let Some(cause) = cause {
            object.serialize_field("cause", cause)?;
        }
        object.serialize_field("message", &self.to_string())?;
        object.end()
    }
}
