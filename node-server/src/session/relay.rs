//! One running session: passes a worker's reports to clients and store, and ends with the worker.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cbrowse_protocol::{
    api::{SessionState, SessionView},
    id::{ProfileId, SessionId},
    wire::{ClientMessage, NodeMessage, Role},
};
use tokio::{process::Child, sync::watch};

use crate::{
    objects::Objects,
    session::viewer::{self, Picture, ViewerFeed, ViewerPort},
    worker::link::{self, Message, Order, Outbox, Question, Report, Viewer},
};

/// From a close order to the last report: Chromium's own deadline, sealing, and the disk.
const CLOSING_DEADLINE: Duration = Duration::from_secs(60);
/// A worker reads an order at once. One that does not is hung or broken into; whoever waits for it goes on without.
const ORDER_DEADLINE: Duration = Duration::from_secs(5);
/// A worker that has said its last word ends at once; one that does not is ended.
const REAP_DEADLINE: Duration = Duration::from_secs(5);

/// What the outside sees of a session; shared by the relay, the table and every attached socket.
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Subject of the token that created it.
    pub owner: String,
    /// The profile opened in it.
    pub profile: Option<ProfileId>,
    /// Seconds since the epoch.
    pub created: u64,
    orders: Outbox<Order>,
    facts: Mutex<Facts>,
    viewers: Mutex<HashMap<Viewer, ViewerPort>>,
    next_viewer: AtomicU64,
    claimed: AtomicBool,
    /// Changes when clients come and go, and when the session ends.
    pulse: watch::Sender<Pulse>,
    /// Seconds since the epoch; 0 while it runs.
    ended: AtomicU64,
}

#[derive(Debug, Clone)]
struct Facts {
    state: SessionState,
    reason: String,
    url: String,
    title: String,
    last_tabs: Option<NodeMessage>,
    last_loading: Option<NodeMessage>,
    last_dialog: Option<NodeMessage>,
}

/// What decides whether a session idles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pulse {
    attached: usize,
    closing: bool,
    over: bool,
}

impl Session {
    /// A session whose worker has just got its start order.
    pub fn new(
        id: SessionId,
        owner: String,
        profile: Option<ProfileId>,
        created: u64,
        orders: Outbox<Order>,
    ) -> Self {
        let facts = Facts {
            state: SessionState::Starting,
            reason: "the browser is being started".into(),
            url: String::new(),
            title: String::new(),
            last_tabs: None,
            last_loading: None,
            last_dialog: None,
        };
        Self {
            id,
            owner,
            profile,
            created,
            orders,
            facts: Mutex::new(facts),
            viewers: Mutex::default(),
            next_viewer: AtomicU64::new(1),
            claimed: AtomicBool::new(false),
            pulse: watch::Sender::new(Pulse { attached: 0, closing: false, over: false }),
            ended: AtomicU64::new(0),
        }
    }

    /// As its owner sees it.
    pub fn view(&self) -> SessionView {
        let facts = self.facts.lock().expect("no holder panics").clone();
        SessionView {
            id: self.id.clone(),
            state: facts.state,
            reason: facts.reason,
            created: self.created,
            profile: self.profile.clone(),
            attached: u32::try_from(self.pulse.borrow().attached).unwrap_or(u32::MAX),
            url: facts.url,
            title: facts.title,
        }
    }

    /// Adds a client. It hears at once what it would have heard before.
    pub fn attach(&self, role: Role) -> (Viewer, ViewerFeed) {
        let (port, feed) = viewer::channel(role);
        let id = self.next_viewer.fetch_add(1, Ordering::Relaxed);
        {
            let facts = self.facts.lock().expect("no holder panics");
            port.say(NodeMessage::State { state: facts.state, reason: facts.reason.clone() });
            for message in [&facts.last_tabs, &facts.last_loading, &facts.last_dialog].into_iter().flatten() {
                port.say(message.clone());
            }
        }
        self.viewers.lock().expect("no holder panics").insert(id, port);
        self.count_viewers();
        (id, feed)
    }

    /// A client has said something, if only that it is there.
    pub fn claim(&self) {
        self.claimed.store(true, Ordering::Relaxed);
    }

