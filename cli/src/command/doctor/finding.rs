//! What is checked, and what was found.

use std::fmt;

use clap::ValueEnum;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::Value;

/// What is checked. The names are stable: they stand in `--only`, in `--skip` and in the JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Check {
    /// Echo requests over IPv4.
    IcmpV4,
    /// Echo requests over IPv6.
    IcmpV6,
    /// Room for answers that arrive at once.
    Buffers,
    /// How many connections may be open at once.
    OpenFiles,
    /// Names, over UDP.
    DnsUdp,
    /// Names, over TCP, and answers that are too long for UDP.
    DnsTcp,
    /// An IPv6 address and a way out.
    Ipv6,
    /// Proxies that the environment names.
    Proxies,
    /// The settings file.
    Settings,
    /// Each catalog in force: does it answer, how fast, with how many nodes.
    Catalogs,
    /// The copies of the catalogs' last answers.
    Copies,
    /// This machine's clock, compared with the nodes'.
    Clock,
    /// Where secrets are kept.
    Keyring,
    /// The token, and until when it holds.
    Login,
    /// Fleets and nodes that are trusted, and how long their statements hold.
    Trust,
    /// Whose files and directories, and who may read them.
    Storage,
    /// Free room.
    Disk,
    /// Size, characters, colours and pictures of the terminal.
    Terminal,
    /// A browser to open the viewer with.
    Browser,
    /// What a private node of this machine needs.
    PrivateNode,
}

/// Checks that are shown together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The network as such.
    Network,
    /// Catalogs and nodes.
    Nodes,
    /// Secrets and trust.
    Identity,
    /// This machine.
    Machine,
}

impl Group {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Network, Self::Nodes, Self::Identity, Self::Machine];

    /// Stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Nodes => "nodes",
            Self::Identity => "identity",
            Self::Machine => "machine",
        }
    }

    /// The heading for a person.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Nodes => "Catalogs and nodes",
            Self::Identity => "Keys and trust",
            Self::Machine => "This machine",
        }
    }
}

impl Check {
    /// Where it is shown.
    pub fn group(self) -> Group {
        match self {
            Self::IcmpV4
            | Self::IcmpV6
            | Self::Buffers
            | Self::OpenFiles
            | Self::DnsUdp
            | Self::DnsTcp
            | Self::Ipv6
            | Self::Proxies => Group::Network,
            Self::Settings | Self::Catalogs | Self::Copies | Self::Clock => Group::Nodes,
            Self::Keyring | Self::Login | Self::Trust => Group::Identity,
            Self::Storage | Self::Disk | Self::Terminal | Self::Browser | Self::PrivateNode => Group::Machine,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and could work better.
    Warning,
    /// Something that is needed does not work.
    Problem,
    /// There was nothing to check, or no way to.
    Skipped,
}

/// What one check found. Strangers' words in it are safe for a terminal.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// What it is about, where there may be several, such as a catalog.
    pub subject: Option<String>,
    /// How it ended.
    pub state: State,
    /// What was found, with the value; without a final full stop.
    pub found: String,
    /// How to mend it, with the exact command.
    pub mend: Option<String>,
    /// The values, for programs; `null` where `found` says it all.
    pub details: Value,
}

impl Finding {
    fn new(check: Check, state: State, found: impl Into<String>, mend: Option<String>) -> Self {
        Self { check, subject: None, state, found: found.into(), mend, details: Value::Null }
    }

    /// As it should be.
    pub fn ok(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found, None)
    }

    /// There was nothing to check.
    pub fn skipped(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, State::Skipped, found, None)
    }

    /// It works, and could work better.
    pub fn warning(check: Check, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(check, State::Warning, found, Some(mend.into()))
    }

    /// Something that is needed does not work.
    pub fn problem(check: Check, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(check, State::Problem, found, Some(mend.into()))
    }

    /// Says what it is about.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// What could be done all the same.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// Adds values for programs.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Finding", 7)?;
        object.serialize_field("name", &self.check.to_string())?;
        object.serialize_field("group", self.check.group().name())?;
        object.serialize_field("subject", &self.subject)?;
        object.serialize_field("state", &self.state)?;
        object.serialize_field("found", &self.found)?;
        object.serialize_field("mend", &self.mend)?;
        object.serialize_field("details", &self.details)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_names_of_checks_are_frozen() {
        let names: Vec<String> = Check::value_variants().iter().map(ToString::to_string).collect();
        assert_eq!(
            names.join(" "),
            "icmp-v4 icmp-v6 buffers open-files dns-udp dns-tcp ipv6 proxies settings catalogs copies clock \
             keyring login trust storage disk terminal browser private-node"
        );
    }

    #[test]
    fn every_finding_has_all_its_fields() {
        let finding = Finding::problem(Check::Catalogs, "down", "start it").about("file:a");
        assert_eq!(
            serde_json::to_value(finding).expect("JSON"),
            json!({"name": "catalogs", "group": "nodes", "subject": "file:a", "state": "problem",
                   "found": "down", "mend": "start it", "details": null})
        );
    }
}
