//! What is known of one node while it is probed, and what that says about the way to it.

use std::time::Duration;

use super::{
    plan::leader_top,
    statistics::{Measurement, Samples},
};

/// How a probe travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// An echo request.
    Icmp,
    /// A connection to the node's port, closed once it stands.
    Tcp,
}

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Track {
    /// By echo requests.
    pub icmp: Samples,
    /// By connections.
    pub tcp: Samples,
    /// Its port refused a connection.
    pub refused: bool,
    /// The network knows no way to it.
    pub no_route: bool,
    /// Probes planned, by method.
    pub(super) asked: [u32; 2],
    /// Connections that had not come about when the race ended without them.
    pub(super) given_up: u32,
    /// A probe was still under way when the race ended without it.
    pub(super) not_awaited: bool,
}

/// What is known of the way to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Its port accepts connections.
    Serving,
    /// The machine answers echo requests; its port was not asked, or not waited for.
    Unconfirmed,
    /// The machine answers echo requests, its port does not answer.
    PortSilent,
    /// Nothing listens on its port.
    Refused,
    /// The network knows no way to it.
    NoRoute,
    /// No answer of any kind.
    Silent,
    /// No answer yet when nearer nodes had settled the race; it may well be there.
    NotAwaited,
    /// Its name has no address.
    Unresolved,
    /// Nobody asked it: the catalog alone speaks against it.
    NotProbed,
    /// Its name leads to addresses that its catalog may not name.
    Forbidden,
    /// An earlier probing on this network found it serving; nobody asked it this time.
    Remembered,
    /// No earlier probing on this network found it serving; nobody asked it this time.
    NotRemembered,
    /// Not among the few that were drawn.
    NotDrawn,
}

impl Reach {
    /// Whether its port accepts connections, or did when it was probed last.
    pub fn serves(self) -> bool {
        matches!(self, Self::Serving | Self::Remembered)
    }
}

/// Connections given up before their time that make a silent port; one could have been lost on the way.
const SILENT_PORT: u32 = 2;

impl Track {
    /// What is known of the way to it.
    pub fn reach(&self) -> Reach {
        if self.no_route {
            Reach::NoRoute
        } else if self.refused {
            Reach::Refused
        } else if !self.tcp.replies.is_empty() {
            Reach::Serving
        } else if self.icmp.replies.is_empty() && self.not_awaited {
            Reach::NotAwaited
        } else if self.icmp.replies.is_empty() {
            Reach::Silent
        } else if self.tcp.lost > 0 || self.given_up >= SILENT_PORT {
            Reach::PortSilent
        } else {
            Reach::Unconfirmed
        }
    }

    /// By which methods it answered.
    pub fn method(&self) -> &'static str {
        match (self.icmp.replies.is_empty(), self.tcp.replies.is_empty()) {
            (false, false) => "icmp+tcp",
            (false, true) => "icmp",
            (true, false) => "tcp",
            (true, true) => "",
        }
    }

    /// Its round trips, by echo requests where it answers them: they see the path, not the node's accept queue.
    /// Where connections take much longer, something nearer than the node answers its echo requests.
    pub fn measure(&self) -> Option<Measurement> {
        let (icmp, tcp) = (self.icmp.measure(), self.tcp.measure());
        match (icmp, tcp) {
            (Some(icmp), Some(tcp)) if tcp.min > leader_top(icmp.min) => Some(tcp),
            (Some(icmp), _) => Some(icmp),
            (None, tcp) => tcp,
        }
    }

    /// Shortest round trip by either method.
    pub fn min(&self) -> Option<Duration> {
        self.icmp.min().into_iter().chain(self.tcp.min()).min()
    }

    /// Whether this way to a node is to be taken rather than `other`: who serves before who does not, then the shorter.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        let rank = |track: &Self| {
            let standing = match track.reach() {
                Reach::Serving => 0,
                Reach::Unconfirmed => 1,
                Reach::PortSilent => 2,
                Reach::Refused => 3,
                Reach::NotAwaited => 4,
                // A track knows no others.
                _ => 5,
            };
            (standing, track.measure().map_or(Duration::MAX, |measured| measured.p50))
        };
        rank(self) < rank(other)
    }

    /// Whether it is out, whatever else comes.
    pub(super) fn is_out(&self) -> bool {
        self.refused || self.no_route
    }

    pub(super) fn asked(&mut self, method: Method) -> &mut u32 {
        &mut self.asked[method as usize]
    }

    pub(super) fn samples(&mut self, method: Method) -> &mut Samples {
        match method {
            Method::Icmp => &mut self.icmp,
            Method::Tcp => &mut self.tcp,
        }
    }
}
