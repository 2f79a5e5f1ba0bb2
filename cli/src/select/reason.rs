//! Why a node may not be chosen: one reason a rule, with the values that decided. What they say is in [`words`], the rules
//! themselves are in [`super::rules`].

mod words;

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::node::Health;
use cbrowse_registry::VersionRange;

use super::place::Around;
use crate::{
    breaker::KeptOut,
    probe::{Failed, Reach},
};

/// One thing that speaks against a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// In another region.
    Region {
        /// Where it stands.
        is: String,
        /// Where it should; one list for all nodes.
        wanted: Arc<[String]>,
    },
    /// A region is wanted, and it names none.
    RegionUnknown,
    /// In another zone, or in one that it does not name.
    Zone {
        /// Where it stands; empty when it names none.
        is: String,
        /// Where it should.
        wanted: Vec<String>,
    },
    /// Lacks a tag.
    Tag(String),
    /// Lacks a pair of metadata.
    Meta {
        /// The pair's key.
        key: String,
        /// The pair's value.
        value: String,
        /// What stands there instead.
        is: Option<String>,
    },
    /// In another country, or in one that it does not name.
    Country {
        /// Where it stands; `None` when it does not say.
        is: Option<String>,
        /// Where it should.
        wanted: Vec<String>,
    },
    /// Too far from the point asked for, or nobody knows.
    Distance {
        /// How far it stands, in kilometres; `None` when it does not say.
        is: Option<f64>,
        /// What was asked for.
        around: Around,
    },
    /// Its registry holds it for healthier, or less healthy, than asked for.
    Health {
        /// What its health check said.
        is: Health,
        /// What was asked for.
        wanted: Vec<Health>,
    },
    /// Its `cbrowse-node` is of another version than asked for.
    VersionRange {
        /// Its version; empty when it names none.
        is: String,
        /// What was asked for.
        range: VersionRange,
    },
    /// Not one of the nodes asked for.
    NotAsked,
    /// Its `cbrowse-node` is too old.
    Version {
        /// Its version; empty when it names none.
        is: String,
        /// The least that was asked for.
        least: String,
    },
    /// Its browser is older than the one that wrote the profile.
    BrowserTooOld {
        /// Its browser; empty when it names none.
        is: String,
        /// The profile's.
        profile: String,
    },
    /// Its weight is 0: the operator sends no new sessions there.
    NoWeight,
    /// No free seat.
    Full {
        /// Sessions running.
        sessions: u32,
        /// Sessions it admits.
        capacity: u32,
    },
    /// It failed this user lately, or asked to be left alone.
    KeptOut(KeptOut),
    /// It will end soon.
    Draining,
    /// Farther away than asked for.
    TooFar {
        /// Its median round trip.
        rtt: Duration,
        /// The limit.
        limit: Duration,
    },
    /// It cannot be reached, or does not serve.
    Unreachable(Reach),
    /// Quiet probing drew others.
    NotDrawn,
    /// What is remembered decides, and it is not remembered.
    NotRemembered,
    /// It answers, and its status cannot be had.
    NotServing(Failed),
    /// It is not who it should be.
    NotTrusted(String),
}

impl Reason {
    /// Stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Region { .. } => "region",
            Self::RegionUnknown => "region_unknown",
            Self::Zone { .. } => "zone",
            Self::Tag(_) => "tag",
            Self::Meta { .. } => "meta",
            Self::Country { .. } => "country",
            Self::Distance { .. } => "distance",
            Self::Health { .. } => "health",
            Self::VersionRange { .. } => "version_range",
            Self::NotAsked => "node",
            Self::Version { .. } => "version",
            Self::BrowserTooOld { .. } => "browser_too_old",
            Self::NoWeight => "weight",
            Self::Full { .. } => "full",
            Self::KeptOut(_) => "kept_out",
            Self::Draining => "draining",
            Self::TooFar { .. } => "max_latency",
            Self::Unreachable(_) => "unreachable",
            Self::NotDrawn => "not_drawn",
            Self::NotRemembered => "not_remembered",
            Self::NotServing(_) => "not_serving",
            Self::NotTrusted(_) => "not_trusted",
        }
    }
}

impl Reason {
    /// Which of several things it is that the code sums up; a stable name for programs.
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable(reach) => Some(match reach {
                Reach::Refused => "refused",
                Reach::NoRoute => "no_route",
                Reach::PortSilent => "port_silent",
                Reach::Forbidden => "forbidden",
                Reach::Unresolved => "unresolved",
                Reach::Silent
                | Reach::NotAwaited
                | Reach::NotProbed
                | Reach::Serving
                | Reach::Unconfirmed
                | Reach::Remembered
                | Reach::NotRemembered
                | Reach::NotDrawn => "silent",
            }),
            Self::NotServing(failed) => Some(failed.failing.name()),
            _ => None,
        }
    }
}
