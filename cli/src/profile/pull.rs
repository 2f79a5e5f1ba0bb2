//! Objects on their way home: a profile that a store points to is fetched, checked and made this machine's own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cbrowse_profile::{
    account::Account,
    authority::{PullError, Pulled},
    directory::DirectoryStore,
    keys::ProfileKeys,
    meter::Meter,
    object::{ObjectName, ObjectStore as _, StoreError},
    pointer::Pointer,
    secret::SystemRandom,
};
use cbrowse_protocol::id::{ProfileId, ProfileName};
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{
    CarryError, OpenProfile,
    ask::list,
    remote::{self, RemoteStore},
};
use crate::{attach::connection::TrustedConnection, credentials::Credentials};

/// Connections at most.
const LANES: usize = 4;
/// TCP and TLS over a bad link.
const CONNECT_DEADLINE: std::time::Duration = std::time::Duration::from_secs(6);

/// A profile that a store offers, its pointer signed by the user's own key.
#[derive(Debug)]
pub struct Offer {
    /// What it points to.
    pub pointer: Pointer,
    /// What its owner calls it.
    pub name: ProfileName,
    /// The profile's keys.
    pub keys: ProfileKeys,
}

/// What a store has for this user.
#[derive(Debug, Default)]
pub struct Offers {
    /// Everything whose pointer this account signed.
    pub own: Vec<Offer>,
    /// Profiles whose pointer is refused: of another account, or changed on the way.
    pub refused: Vec<ProfileId>,
}

/// Asks what a node has for this user. A pointer counts only if it is signed with a key of this account.
pub async fn offers(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    account: &Account,
) -> Result<Offers, CarryError> {
    let mut offers = Offers::default();
    for view in list(connection, credentials).await?.profiles {
        let Some(current) = view.current else { continue };
        let keys = ProfileKeys::of(account, &view.profile);
        // The key is the account's own, whatever the store says about it.
        let read = Pointer::read(&current.pointer, &view.profile, &keys.verifying_key());
        match read.and_then(|pointer| pointer.name(&keys).map(|name| (pointer, name))) {
            Ok((pointer, name)) => offers.own.push(Offer { pointer, name, keys }),
            Err(_) => offers.refused.push(view.profile),
        }
    }
    Ok(offers)
}

/// Fetches what this machine lacks of an offer and makes it current, or says why not. Nothing local changes before all of it
/// is here; what came before an interruption stays, and is not fetched again.
pub async fn pull(
    profile: Arc<OpenProfile>,
    offer: Pointer,
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    meter: &Arc<Meter>,
) -> Result<Pulled, PullError> {
    let (store, questions) = RemoteStore::new();
    let (inner, pointer) = (profile.clone(), offer.clone());
    let looking =
        tokio::task::spawn_blocking(move || inner.authority().fetch_offer(&pointer, inner.keys(), &store));
    remote::answer(questions, connection, credentials, profile.id()).await;
    let lacking = looking.await.expect("looking does not panic")?;
    fetch(&profile, lacking, connection, credentials, meter).await?;
    let pulling = tokio::task::spawn_blocking(move || {
        profile.authority().pull(&offer, profile.keys(), &mut SystemRandom)
    });
    pulling.await.expect("pulling does not panic")
}

struct Download<'a> {
    profile: &'a ProfileId,
    store: &'a DirectoryStore,
    credentials: &'a Credentials,
    meter: &'a Meter,
    waiting: Mutex<Vec<ObjectName>>,
}

/// Several at once, each compared with its name before it is kept.
async fn fetch(
    profile: &OpenProfile,
    names: Vec<ObjectName>,
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    meter: &Meter,
) -> Result<(), PullError> {
    meter.expect(names.len() as u64, 0);
    let (more, mut others) = ((names.len() / 3).min(LANES - 1), Vec::new());
    let mut opening: FuturesUnordered<_> = (0..more).map(|_| connection.another(CONNECT_DEADLINE)).collect();
    while let Some(opened) = opening.next().await {
        others.extend(opened.ok());
    }
    drop(opening);
    let store = profile.authority().store();
    let download = Download { profile: profile.id(), store, credentials, meter, waiting: Mutex::new(names) };
    let mut running: FuturesUnordered<_> =
        others.iter_mut().chain(std::iter::once(connection)).map(|line| download.lane(line)).collect();
    while let Some(ended) = running.next().await {
        ended?;
    }
    Ok(())
}

impl Download<'_> {
    async fn lane(&self, line: &mut TrustedConnection) -> Result<(), PullError> {
        loop {
            let next = self.waiting().pop();
            let Some(name) = next else { return Ok(()) };
            let object = match remote::get(line, self.credentials, self.profile, &name).await {
                Err(error) if error.is_retryable() => {
                    // Once: the object may come over a fresh connection.
                    if let Ok(fresh) = line.another(CONNECT_DEADLINE).await {
                        *line = fresh;
                    }
                    remote::get(line, self.credentials, self.profile, &name).await?
                }
                got => got?,
            };
            self.meter.done(1, object.len() as u64);
            let store = self.store.clone();
            let kept =
                tokio::task::spawn_blocking(move || -> Result<(), StoreError> { store.put(&name, &object) });
            kept.await.expect("keeping does not panic")?;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<ObjectName>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod lies;