    /// Whether any client ever said something.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Relaxed)
    }

    /// Removes a client.
    pub async fn detach(&self, viewer: Viewer) {
        self.viewers.lock().expect("no holder panics").remove(&viewer);
        self.count_viewers();
        self.order(&Order::Detach(viewer)).await;
    }

    /// A worker that closes reads only what its save needs: input in front of that would hold it up, so it gets none.
    async fn order(&self, order: &Order) {
        if !self.is_closing() {
            let _ = tokio::time::timeout(ORDER_DEADLINE, self.orders.send(order, &[])).await;
        }
    }

    fn count_viewers(&self) {
        let attached = self.viewers.lock().expect("no holder panics").len();
        self.pulse.send_if_modified(|pulse| std::mem::replace(&mut pulse.attached, attached) != attached);
    }

    /// A client's word; what its role does not allow has been sorted out before.
    pub async fn tell(&self, viewer: Viewer, message: ClientMessage) {
        if matches!(message, ClientMessage::Hello { .. }) {
            // Pictures start with the first hello, at the size it names.
            self.order(&Order::Client(viewer, message)).await;
            self.want_pictures(viewer).await;
            return;
        }
        if matches!(message, ClientMessage::DialogAnswer { .. }) {
            self.facts.lock().expect("no holder panics").last_dialog = None;
        }
        self.order(&Order::Client(viewer, message)).await;
    }

    /// Pictures for this client from now on.
    pub async fn want_pictures(&self, viewer: Viewer) {
        self.order(&Order::Attach(viewer)).await;
    }

    /// Some client took a frame.
    pub fn taken(&self, sequence: u32) {
        self.orders.offer(&Order::Taken(sequence), &[]);
    }

    /// Asks the worker to end; the first to ask decides whether it saves. Returns when the worker owns the close, has gone,
    /// or does not read: the relay then cuts it off after the time that a close may take.
    pub async fn close(&self, save: bool, reason: &str) {
        if !self.pulse.send_if_modified(|pulse| !std::mem::replace(&mut pulse.closing, true)) {
            return;
        }
        self.set_state(SessionState::Closing, reason);
        let order = Order::Close { save, reason: reason.into() };
        let _ = tokio::time::timeout(ORDER_DEADLINE, self.orders.send(&order, &[])).await;
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        let _ = self.pulse.subscribe().wait_for(|pulse| pulse.over).await;
    }

    /// Whether nothing is left of it.
    pub fn is_over(&self) -> bool {
        self.pulse.borrow().over
    }

    /// When it was over, in seconds since the epoch; `None` while it is not.
    pub fn ended_at(&self) -> Option<u64> {
        Some(self.ended.load(Ordering::Relaxed)).filter(|_| self.is_over())
    }

    /// Whether it is over or about to be.
    pub fn is_closing(&self) -> bool {
        let pulse = self.pulse.borrow();
        pulse.closing || pulse.over
    }

    fn set_state(&self, state: SessionState, reason: &str) {
        {
            let mut facts = self.facts.lock().expect("no holder panics");
            facts.state = state;
            reason.clone_into(&mut facts.reason);
        }
        self.say_all(&NodeMessage::State { state, reason: reason.into() });
    }

    fn say_all(&self, message: &NodeMessage) {
        let mut viewers = self.viewers.lock().expect("no holder panics");
        viewers.retain(|_, port| port.say(message.clone()));
        drop(viewers);
        self.count_viewers();
    }

    fn remember(&self, message: &NodeMessage) {
        let mut facts = self.facts.lock().expect("no holder panics");
        match message {
            NodeMessage::Tabs { .. } => facts.last_tabs = Some(message.clone()),
            NodeMessage::Loading { .. } => facts.last_loading = Some(message.clone()),
            NodeMessage::Dialog { .. } => facts.last_dialog = Some(message.clone()),
            _ => {}
        }
    }

    fn show_all(&self, picture: &Picture) {
        for port in self.viewers.lock().expect("no holder panics").values() {
            port.show(picture.clone());
        }
    }

    fn say_one(&self, viewer: Viewer, message: NodeMessage) {
        if let Some(port) = self.viewers.lock().expect("no holder panics").get(&viewer) {
            port.say(message);
        }
    }

    fn give(&self, viewer: Viewer, media: bytes::Bytes) {
        if let Some(port) = self.viewers.lock().expect("no holder panics").get(&viewer) {
            port.give(media);
        }
    }
}

/// The relay of one session: owns the worker's socket and process.
pub struct Relay {
    /// The session it serves.
    pub session: Arc<Session>,
    /// The doorkeeper.
    pub child: Child,
    /// Reports.
    pub reader: tokio::net::unix::OwnedReadHalf,
    /// Answers to the worker's questions.
    pub orders: Outbox<Order>,
    /// Where objects live.
    pub objects: Objects,
    /// How long a session lives without a client.
    pub idle_timeout: Duration,
    /// A save could not be kept. Begins as `false`.
    pub lost_save: bool,
}

