//! The node's object store as a worker sees it: questions over the link, asked from blocking threads.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use crate::worker::link::{Outbox, Question, Report};

/// The server answers from its own disk; silence this long means it is gone or stuck.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug)]
struct Answer {
    missing: Vec<String>,
    error: Option<String>,
    object: Vec<u8>,
}

/// Why the store gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The server is gone.
    #[error("the node's server is gone")]
    Gone,
    /// No answer in time.
    #[error("the node's store did not answer within {} s", ANSWER_DEADLINE.as_secs())]
    Silent,
    /// It said no.
    #[error("the node's store refused: {0}")]
    Refused(String),
}

type Waiting = Arc<Mutex<Option<HashMap<u64, mpsc::SyncSender<Answer>>>>>;

/// Cheap to clone.
#[derive(Clone)]
pub struct RemoteStore {
    outbox: Outbox<Report>,
    waiting: Waiting,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl RemoteStore {
    /// Asks through `outbox`.
    pub fn new(outbox: Outbox<Report>) -> Self {
        Self { outbox, waiting: Arc::new(Mutex::new(Some(HashMap::new()))), next: Arc::default() }
    }

    /// Which of `names` the node lacks.
    pub fn ask_missing(&self, names: Vec<String>) -> Result<Vec<String>, RemoteError> {
        self.ask(Question::Missing(names), &[]).map(|answer| answer.missing)
    }

    /// One object's bytes.
    pub fn ask_get(&self, name: String) -> Result<Vec<u8>, RemoteError> {
        self.ask(Question::Get(name), &[]).map(|answer| answer.object)
    }

    /// Keeps one object; the answer means that it is on the node's disk.
    pub fn ask_put(&self, name: String, object: &[u8]) -> Result<(), RemoteError> {
        self.ask(Question::Put(name), object).map(|_| ())
    }

    fn ask(&self, question: Question, tail: &[u8]) -> Result<Answer, RemoteError> {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, receiver) = mpsc::sync_channel(1);
        self.waiting.lock().expect("no holder panics").as_mut().ok_or(RemoteError::Gone)?.insert(id, sender);
        if !self.outbox.send_blocking(&Report::Ask(id, question), tail) {
            return Err(RemoteError::Gone);
        }
        let answer = receiver.recv_timeout(ANSWER_DEADLINE).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => RemoteError::Silent,
            mpsc::RecvTimeoutError::Disconnected => RemoteError::Gone,
        })?;
        match answer.error {
            Some(reason) => Err(RemoteError::Refused(reason)),
            None => Ok(answer),
        }
    }

    /// Routes one answer to whoever asked.
    pub(super) fn answer(&self, id: u64, missing: Vec<String>, error: Option<String>, object: Vec<u8>) {
        let sender = self.waiting.lock().expect("no holder panics").as_mut().and_then(|map| map.remove(&id));
        if let Some(sender) = sender {
            let _ = sender.send(Answer { missing, error, object });
        }
    }

    /// No answer will come any more.
    pub(super) fn close(&self) {
        self.waiting.lock().expect("no holder panics").take();
    }
}
