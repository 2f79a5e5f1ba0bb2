//! A profile on its way to a node and back: objects up, a grant for one worker, proposals home.

pub mod ask;
pub mod bound;
pub mod copies;
mod failure;
pub mod publish;
pub mod pull;
pub mod remote;
pub mod right;
mod settle;
pub mod source;
pub mod upload;

use std::time::Duration;

use cbrowse_profile::{
    account::Account,
    authority::{Authority, AuthorityError, HeadRef, Version},
    grant::{Grant, GrantError, seal_grant, session_of},
    keys::{AccountKey, ProfileKeys},
    object::{ObjectName, ObjectStore as _, StoreError},
    pointer::PointerError,
    secret::SystemRandom,
    snapshot::Snapshot,
};
use cbrowse_protocol::{
    api::{ProfileGrant, Status},
    id::ProfileId,
    identity::IdentityKey,
};

use self::ask::{ask_missing, at, get_proposals};
pub use self::{
    ask::{Removed, remove},
    failure::{chain, store_trouble},
    publish::Published,
    settle::{Refusal, Settled, settle, why_failed},
    upload::{Travel, Uploaded},
};
use crate::{
    attach::connection::{ConnectionError, TrustedConnection},
    credentials::{Credentials, seconds},
    private_file::FileError,
    profile::right::Right,
};

/// How long a worker may use a grant: from the attach to the session's start, clocks that disagree included.
const GRANT_LIFETIME: Duration = Duration::from_secs(3600);

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
    /// Another device made another generation current.
    #[error(
        "another device has made generation {generation} current in the store since this one last looked"
    )]
    MovedOn {
        /// What is current there.
        generation: u64,
    },
    /// What a store points to is no word of this profile's owner.
    #[error("the store's pointer is refused")]
    Pointer(#[from] PointerError),
    /// The node took too long.
    #[error("the node did not take it within {} s", .0.as_secs())]
    Slow(Duration),
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

impl OpenProfile {
    /// Opens a profile of this machine. A wrong key is noticed here, before anything is written anywhere.
    pub fn open(root: &std::path::Path, name: &str, account: &AccountKey) -> Result<Self, AuthorityError> {
        let authority = Authority::open(root, name)?;
        let keys = authority.keys(account)?;
        Ok(Self { authority, keys, use_of: Use::Current(None) })
    }

    /// The same with every epoch of the account.
    pub fn of(root: &std::path::Path, name: &str, account: &Account) -> Result<Self, AuthorityError> {
        let authority = Authority::open(root, name)?;
        let keys = authority.keys_of(account)?;
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
        travel: &Travel,
    ) -> Result<Uploaded, CarryError> {
        let missing = self.missing(connection, credentials).await?;
        self.send_through(connection, credentials, missing, travel, |_| {}).await
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

    /// Sends these objects, watched and held back by `travel`; `progress` hears of each that arrived.
    pub async fn send_through(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
        names: Vec<ObjectName>,
        travel: &Travel,
        progress: impl FnMut(Uploaded),
    ) -> Result<Uploaded, CarryError> {
        let store = self.authority.store();
        upload::send(self.id(), store, connection, credentials, names, travel, progress).await
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