impl Relay {
    /// Serves until the worker's last word, and reaps it on every path.
    pub async fn run(mut self) {
        let session = self.session.clone();
        let _over = Over(session.clone());
        let idle = watch_idle(session.clone(), self.idle_timeout);
        let (mut reason, mut failed) = tokio::select! {
            end = self.pass_reports() => end,
            reason = idle => (reason, true),
        };
        if self.lost_save {
            reason.push_str("; its save is lost: the node's disk failed");
            failed = true;
        }
        if tokio::time::timeout(REAP_DEADLINE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        let state = if failed { SessionState::Failed } else { SessionState::Closed };
        tracing::info!(session = %session.id, failed, "session over: {reason}");
        session.set_state(state, &reason);
        session.say_all(&NodeMessage::Bye { reason, saving: false });
        session.viewers.lock().expect("no holder panics").clear();
    }

    async fn pass_reports(&mut self) -> (String, bool) {
        loop {
            match link::read::<Report>(&mut self.reader).await {
                Ok(Message { head: Report::Closed { reason, failed }, .. }) => return (reason, failed),
                Ok(message) => self.on_report(message).await,
                Err(error) => return (format!("the worker is gone: {error}"), true),
            }
        }
    }

    async fn on_report(&mut self, message: Message<Report>) {
        let session = &self.session;
        match message.head {
            Report::State(state, reason) => session.set_state(state, &reason),
            // The worker has sealed it; whether it is kept, it does not know.
            Report::Say(None, NodeMessage::Saved { .. }) if self.lost_save => {
                let message = "the node could not keep the save: its disk failed".into();
                session.say_all(&NodeMessage::Failed { request: "save".into(), message });
            }
            Report::Say(None, said) => {
                session.remember(&said);
                session.say_all(&said);
            }
            Report::Say(Some(viewer), said) => session.say_one(viewer, said),
            Report::Page { url, title } => {
                let mut facts = session.facts.lock().expect("no holder panics");
                (facts.url, facts.title) = (url, title);
            }
            Report::Frame(sequence) => session.show_all(&Picture { sequence, message: message.tail.into() }),
            Report::Media(viewer) => session.give(viewer, message.tail.into()),
            Report::Ask(id, question) => self.answer(id, question, message.tail).await,
            Report::Proposal { profile } => self.lost_save = !self.keep(profile, message.tail).await,
            Report::Ready { .. } | Report::Unfit(_) | Report::Closed { .. } => {}
        }
    }

    /// A worker's question concerns its own session's profile, whatever it says.
    async fn answer(&self, id: u64, question: Question, tail: Vec<u8>) {
        let Some(profile) = self.session.profile.clone() else { return };
        let objects = self.objects.clone();
        let answered = tokio::task::spawn_blocking(move || match question {
            Question::Missing(names) => {
                objects.missing(&profile, &names).map(|missing| (missing, Vec::new()))
            }
            Question::Get(name) => objects.get(&profile, &name).map(|object| (Vec::new(), object)),
            Question::Put(name) => objects.put(&profile, &name, &tail).map(|_| (Vec::new(), Vec::new())),
        })
        .await;
        let (missing, object, error) = match answered {
            Ok(Ok((missing, object))) => (missing, object, None),
            Ok(Err(error)) => (Vec::new(), Vec::new(), Some(error.to_string())),
            Err(error) => (Vec::new(), Vec::new(), Some(error.to_string())),
        };
        self.orders.send(&Order::Answer { id, missing, error }, &object).await;
    }

    async fn keep(&self, profile: ProfileId, proposal: Vec<u8>) -> bool {
        if self.session.profile.as_ref() != Some(&profile) {
            tracing::warn!(session = %self.session.id, "the worker proposed a save of a foreign profile; ignored");
            return false;
        }
        let (objects, session) = (self.objects.clone(), self.session.id.clone());
        let micros =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let kept =
            tokio::task::spawn_blocking(move || objects.propose(&profile, &session, micros, &proposal)).await;
        match kept {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::error!(session = %self.session.id, "keep a proposal: {error}"),
            Err(error) => tracing::error!(session = %self.session.id, "keep a proposal: {error}"),
        }
        false
    }
}

/// Frees the seat on every path out of a relay, a panic too.
struct Over(Arc<Session>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.ended.store(crate::node::unix_now(), Ordering::Relaxed);
        self.0.pulse.send_modify(|pulse| pulse.over = true);
    }
}

