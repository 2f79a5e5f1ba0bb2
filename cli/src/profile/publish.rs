//! After the objects: the store is told which head is current now, and what has to be kept.

use std::time::{Duration, SystemTime};

use cbrowse_profile::{
    authority::{HeadRecord, HeadRef},
    keys::ProfileKeys,
    object::ObjectName,
    pointer::Pointer,
    retain::{Deletion, MAX_RETAINED, RetainList, sign_next_key},
    secret::SystemRandom,
};
use cbrowse_protocol::api::{DeletionRequest, KeyRequest, PointerView, RetainRequest};

use super::{
    CarryError, OpenProfile,
    ask::{self, Told},
    upload::Travel,
};
use crate::{
    attach::connection::{ConnectionError, TrustedConnection},
    credentials::{Credentials, seconds},
};

/// Generations that stores keep whole, the current one among them. More: stores fill with what nobody goes back to; fewer: a
/// device that lost everything can go back less far. The user's own machine keeps all.
pub const KEPT_GENERATIONS: usize = 10;
/// Versions that lost a conflict, the newest of which stores keep, too.
const KEPT_BESIDE: usize = 10;

/// What a store made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The head is current there.
    Current {
        /// Objects that the store removed, since the list names them no more.
        removed: u64,
    },
    /// The node is of a version that keeps no heads.
    Unsupported,
}

/// What to do about what a store points to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// It is current already.
    Same,
    /// It takes this one's place.
    Replace(Option<HeadRef>),
    /// Another device moved on, and this one has not taken that over.
    MovedOn(u64),
}

/// Pure. `noted` is what a store pointed to last, as far as this device knows.
fn judge(told: Option<&HeadRef>, own: &HeadRef, noted: Option<&HeadRef>, history: &[HeadRecord]) -> Next {
    let Some(told) = told else { return Next::Replace(None) };
    if told == own {
        return Next::Same;
    }
    let is_known = history.iter().any(|record| record.head == *told) || noted == Some(told);
    let is_behind = noted.is_some_and(|noted| told.generation < noted.generation);
    if (is_known || is_behind) && told.generation < own.generation {
        return Next::Replace(Some(told.clone()));
    }
    Next::MovedOn(told.generation)
}

impl OpenProfile {
    /// Makes the current generation the store's, unless another device has moved on there, and says what has to be kept.
    /// What the store turns out to lack is sent.
    pub async fn publish(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
        now: u64,
        travel: &Travel,
    ) -> Result<Published, CarryError> {
        let Some(head) = self.head()? else { return Ok(Published::Unsupported) };
        let told = match ask::get_head(connection, credentials, self.id()).await? {
            Told::Unsupported => return Ok(Published::Unsupported),
            Told::Nothing => {
                self.hand_over(connection, credentials).await?;
                None
            }
            Told::Current(view) => Some(self.read_pointer(&view, connection, credentials).await?.head),
        };
        let (noted, history) = (self.authority.noted_pointer()?, self.authority.history()?);
        match judge(told.as_ref(), &head, noted.as_ref(), &history) {
            Next::Same => {}
            Next::MovedOn(generation) => return Err(CarryError::MovedOn { generation }),
            Next::Replace(replaced) => {
                let time =
                    history.iter().find(|record| record.head == head).map_or(now, |record| record.time);
                let view = self.pointer(head.clone(), replaced, time);
                if !ask::put_head(connection, credentials, self.id(), &view).await? {
                    return Err(CarryError::MovedOn { generation: head.generation });
                }
            }
        }
        self.authority.note_pointer(&head)?;
        let removed = self.retain(connection, credentials, &head, &history, (now, travel)).await?;
        Ok(Published::Current { removed })
    }

    /// A save came home over this connection: where any store was ever told what is current, this node's is told now. Gives up
    /// after `patience`; the next sync then does it.
    pub async fn publish_save(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
        patience: Duration,
    ) -> Result<(), CarryError> {
        if self.authority.noted_pointer()?.is_none() {
            return Ok(());
        }
        let travel = Travel::default();
        let telling = async {
            self.upload(connection, credentials, &travel).await?;
            self.publish(connection, credentials, seconds(SystemTime::now()), &travel).await
        };
        let told = tokio::time::timeout(patience, telling).await;
        told.unwrap_or_else(|_| Err(CarryError::Slow(patience))).map(drop)
    }

    /// What a store points to, by the word of this account. A pointer from before a rotation is still this account's: the store
    /// is then told which key speaks from now on.
    async fn read_pointer(
        &self,
        view: &PointerView,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
    ) -> Result<Pointer, CarryError> {
        let refused = match Pointer::read(&view.pointer, self.id(), &self.keys.verifying_key()) {
            Ok(pointer) => return Ok(pointer),
            Err(error) => error,
        };
        let read = |keys: &ProfileKeys| Pointer::read(&view.pointer, self.id(), &keys.verifying_key()).ok();
        let earlier = self.keys.epochs().skip(1).find_map(read).ok_or(refused)?;
        self.hand_over(connection, credentials).await?;
        Ok(earlier)
    }

