//! A profile on its way to a node and back: objects up, a grant for one worker, proposals home.

pub mod copies;
pub mod remote;
pub mod right;
pub mod source;

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use cbrowse_profile::{
    authority::{AcceptError, Accepted, Authority, AuthorityError, HeadRef, Version},
    grant::{Grant, GrantError, seal_grant, session_of},
    keys::{AccountKey, ProfileKeys},
    object::{ObjectName, ObjectStore as _, StoreError},
    secret::SystemRandom,
    snapshot::Snapshot,
};
use cbrowse_protocol::{
    api::{MAX_OBJECT_NAMES, ObjectNames, ProfileGrant, Proposals, Status},
    id::ProfileId,
    identity::IdentityKey,
    node::NodeRecord,
};
use http::Method;

use crate::{
    attach::connection::{Ask, ConnectionError, TrustedConnection},
    credentials::{Credentials, seconds},
    failure::{Exit, Failure},
    private_file::FileError,
    profile::{remote::RemoteStore, right::Right},
};

/// How long a worker may use a grant: from the attach to the session's start, clocks that disagree included.
const GRANT_LIFETIME: Duration = Duration::from_secs(3600);
/// Between two looks whether a closing session has proposed its save.
const POLL: Duration = Duration::from_millis(150);

/// Why a profile did not get to a node or back. Nothing on this machine is lost by any of these.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The node.
    #[error(transparent)]
    Node(#[from] ConnectionError),
    /// This machine's copy.
    #[error("read the profile: {0}")]
    Authority(#[from] AuthorityError),
    /// This machine's objects.
    #[error("read the profile's objects: {0}")]
    Store(#[from] StoreError),
    /// The node's session key.
    #[error("seal the profile: {0}")]
    Grant(#[from] GrantError),
    /// The node offers no key to seal to.
    #[error("the node has no worker ready for a profile; try again in a second")]
    NoSessionKey,
    /// The key in the status is not the node's.
    #[error("the node's session key is not signed by its identity; nothing was sent")]
    ForeignSessionKey,
    /// Unreadable answer.
    #[error("the node's answer is unreadable: {0}")]
    Answer(String),
    /// Nothing leaves this machine before it is written down where to.
    #[error("note where the profile goes: {0}")]
    Note(#[from] FileError),
}

impl CarryError {
    /// Whether the worker that the grant was for is taken, or the next one not there yet.
    pub fn is_about_the_key(&self) -> bool {
        match self {
            Self::NoSessionKey => true,
            Self::Node(ConnectionError::Refused { problem, .. }) => problem.code == "session_key_used",
            _ => false,
        }
    }
}

impl From<CarryError> for Failure {
    fn from(error: CarryError) -> Self {
        match error {
            CarryError::Node(error) => error.into(),
            CarryError::NoSessionKey => Failure::new(Exit::Refused, "no_session_key", error.to_string()),
            CarryError::ForeignSessionKey => Failure::new(Exit::Trust, "session_key", error.to_string()),
            other => Failure::new(Exit::Profile, "profile", chain(&other)).hint(
                "cbrowse profile verify NAME says what is damaged and what is whole; nothing was changed",
            ),
        }
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        let (code, hint) = match &error {
            AuthorityError::Unknown(name) => {
                let hint = format!(
                    "make it: cbrowse profile create {name}; see which there are: cbrowse profile list"
                );
                return Failure::new(Exit::Profile, "no_profile", error.to_string()).hint(hint);
            }
            AuthorityError::Exists(_) => ("profile_exists", "choose another name, or use that one"),
            AuthorityError::WrongKey(_) => (
                "wrong_key",
                "use the keyring, or the passphrase file, with which the profile was made; nothing was written",
            ),
            AuthorityError::NoVersion { .. } => {
                ("no_version", "see which there are: cbrowse profile history NAME; nothing was changed")
            }
            AuthorityError::Busy => ("profile_busy", "wait for the other command; nothing was changed"),
            AuthorityError::Version(_) => ("profile_newer", "update cbrowse; nothing was changed"),
            AuthorityError::RolledBack { .. } | AuthorityError::Forked(_) => (
                "profile_rolled_back",
                "somebody or some backup put older files in place; restore the newer ones, nothing was changed",
            ),
            AuthorityError::Conflict { .. } => ("profile_conflict", "see both: cbrowse profile history"),
            AuthorityError::Damaged(_) => {
                ("profile_damaged", "restore that file from a backup; nothing was changed")
            }
            other => store_trouble(other),
        };
        Failure::new(Exit::Profile, code, chain(&error)).hint(hint)
    }
}

/// Code and hint of an error that comes from the disk or from damaged objects.
pub fn store_trouble(error: &(dyn std::error::Error + 'static)) -> (&'static str, &'static str) {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            return match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    ("disk_full", "free some space and try again; every generation up to now is safe")
                }
                ErrorKind::PermissionDenied => {
                    ("no_permission", "use the account that owns these files; nothing was changed")
                }
                _ => ("disk", "look after that file or disk; every generation up to now is safe"),
            };
        }
        if let Some(StoreError::Missing(_) | StoreError::Corrupt(_)) = inner.downcast_ref::<StoreError>() {
            return (
                "object_damaged",
                "see which generations are whole: cbrowse profile verify; nothing was changed",
            );
        }
        cause = inner.source();
    }
    ("profile", "nothing was changed; see cbrowse profile status")
}

/// An error and its causes as one sentence.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// A profile whose key is at hand.
pub struct OpenProfile {
    authority: Authority,
    keys: ProfileKeys,
    use_of: Use,
}

/// What a session does with it.
enum Use {
    /// Opens what is current; what it saves becomes the next generation.
    Current(Option<Box<Right>>),
    /// Opens this version, and nothing that it changes is kept.
    Throwaway(Version),
}

/// What went up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Uploaded {
    /// Objects that the node lacked.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl OpenProfile {
    /// Opens a profile of this machine. A wrong key is noticed here, before anything is written anywhere.
    pub fn open(root: &std::path::Path, name: &str, account: &AccountKey) -> Result<Self, AuthorityError> {
        let authority = Authority::open(root, name)?;
        let keys = authority.keys(account)?;
        Ok(Self { authority, keys, use_of: Use::Current(None) })
    }

    /// A profile that was made just now.
    pub fn new(authority: Authority, keys: ProfileKeys) -> Self {
        Self { authority, keys, use_of: Use::Current(None) }
    }

    /// For sessions whose changes are not kept, on any version.
    pub fn into_throwaway(self, version: &Version) -> Result<Self, AuthorityError> {
        if *version != Version::Current {
            self.authority.record_of(version)?;
        }
        Ok(Self { use_of: Use::Throwaway(version.clone()), ..self })
    }

    /// For sessions that write, under this right.
    #[must_use]
    pub fn writing(self, right: Right) -> Self {
        Self { use_of: Use::Current(Some(Box::new(right))), ..self }
    }

    /// Whether what a session changes is kept.
    pub fn is_kept(&self) -> bool {
        matches!(self.use_of, Use::Current(_))
    }

    /// The right to write, where it was asked for.
    pub fn right(&self) -> Option<&Right> {
        match &self.use_of {
            Use::Current(right) => right.as_deref(),
            Use::Throwaway(_) => None,
        }
    }

    /// What a session opens.
    fn opened(&self) -> Result<Option<HeadRef>, AuthorityError> {
        match &self.use_of {
            Use::Current(_) | Use::Throwaway(Version::Current) => self.head(),
            Use::Throwaway(version) => self.authority.record_of(version).map(|record| Some(record.head)),
        }
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, AuthorityError> {
        self.opened()?.map(|head| self.authority.snapshot_at(&head.name, &self.keys)).transpose()
    }

    /// The browser that wrote what a session opens; an older one would lose what it does not know.
    pub fn browser_version(&self) -> Result<Option<String>, AuthorityError> {
        let head = self.opened()?;
        let history = self.authority.history()?;
        let current = history.into_iter().find(|record| head.as_ref() == Some(&record.head));
        Ok(current.map(|record| record.browser_version).filter(|version| !version.is_empty()))
    }

    /// This machine's copy.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The profile's keys.
    pub fn keys(&self) -> &ProfileKeys {
        &self.keys
    }

    /// The profile's id.
    pub fn id(&self) -> &ProfileId {
        &self.authority.record().id
    }

    /// What is current, if anything was ever saved.
    pub fn head(&self) -> Result<Option<HeadRef>, AuthorityError> {
        self.authority.head()
    }

    /// Sends the objects of the current generation that the node lacks. Resumable: what arrived stays.
    pub async fn upload(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
        progress: impl FnMut(Uploaded, u64),
    ) -> Result<Uploaded, CarryError> {
        let missing = self.missing(connection, credentials).await?;
        self.send(connection, credentials, missing, progress).await
    }

    /// Objects of the current generation that the node lacks. From now on the profile is this user's on that node.
    pub async fn missing(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
    ) -> Result<Vec<ObjectName>, CarryError> {
        let names = self.objects()?;
        let (peer, identity) = (connection.peer(), *connection.identity());
        copies::note(self.authority.directory(), &identity, &at(peer))?;
        ask_missing(connection, credentials, self.id(), &names).await
    }

    /// Whether these objects together have more than `most` bytes. Reads no more of them than it takes to know.
    pub fn exceed(&self, names: &[ObjectName], most: usize) -> Result<bool, CarryError> {
        let mut bytes = 0;
        for name in names {
            bytes += self.authority.store().get(name)?.len();
            if bytes > most {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends these objects, one after another.
    pub async fn send(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
        names: Vec<ObjectName>,
        mut progress: impl FnMut(Uploaded, u64),
    ) -> Result<Uploaded, CarryError> {
        let total = names.len() as u64;
        let mut uploaded = Uploaded::default();
        for name in names {
            let object = self.authority.store().get(&name)?;
            uploaded.bytes += object.len() as u64;
            let path = format!("/v1/profiles/{}/objects/{name}", self.id());
            connection.request(Ask::new(Method::PUT, &path).octets(Bytes::from(object)), credentials).await?;
            uploaded.objects += 1;
            progress(uploaded, total);
        }
        Ok(uploaded)
    }

    fn objects(&self) -> Result<Vec<ObjectName>, CarryError> {
        let snapshot = self.snapshot()?;
        Ok(snapshot.map(|snapshot| snapshot.objects()).unwrap_or_default())
    }

    /// What [`OpenProfile::upload`] would send. Nothing changes on the node.
    pub async fn would_upload(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
    ) -> Result<Uploaded, CarryError> {
        let names = self.objects()?;
        // Who asks for what is missing becomes the profile's owner there; so first a question that changes nothing.
        let missing = match get_proposals(connection, credentials, self.id()).await? {
            Some(_) => ask_missing(connection, credentials, self.id(), &names).await?,
            None => names,
        };
        let mut would = Uploaded::default();
        for name in missing {
            would.objects += 1;
            would.bytes += self.authority.store().get(&name)?.len() as u64;
        }
        Ok(would)
    }

    /// The right for exactly the worker behind `status` to open the current generation.
    pub fn grant(&self, status: &Status, identity: &IdentityKey) -> Result<ProfileGrant, CarryError> {
        let key = status.session_key.as_ref().ok_or(CarryError::NoSessionKey)?;
        let public: [u8; 32] = key.public.as_slice().try_into().map_err(|_| CarryError::ForeignSessionKey)?;
        if !key.is_vouched(identity, &status.id) {
            return Err(CarryError::ForeignSessionKey);
        }
        let base = self.snapshot()?;
        let expiry = seconds(std::time::SystemTime::now()) + GRANT_LIFETIME.as_secs();
        let mut grant = Grant::new(&self.keys, &public, status.id.clone(), base.as_ref(), expiry);
        if !self.is_kept() {
            grant = grant.throwaway(&mut SystemRandom);
        }
        if let Some(right) = self.right() {
            right.works_with(&status.id, session_of(&public))?;
        }
        let sealed = seal_grant(&public, &grant, &mut SystemRandom)?;
        Ok(ProfileGrant { profile: self.id().clone(), session_key: public.to_vec(), sealed })
    }
}

/// A record of a node of which only the address is known.
fn at(peer: SocketAddr) -> NodeRecord {
    let json = serde_json::json!({"id": peer.to_string(), "address": peer.ip(), "port": peer.port()});
    serde_json::from_value(json).expect("an address makes a record")
}

async fn ask_missing(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
    names: &[ObjectName],
) -> Result<Vec<ObjectName>, CarryError> {
    let path = format!("/v1/profiles/{profile}/missing");
    let mut missing = Vec::new();
    // An empty question still makes the asker the profile's owner on that node.
    let questions: Vec<&[ObjectName]> =
        if names.is_empty() { vec![&[]] } else { names.chunks(MAX_OBJECT_NAMES).collect() };
    for question in questions {
        let asked = ObjectNames { names: question.iter().map(ToString::to_string).collect() };
        let response = connection.request(Ask::new(Method::POST, &path).json(&asked), credentials).await?;
        let told: ObjectNames =
            serde_json::from_slice(&response.body).map_err(|error| CarryError::Answer(error.to_string()))?;
        // Only what was asked about counts; a node cannot make us send anything else.
        missing.extend(question.iter().filter(|name| told.names.contains(&name.to_string())));
    }
    Ok(missing)
}

/// What became of the saves that waited on a node.
#[derive(Debug, Default)]
pub struct Settled {
    /// The generation that is current now, if a save was taken.
    pub current: Option<HeadRef>,
    /// Names under which conflicting saves were kept.
    pub kept: Vec<String>,
    /// Saves that were refused, and why.
    pub refused: Vec<AcceptError>,
    /// Sessions of this profile that are closing on that node.
    pub closing: u32,
    /// Sessions of this profile that run on that node.
    pub running: u32,
}

/// Takes over every save that waits on a node. With `wait`, first gives sessions that close there the time to finish.
pub async fn settle(
    profile: Arc<OpenProfile>,
    connection: &mut TrustedConnection,
    credentials: &Arc<Credentials>,
    wait: Duration,
) -> Result<Settled, CarryError> {
    let until = tokio::time::Instant::now() + wait;
    let mut settled = Settled::default();
    loop {
        let waiting = ask_proposals(connection, credentials, profile.id()).await?;
        (settled.closing, settled.running) = (waiting.closing, waiting.running);
        for view in waiting.proposals {
            let accepted = accept(&profile, connection, credentials, &view.proposal).await;
            let taken = match accepted {
                Ok(Accepted::Current(head)) => {
                    settled.current = Some(head);
                    true
                }
                Ok(Accepted::KeptAs(name)) => {
                    settled.kept.push(name);
                    true
                }
                Ok(Accepted::Already(_) | Accepted::Unchanged(_)) => true,
                Err(error) => {
                    // Kept on the node: another version of this program may understand it.
                    settled.refused.push(error);
                    false
                }
            };
            if taken {
                let path = format!("/v1/profiles/{}/proposals/{}", profile.id(), view.name);
                let _already_gone = connection.request(Ask::new(Method::DELETE, &path), credentials).await;
            }
        }
        if settled.closing == 0 || tokio::time::Instant::now() >= until || !settled.refused.is_empty() {
            return Ok(settled);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn ask_proposals(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
) -> Result<Proposals, CarryError> {
    let told = get_proposals(connection, credentials, profile).await?;
    // A node that never saw the profile holds no saves of it.
    Ok(told.unwrap_or(Proposals { proposals: Vec::new(), closing: 0, running: 0 }))
}

/// `None` where the node does not hold the profile, or not as this user's.
async fn get_proposals(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
) -> Result<Option<Proposals>, CarryError> {
    let path = format!("/v1/profiles/{profile}/proposals");
    match connection.request(Ask::new(Method::GET, &path), credentials).await {
        Ok(response) => serde_json::from_slice(&response.body)
            .map(Some)
            .map_err(|error| CarryError::Answer(error.to_string())),
        Err(ConnectionError::Refused { problem, .. }) if problem.code == "no_profile" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes everything that a node holds of the profile, saves that wait there included; `false` where it held nothing.
pub async fn remove(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
) -> Result<bool, ConnectionError> {
    let path = format!("/v1/profiles/{profile}");
    match connection.request(Ask::new(Method::DELETE, &path), credentials).await {
        Ok(_) => Ok(true),
        Err(ConnectionError::Refused { problem, .. }) if problem.code == "no_profile" => Ok(false),
        Err(error) => Err(error),
    }
}

/// Accepting reads the node's objects from a blocking thread; the thread asks, this side of the channel answers.
async fn accept(
    profile: &Arc<OpenProfile>,
    connection: &mut TrustedConnection,
    credentials: &Arc<Credentials>,
    proposal: &[u8],
) -> Result<Accepted, AcceptError> {
    let (store, questions) = RemoteStore::new();
    let (inner, bytes) = (profile.clone(), proposal.to_vec());
    let judging = tokio::task::spawn_blocking(move || {
        inner.authority.accept(&bytes, &inner.keys, &store, &mut SystemRandom)
    });
    remote::answer(questions, connection, credentials, profile.id()).await;
    judging.await.expect("accepting does not panic")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn disk(kind: ErrorKind) -> AuthorityError {
        let source = io::Error::from(kind);
        StoreError::Disk { action: "write", path: "/p".into(), source }.into()
    }

    #[test]
    fn what_failed_below_decides_what_is_said() {
        for (error, code) in [
            (disk(ErrorKind::StorageFull), "disk_full"),
            (disk(ErrorKind::QuotaExceeded), "disk_full"),
            (disk(ErrorKind::PermissionDenied), "no_permission"),
            (disk(ErrorKind::BrokenPipe), "disk"),
            (StoreError::Corrupt(ObjectName::of(b"x")).into(), "object_damaged"),
            (AuthorityError::Busy, "profile_busy"),
            (AuthorityError::RolledBack { found: 1, seen: 2 }, "profile_rolled_back"),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.exit, failure.code), (Exit::Profile, code));
            assert!(failure.hint.is_some(), "{code}");
        }
    }
}
