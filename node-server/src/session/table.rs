//! All sessions of a node: admission, the worker that waits for the next one, and who may see which.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use cbrowse_protocol::{
    api::{SESSION_KEY_CONTEXT, SessionKey, SessionRequest, session_key_message},
    encoding,
    id::{NodeId, ProfileId, SessionId},
    identity::SigningKey,
    seat::Seat,
};
use tokio::{sync::Mutex as AsyncMutex, task::JoinSet};

use crate::{
    guard::Guard,
    objects::{Objects, random},
    peer::Connection,
    session::{
        process::{self, ProcessError, Template, Waiting},
        relay::{Relay, Session},
        seats::{LASTS, Seats},
    },
    worker::link::{Order, Outbox, Start},
};

/// Finished sessions stay visible to their owner this long.
const REMEMBER_FINISHED: Duration = Duration::from_secs(600);
/// How often the waiting worker is looked at; until then a client may be given the key of one that is gone.
const LOOK_AT_WORKER: Duration = Duration::from_secs(1);
/// The next worker's browser starts this long after its predecessor was taken: sooner, it would compete with the first
/// picture of the session that took it.
const REFILL_PAUSE: Duration = Duration::from_secs(1);
/// Pause before another try after a worker could not be made.
const RETRY_WORKER: Duration = Duration::from_secs(2);

/// A full node is worth asking again after this at the latest, even where no session has ended lately. Longer: places stay
/// empty; shorter: a crowd that waits keeps the node busy with refusals.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Why a session was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// All seats are taken.
    #[error("all {capacity} seats of this node are taken")]
    Full {
        /// Most sessions.
        capacity: u32,
        /// When one may be free.
        wait: Duration,
    },
    /// The node is ending.
    #[error("this node is draining and takes no new session")]
    Draining,
    /// The grant was sealed to a key that is used up or never was this node's.
    #[error("the profile is sealed to a session key that has been used; ask for /status again")]
    KeyUsed,
    /// No worker could be made.
    #[error(transparent)]
    Worker(#[from] ProcessError),
    /// The link broke as the session was given to it.
    #[error("the worker ended as the session began")]
    Lost,
}

/// What all sessions share.
pub struct Table {
    node: NodeId,
    identity: Arc<SigningKey>,
    browser_version: String,
    template: Template,
    objects: Objects,
    guard: Arc<Guard>,
    idle_timeout: Duration,
    capacity: u32,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    /// Locked after `sessions`, where both are.
    seats: Mutex<Seats>,
    /// Grows with every change of what `/status` tells.
    version: std::sync::atomic::AtomicU64,
    waiting: AsyncMutex<Option<Waiting>>,
    offered: Mutex<Option<SessionKey>>,
    refill: tokio::sync::Notify,
    draining: std::sync::atomic::AtomicBool,
    relays: Mutex<JoinSet<()>>,
}

/// What a table is made of.
pub struct Parts {
    /// The node's id.
    pub node: NodeId,
    /// Vouches for session keys.
    pub identity: Arc<SigningKey>,
    /// Version of the node's Chromium.
    pub browser_version: String,
    /// How workers are started.
    pub template: Template,
    /// Sealed profiles.
    pub objects: Objects,
    /// Every session's only way out.
    pub guard: Arc<Guard>,
    /// How long a session lives without a client.
    pub idle_timeout: Duration,
    /// Most sessions.
    pub capacity: u32,
}

impl Table {
    /// An empty table. [`Table::keep_worker_waiting`] must run for sessions to start fast.
    pub fn new(parts: Parts) -> Self {
        Self {
            node: parts.node,
            identity: parts.identity,
            browser_version: parts.browser_version,
            template: parts.template,
            objects: parts.objects,
            guard: parts.guard,
            idle_timeout: parts.idle_timeout,
            capacity: parts.capacity,
            sessions: Mutex::default(),
            seats: Mutex::default(),
            version: 0.into(),
            waiting: AsyncMutex::default(),
            offered: Mutex::default(),
            refill: tokio::sync::Notify::new(),
            draining: false.into(),
            relays: Mutex::default(),
        }
    }

    fn warm_after(&self, pause: Duration) -> Option<Duration> {
        self.template.warm.then_some(pause)
    }

