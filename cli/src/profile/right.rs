//! The right to write a profile, held by this process for as long as its session lasts.

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use cbrowse_profile::{
    authority::{
        Authority, AuthorityError,
        lease::{Asked, Lease, Manner, RENEW_EVERY},
    },
    secret::SystemRandom,
};
use cbrowse_protocol::{
    id::{NodeId, SessionId},
    node::{MAX_FIELD_LENGTH, printable},
};
use serde_json::json;

use crate::{
    credentials::seconds,
    failure::{Exit, Failure},
};

/// How often others are told that this process lives.
pub const RENEWAL: Duration = Duration::from_secs(RENEW_EVERY);

/// Given back when dropped; a process that is killed is seen to be gone.
pub struct Right {
    authority: Authority,
    lease: Mutex<Lease>,
}

impl Right {
    /// Asks for the right to write the profile of this name below `root`, politely or not.
    pub fn take(root: &Path, name: &str, manner: Manner) -> Result<Self, Failure> {
        let authority = Authority::open(root, name)?;
        let device = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let now = seconds(SystemTime::now());
        match authority.take_lease(manner, device.trim(), now, &mut SystemRandom)? {
            Asked::Given(lease) => Ok(Self { authority, lease: Mutex::new(lease) }),
            Asked::Held(lease) => Err(held(name, &lease)),
        }
    }

    /// A session is about to get a grant: were the right lost, its saves would be known by this name.
    pub(super) fn works_with(&self, node: &NodeId, session: SessionId) -> Result<(), AuthorityError> {
        let mut lease = self.lease.lock().expect("no holder panics");
        lease.node = Some(node.to_string());
        if !lease.sessions.contains(&session) {
            lease.sessions.push(session);
        }
        self.authority.renew_lease(&lease).map(drop)
    }

    /// Says that this process lives. `false` once somebody else has ended its right.
    pub fn renew(&self) -> Result<bool, AuthorityError> {
        self.authority.renew_lease(&self.lease.lock().expect("no holder panics"))
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        if let Ok(lease) = self.lease.get_mut() {
            // Whoever comes next sees that this process is gone.
            let _seen_to_be_gone = self.authority.give_back_lease(lease);
        }
    }
}

/// Refuses what would take a profile away from a session that writes it.
pub fn check_unused(authority: &Authority) -> Result<(), Failure> {
    match authority.lease()? {
        None => Ok(()),
        Some(lease) => Err(held(authority.record().name.as_str(), &lease)
            .hint("end that session first: Ctrl-C there saves and ends it")),
    }
}

fn held(name: &str, lease: &Lease) -> Failure {
    let shown = |text: &str| printable(text, MAX_FIELD_LENGTH);
    let (device, node) = (shown(&lease.device), lease.node.as_deref().map(shown));
    let place = node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
    let process = lease.process.pid;
    let message = format!(
        "another session{place} writes profile {name:?} (process {process} on {device}); nothing was changed"
    );
    Failure::new(Exit::Profile, "profile_in_use", message)
        .hint(
            "look on with --read-only (changes are not kept), or end its right with --take-over (what it saves is \
             then kept beside)",
        )
        .details(json!({ "device": device, "process": process, "node": node, "since": lease.taken }))
}