/// Closes a session that nobody attends; then gives the close its deadline. Returns why a session had to be cut off.
async fn watch_idle(session: Arc<Session>, timeout: Duration) -> String {
    let mut pulse = session.pulse.subscribe();
    loop {
        let now = *pulse.borrow_and_update();
        if now.closing {
            break;
        }
        if now.attached > 0 {
            if pulse.changed().await.is_err() {
                break;
            }
            continue;
        }
        match tokio::time::timeout(timeout, pulse.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(_) => session.close(true, "nobody was attached").await,
        }
    }
    tokio::time::sleep(CLOSING_DEADLINE).await;
    format!("the close took longer than {} s", CLOSING_DEADLINE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "0123456789abcdef0123456789abcdef";

    /// A session, and the worker's end of its orders, which nobody reads.
    fn unread_session() -> (Arc<Session>, tokio::io::DuplexStream, tokio::task::JoinHandle<()>) {
        let (ours, theirs) = tokio::io::duplex(16);
        let (orders, pump) = Outbox::new(ours);
        let profile = Some(PROFILE.parse().expect("id"));
        let session = Session::new("s1".parse().expect("id"), "ada".into(), profile, 0, orders);
        (Arc::new(session), theirs, tokio::spawn(pump))
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_reads_nothing_holds_nobody_up() {
        let (session, _theirs, _pump) = unread_session();
        for _ in 0..=link::QUEUE {
            session.taken(1);
        }
        let (viewer, _feed) = session.attach(Role::Control);
        let within = ORDER_DEADLINE + Duration::from_millis(1);
        let told = session.tell(viewer, ClientMessage::Unknown);
        tokio::time::timeout(within, told).await.expect("input is given up");
        tokio::time::timeout(within, session.detach(viewer)).await.expect("a client may go");
        tokio::time::timeout(within, session.close(true, "x")).await.expect("a close is given up");
        assert!(session.is_closing());
        let reason =
            tokio::time::timeout(CLOSING_DEADLINE * 2, watch_idle(session, Duration::from_secs(1))).await;
        assert!(reason.expect("cut off").contains("took longer"));
    }

    #[tokio::test]
    async fn a_session_that_closes_takes_no_input() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (orders, pump) = Outbox::new(ours);
        let _pump = tokio::spawn(pump);
        let session = Session::new("s1".parse().expect("id"), "ada".into(), None, 0, orders);
        session.close(true, "first").await;
        session.close(false, "second").await;
        session.tell(1, ClientMessage::Unknown).await;
        session.want_pictures(1).await;
        drop(session);
        let only = link::read::<Order>(&mut theirs).await.expect("the close");
        assert!(matches!(only.head, Order::Close { save: true, .. }));
        assert!(link::read::<Order>(&mut theirs).await.is_err(), "nothing behind it");
    }

    #[tokio::test]
    async fn a_save_that_is_not_kept_is_not_called_saved() {
        let directory = tempfile::tempdir().expect("a directory");
        let (session, _theirs, _pump) = unread_session();
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("a pair");
        let (reports, pump) = Outbox::new(theirs);
        let _reports_pump = tokio::spawn(pump);
        let (_viewer, mut feed) = session.attach(Role::Control);
        let relay = Relay {
            session: session.clone(),
            child: tokio::process::Command::new("true").spawn().expect("a process"),
            reader: ours.into_split().0,
            orders: session.orders.clone(),
            // Without a claim the profile has no place here, as on a disk that is full or gone.
            objects: Objects::open(directory.path()).expect("a store"),
            idle_timeout: Duration::from_secs(60),
            lost_save: false,
        };
        let profile = PROFILE.parse().expect("id");
        reports.send(&Report::Proposal { profile }, b"sealed").await;
        reports
            .send(&Report::Say(None, NodeMessage::Saved { generation: 1, objects: 1, bytes: 1 }), &[])
            .await;
        reports.send(&Report::Closed { reason: "done".into(), failed: false }, &[]).await;
        relay.run().await;
        let mut heard = Vec::new();
        while let Some(message) = feed.control.recv().await {
            heard.push(message);
        }
        assert!(
            heard.iter().any(|said| matches!(said, NodeMessage::Failed { request, .. } if request == "save"))
        );
        assert!(!heard.iter().any(|said| matches!(said, NodeMessage::Saved { .. })), "{heard:?}");
        assert_eq!(session.view().state, SessionState::Failed);
        assert!(session.view().reason.contains("save is lost") && session.ended_at() > Some(0));
    }
}