    /// Makes the first worker, so that a node that cannot serve says so at its start.
    pub async fn prepare(&self) -> Result<(), ProcessError> {
        let worker = process::spawn(&self.template, self.warm_after(Duration::ZERO)).await?;
        self.offer(worker).await;
        Ok(())
    }

    async fn offer(&self, worker: Waiting) {
        let message = session_key_message(&self.node, &worker.session_key);
        let signature = self.identity.sign(SESSION_KEY_CONTEXT, &message).to_vec();
        let key = SessionKey { public: worker.session_key.clone(), signature };
        *self.waiting.lock().await = Some(worker);
        *self.offered.lock().expect("no holder panics") = Some(key);
        self.changed();
    }

    fn changed(&self) {
        self.version.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Another number for every change of what is told of this table, the end of sessions apart.
    pub fn version(&self) -> u64 {
        self.version.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Replaces each worker that was taken or died, for ever.
    pub async fn keep_worker_waiting(&self) {
        loop {
            let _ = tokio::time::timeout(LOOK_AT_WORKER, self.refill.notified()).await;
            self.let_go_of_dead(&mut *self.waiting.lock().await);
            while self.waiting.lock().await.is_none() && !self.is_draining() {
                match process::spawn(&self.template, self.warm_after(REFILL_PAUSE)).await {
                    Ok(worker) => self.offer(worker).await,
                    Err(error) => {
                        tracing::error!("make the next worker: {error}");
                        tokio::time::sleep(RETRY_WORKER).await;
                    }
                }
            }
        }
    }

    /// A worker that was killed while it waited must not be promised to a client.
    fn let_go_of_dead(&self, waiting: &mut Option<Waiting>) {
        if waiting.as_mut().is_some_and(|worker| !worker.is_alive()) {
            tracing::warn!("the worker that waited for the next session is gone; making another");
            *waiting = None;
            self.offered.lock().expect("no holder panics").take();
            self.changed();
            self.refill.notify_one();
        }
    }

    /// The key for the next session's grant, if a worker waits.
    pub fn session_key(&self) -> Option<SessionKey> {
        self.offered.lock().expect("no holder panics").clone()
    }

    /// Admits and starts a session, on the seat of this id if it is the owner's and held. The browser starts in the
    /// background; the session tells how it goes.
    pub async fn create(
        &self,
        owner: &str,
        request: SessionRequest,
        seat: Option<&str>,
    ) -> Result<Arc<Session>, CreateError> {
        if self.is_draining() {
            return Err(CreateError::Draining);
        }
        let worker = self.take_worker(&request, owner, seat).await?;
        let now = unix_now();
        let id: SessionId = encoding_id();
        let profile = request.profile.as_ref().map(|grant| grant.profile.clone());
        let (orders, pump) = Outbox::new(worker.writer);
        let session = Arc::new(Session::new(id.clone(), owner.to_owned(), profile, now, orders.clone()));
        self.seat(&session, seat)?;
        let start = Start {
            session: id,
            node: self.node.clone(),
            browser_version: self.browser_version.clone(),
            request,
            now,
        };
        let relay = Relay {
            session: session.clone(),
            child: worker.child,
            reader: worker.reader,
            orders: orders.clone(),
            objects: self.objects.clone(),
            idle_timeout: self.idle_timeout,
            lost_save: false,
        };
        let (door, guard) = (worker.guard, self.guard.clone());
        {
            let mut relays = self.relays.lock().expect("no holder panics");
            while relays.try_join_next().is_some() {}
            relays.spawn(async move {
                // The guard and the writer live exactly as long as the relay.
                let beside = async {
                    if let ((), Err(error)) = tokio::join!(pump, door.run(guard)) {
                        tracing::warn!("a worker lost its way out: {error}");
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = relay.run() => {}
                    () = beside => {}
                }
            });
        }
        if orders.send(&Order::Start(Box::new(start)), &[]).await {
            Ok(session)
        } else {
            Err(CreateError::Lost)
        }
    }

    async fn take_worker(
        &self,
        request: &SessionRequest,
        owner: &str,
        seat: Option<&str>,
    ) -> Result<Waiting, CreateError> {
        let mut waiting = self.waiting.lock().await;
        self.has_room(&self.sessions.lock().expect("no holder panics"), owner, seat)?;
        self.let_go_of_dead(&mut waiting);
        let sealed_to = request.profile.as_ref().map(|grant| &grant.session_key);
        let taken = match (waiting.take(), sealed_to) {
            (Some(worker), Some(key)) if worker.session_key != *key => {
                *waiting = Some(worker);
                return Err(CreateError::KeyUsed);
            }
            (None, Some(_)) => return Err(CreateError::KeyUsed),
            (taken, _) => taken,
        };
        self.offered.lock().expect("no holder panics").take();
        self.changed();
        drop(waiting);
        self.refill.notify_one();
        match taken {
            Some(worker) => Ok(worker),
            None => Ok(process::spawn(&self.template, None).await?),
        }
    }

    /// Takes the seat, or says that another session was faster.
    fn seat(&self, session: &Arc<Session>, seat: Option<&str>) -> Result<(), CreateError> {
        let mut sessions = self.sessions.lock().expect("no holder panics");
        // Under the same lock a drain lists the sessions that it closes: none slips in behind.
        if self.is_draining() {
            return Err(CreateError::Draining);
        }
        let horizon = session.created.saturating_sub(REMEMBER_FINISHED.as_secs());
        sessions.retain(|_, old| old.ended_at().is_none_or(|ended| ended >= horizon));
        self.has_room(&sessions, &session.owner, seat)?;
        if let Some(id) = seat {
            self.seats.lock().expect("no holder panics").release(Instant::now(), &session.owner, id);
        }
        sessions.insert(session.id.clone(), session.clone());
        self.changed();
        Ok(())
    }

    /// Whether one more session of `owner` fits beside those that run and the places that are kept for others.
    fn has_room(
        &self,
        sessions: &HashMap<SessionId, Arc<Session>>,
        owner: &str,
        seat: Option<&str>,
    ) -> Result<(), CreateError> {
        let (now, mut seats) = (Instant::now(), self.seats.lock().expect("no holder panics"));
        // Somebody else's seat makes no room.
        let own = seat.filter(|id| seats.of(now, owner) == Some(id));
        let kept = seats.taken(now, own);
        if alive(sessions) + kept < self.capacity as usize {
            return Ok(());
        }
        let ended = sessions.values().filter(|session| session.is_over()).count();
        let wait = wait_for_room(ended, seats.soonest(now));
        Err(CreateError::Full { capacity: self.capacity, wait })
    }

    /// Keeps a place for a user, while `connection` lives and for some seconds at most. The user's earlier seat is over.
    pub fn reserve(
        &self,
        user: &str,
        client: &str,
        connection: &Arc<Connection>,
    ) -> Result<Seat, CreateError> {
        let sessions = self.sessions.lock().expect("no holder panics");
        if self.is_draining() {
            return Err(CreateError::Draining);
        }
        let own = self.seats.lock().expect("no holder panics").of(Instant::now(), user).map(str::to_owned);
        self.has_room(&sessions, user, own.as_deref())?;
        let id = encoding_id().to_string();
        self.seats.lock().expect("no holder panics").keep(Instant::now(), user, id.clone(), connection);
        self.changed();
        let expires = unix_now() + LASTS.as_secs();
        let lasts_ms = u32::try_from(LASTS.as_millis()).unwrap_or(u32::MAX);
        let (node, subject, client) = (self.node.clone(), user.to_owned(), client.to_owned());
        let seat = Seat { id, node, subject, client, expires, lasts_ms, signature: Vec::new() };
        Ok(seat.signed(&self.identity))
    }

    /// Ends a user's seat; whether it was held.
    pub fn release(&self, user: &str, id: &str) -> bool {
        self.changed();
        self.seats.lock().expect("no holder panics").release(Instant::now(), user, id)
    }

    /// Whether a place is kept for this user under this id.
    pub fn holds_seat(&self, user: &str, id: &str) -> bool {
        self.seats.lock().expect("no holder panics").of(Instant::now(), user) == Some(id)
    }

    /// A part of a user's profile has arrived: what waits for it lasts longer.
    pub fn renew_seat(&self, user: &str) {
        self.seats.lock().expect("no holder panics").renew(Instant::now(), user);
    }

    /// Places kept for sessions that have not begun.
    pub fn reserved(&self) -> u32 {
        let kept = self.seats.lock().expect("no holder panics").taken(Instant::now(), None);
        u32::try_from(kept).unwrap_or(u32::MAX)
    }

    /// Sessions that hold a seat.
    pub fn running(&self) -> u32 {
        u32::try_from(alive(&self.sessions.lock().expect("no holder panics"))).unwrap_or(u32::MAX)
    }

    /// Most sessions at once.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// A session, for its owner only; to everybody else it does not exist.
    pub fn get(&self, id: &SessionId, owner: &str) -> Option<Arc<Session>> {
        let sessions = self.sessions.lock().expect("no holder panics");
        sessions.get(id).filter(|session| session.owner == owner).cloned()
    }

    /// All sessions of an owner, oldest first.
    pub fn of_owner(&self, owner: &str) -> Vec<Arc<Session>> {
        let sessions = self.sessions.lock().expect("no holder panics");
        let mut owned: Vec<_> = sessions.values().filter(|session| session.owner == owner).cloned().collect();
        owned.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        owned
    }

    /// Sessions of a profile: how many run, and how many are closing.
    pub fn of_profile(&self, profile: &ProfileId) -> (u32, u32) {
        let sessions = self.sessions.lock().expect("no holder panics");
        let alive = sessions
            .values()
            .filter(|session| session.profile.as_ref() == Some(profile) && !session.is_over());
        alive.fold(
            (0, 0),
            |(running, closing), session| {
                if session.is_closing() { (running, closing + 1) } else { (running + 1, closing) }
            },
        )
    }

    /// Whether no new session is admitted.
    pub fn is_draining(&self) -> bool {
        self.draining.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Stops admitting, closes and saves every session, and returns when all are over.
    pub async fn drain(&self) {
        self.draining.store(true, std::sync::atomic::Ordering::Relaxed);
        self.changed();
        self.seats.lock().expect("no holder panics").clear();
        self.offered.lock().expect("no holder panics").take();
        self.waiting.lock().await.take();
        let running: Vec<_> = self.sessions.lock().expect("no holder panics").values().cloned().collect();
        // All at once: one worker that does not read must not cost the others their time to save.
        let closes = running.iter().map(|session| session.close(true, "the node is shutting down"));
        futures_util::future::join_all(closes).await;
        let mut relays = std::mem::take(&mut *self.relays.lock().expect("no holder panics"));
        while relays.join_next().await.is_some() {}
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn alive(sessions: &HashMap<SessionId, Arc<Session>>) -> usize {
    sessions.values().filter(|session| !session.is_over()).count()
}

/// When a full node is worth asking again: when the next seat ends by itself, or as often as sessions have ended lately.
fn wait_for_room(ended: usize, soonest_seat: Option<Duration>) -> Duration {
    let ends_every = REMEMBER_FINISHED / u32::try_from(ended).unwrap_or(u32::MAX).max(1);
    soonest_seat.map_or(ends_every, |seat| seat.min(ends_every)).min(LONGEST_WAIT)
}

/// 128 random bits: a session's id cannot be guessed, though it opens nothing by itself.
fn encoding_id() -> SessionId {
    let text = encoding::to_text(&random::<16>());
    // An id starts with a letter or digit; base64url may start with - or _.
    format!("s{text}").parse().expect("base64url after a letter is an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_node_is_asked_again_when_a_place_may_be_free() {
        let seconds = Duration::from_secs;
        for (ended, seat, wait) in [
            (0, None, LONGEST_WAIT),
            (39, None, LONGEST_WAIT),
            (40, None, LONGEST_WAIT),
            (60, None, seconds(10)),
            (60, Some(seconds(3)), seconds(3)),
            (0, Some(seconds(29)), LONGEST_WAIT),
            (usize::MAX, None, REMEMBER_FINISHED / u32::MAX),
        ] {
            assert_eq!(wait_for_room(ended, seat), wait, "{ended} ended, {seat:?}");
        }
    }
}