    /// Each epoch's key hands over to the next, oldest first; a store that is further on refuses the first of these.
    async fn hand_over(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
    ) -> Result<(), CarryError> {
        let epochs: Vec<&ProfileKeys> = self.keys.epochs().collect();
        for pair in epochs.windows(2).rev() {
            let verifying_key = pair[0].verifying_key();
            let next = KeyRequest { verifying_key, handed_over: sign_next_key(pair[1], &verifying_key) };
            match ask::put_key(connection, credentials, self.id(), &next).await {
                Ok(()) | Err(CarryError::Node(ConnectionError::Refused { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn pointer(&self, head: HeadRef, replaced: Option<HeadRef>, time: u64) -> PointerView {
        let name = &self.authority.record().name;
        let pointer = Pointer::new(&self.keys, head, replaced, time, name, &mut SystemRandom);
        PointerView { pointer: pointer.sign(&self.keys), verifying_key: self.keys.verifying_key() }
    }

    async fn retain(
        &self,
        connection: &mut TrustedConnection,
        credentials: &Credentials,
        head: &HeadRef,
        history: &[HeadRecord],
        (now, travel): (u64, &Travel),
    ) -> Result<u64, CarryError> {
        // A list that leaves out what cannot be read here would have the store remove its good copy.
        let Some(names) = self.to_retain(head, history) else { return Ok(0) };
        let own = names.clone();
        let Ok(list) = RetainList::new(self.id().clone(), head.generation, now, names) else { return Ok(0) };
        let request = RetainRequest { list: list.sign(&self.keys), verifying_key: self.keys.verifying_key() };
        let told = ask::put_retain(connection, credentials, self.id(), &request).await?;
        let lacking: Vec<ObjectName> =
            own.into_iter().filter(|name| told.missing.contains(&name.to_string())).collect();
        if !lacking.is_empty() {
            self.send_through(connection, credentials, lacking, travel, |_| {}).await?;
        }
        Ok(told.removed)
    }

    /// Every object of the generations that stores keep; `None` where one of them cannot be read.
    fn to_retain(&self, head: &HeadRef, history: &[HeadRecord]) -> Option<Vec<ObjectName>> {
        let line = history.iter().rev().filter(|record| record.kept_as.is_none()).take(KEPT_GENERATIONS);
        let beside = history.iter().rev().filter(|record| record.kept_as.is_some()).take(KEPT_BESIDE);
        let mut names = vec![head.name];
        for record in line.chain(beside) {
            names.extend(self.authority.snapshot_at(&record.head.name, &self.keys).ok()?.objects());
        }
        names.sort_unstable();
        names.dedup();
        (names.len() <= MAX_RETAINED).then_some(names)
    }

    /// The owner's word that everything of the profile may go.
    pub fn deletion(&self, now: u64) -> DeletionRequest {
        let deletion = Deletion { profile: self.id().clone(), time: now };
        DeletionRequest { deletion: deletion.sign(&self.keys), verifying_key: self.keys.verifying_key() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(generation: u64, of: u8) -> HeadRef {
        HeadRef { generation, name: ObjectName::from_bytes([of; 32]) }
    }

    fn record(head: &HeadRef) -> HeadRecord {
        let json = serde_json::json!({
            "head": head, "time": 1, "device": "", "browser_version": "", "closing": "clean", "files": 1, "bytes": 1,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_what_this_device_knows_is_replaced() {
        let history = [record(&head(4, 4)), record(&head(5, 5)), record(&head(7, 7))];
        let own = head(7, 7);
        let noted = head(5, 5);
        let judged = |told: Option<HeadRef>| judge(told.as_ref(), &own, Some(&noted), &history);
        assert_eq!(judged(None), Next::Replace(None));
        assert_eq!(judged(Some(own.clone())), Next::Same);
        assert_eq!(judged(Some(noted.clone())), Next::Replace(Some(noted.clone())));
        assert_eq!(judged(Some(head(4, 9))), Next::Replace(Some(head(4, 9))), "a store that is behind");
        assert_eq!(judged(Some(head(6, 9))), Next::MovedOn(6), "another device's");
        assert_eq!(judged(Some(head(5, 9))), Next::MovedOn(5), "a fork");
        assert_eq!(judged(Some(head(7, 9))), Next::MovedOn(7));
        assert_eq!(judged(Some(head(9, 9))), Next::MovedOn(9));
        let unknowing = judge(Some(&head(4, 9)), &own, None, &history);
        assert_eq!(unknowing, Next::MovedOn(4), "without a note, only the history counts");
    }
}
