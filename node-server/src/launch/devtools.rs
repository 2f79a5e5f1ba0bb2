//! A thin client of the DevTools protocol over `--remote-debugging-pipe`: JSON messages, each ended by a zero byte.
//!
//! Every call has a deadline. Events go to one bounded channel whose reader must never wait for a call itself.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// A browser that has not answered an order within this time hangs.
pub const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// Events that may wait. A page that causes more faster than they are read is flooding; the session ends.
const EVENT_QUEUE: usize = 4096;
/// Orders that may wait for Chromium to read them.
const ORDER_QUEUE: usize = 256;
/// Longest message from Chromium in bytes: a full-page PNG in base64 fits.
const MAX_MESSAGE: u64 = 128 * 1024 * 1024;

/// Why a call gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// Chromium refused it.
    #[error("{method}: {message}")]
    Refused {
        /// The method.
        method: String,
        /// Chromium's words.
        message: String,
    },
    /// No answer in time.
    #[error("{0}: no answer within {deadline} s", deadline = CALL_DEADLINE.as_secs())]
    Silent(String),
    /// The pipe is closed.
    #[error("the browser is gone")]
    Gone,
}

/// What Chromium says by itself.
#[derive(Debug)]
pub struct Event {
    /// Such as `Page.screencastFrame`.
    pub method: String,
    /// Its parameters.
    pub params: Value,
    /// The flattened session it belongs to; empty for the browser.
    pub session: String,
}

/// Who waits for which answer; `None` once no answer will come any more.
type Pending = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Value, String>>>>>>;

/// The pipe's client. Cheap to clone; the pipe closes when the last clone and the [`Pump`] are gone.
#[derive(Clone)]
pub struct DevTools {
    orders: mpsc::Sender<Vec<u8>>,
    pending: Pending,
    next: Arc<AtomicU64>,
}

/// Owns the tasks that move bytes; ends them when dropped.
pub struct Pump {
    _tasks: JoinSet<()>,
}

/// Connects to a browser's pipe ends.
pub fn connect(
    orders: OwnedFd,
    answers: OwnedFd,
) -> std::io::Result<(DevTools, Pump, mpsc::Receiver<Event>)> {
    let writer = pipe::Sender::from_owned_fd(orders)?;
    let reader = pipe::Receiver::from_owned_fd(answers)?;
    let (order_sender, order_receiver) = mpsc::channel(ORDER_QUEUE);
    let (event_sender, event_receiver) = mpsc::channel(EVENT_QUEUE);
    let pending = Pending::new(Mutex::new(Some(HashMap::new())));
    let mut tasks = JoinSet::new();
    tasks.spawn(write_orders(writer, order_receiver));
    tasks.spawn(read_answers(reader, pending.clone(), event_sender));
    let tools = DevTools { orders: order_sender, pending, next: Arc::new(AtomicU64::new(1)) };
    Ok((tools, Pump { _tasks: tasks }, event_receiver))
}

impl DevTools {
    /// Calls `method` in a flattened session (empty: the browser itself) and waits for its result.
    pub async fn call(&self, session: &str, method: &str, params: Value) -> Result<Value, CallError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.pending.lock().expect("no holder panics").as_mut().ok_or(CallError::Gone)?.insert(id, sender);
        let order = encode(id, session, method, &params);
        let answered = tokio::time::timeout(CALL_DEADLINE, async {
            self.orders.send(order).await.map_err(|_| CallError::Gone)?;
            receiver.await.map_err(|_| CallError::Gone)
        })
        .await;
        match answered {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err(message))) => Err(CallError::Refused { method: method.into(), message }),
            Ok(Err(gone)) => Err(gone),
            Err(_) => {
                self.pending.lock().expect("no holder panics").as_mut().map(|pending| pending.remove(&id));
                Err(CallError::Silent(method.into()))
            }
        }
    }

    /// Sends an order whose answer nobody waits for; `false` when the queue is full or the browser gone.
    /// Keeps the order of calls, which is what input needs.
    pub fn post(&self, session: &str, method: &str, params: &Value) -> bool {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.orders.try_send(encode(id, session, method, params)).is_ok()
    }
}

fn encode(id: u64, session: &str, method: &str, params: &Value) -> Vec<u8> {
    let message = if session.is_empty() {
        json!({ "id": id, "method": method, "params": params })
    } else {
        json!({ "id": id, "method": method, "params": params, "sessionId": session })
    };
    let mut bytes = serde_json::to_vec(&message).expect("JSON values serialize");
    bytes.push(0);
    bytes
}

async fn write_orders(mut writer: pipe::Sender, mut orders: mpsc::Receiver<Vec<u8>>) {
    while let Some(order) = orders.recv().await {
        if writer.write_all(&order).await.is_err() {
            return;
        }
    }
}

/// `false` at the end, and for a message over `limit`. Bounded while it is read, not when it is there: a page decides how
/// long a title or a dialog is.
async fn read_message(reader: &mut (impl AsyncBufRead + Unpin), limit: u64, message: &mut Vec<u8>) -> bool {
    reader.take(limit).read_until(0, message).await.is_ok() && message.pop() == Some(0)
}

async fn read_answers(reader: pipe::Receiver, pending: Pending, events: mpsc::Sender<Event>) {
    let mut reader = BufReader::with_capacity(256 * 1024, reader);
    let mut message = Vec::new();
    loop {
        message.clear();
        if !read_message(&mut reader, MAX_MESSAGE, &mut message).await {
            break;
        }
        let Ok(value) = serde_json::from_slice::<Value>(&message) else { continue };
        if !deliver(value, &pending, &events) {
            break;
        }
    }
    // Whoever still waits, or asks later, learns that nothing will come.
    pending.lock().expect("no holder panics").take();
}

/// `false` when the event's reader is gone or flooded.
fn deliver(mut value: Value, pending: &Pending, events: &mpsc::Sender<Event>) -> bool {
    if let Some(id) = value["id"].as_u64() {
        let waiting =
            pending.lock().expect("no holder panics").as_mut().and_then(|waiting| waiting.remove(&id));
        if let Some(waiting) = waiting {
            let result = match value["error"]["message"].as_str() {
                Some(message) => Err(message.to_owned()),
                None => Ok(value["result"].take()),
            };
            let _ = waiting.send(result);
        }
        return true;
    }
    let event = Event {
        method: value["method"].as_str().unwrap_or_default().to_owned(),
        session: value["sessionId"].as_str().unwrap_or_default().to_owned(),
        params: value["params"].take(),
    };
    events.try_send(event).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_browser_that_is_gone_is_not_waited_for() {
        let pipe = || nix::unistd::pipe().expect("a pipe");
        let ((orders_read, orders), (answers, answers_write)) = (pipe(), pipe());
        let (tools, _pump, mut events) = connect(orders, answers).expect("connected");
        drop((orders_read, answers_write));
        assert!(events.recv().await.is_none());
        let asked = tokio::time::Instant::now();
        let error = tools.call("", "Browser.getVersion", json!({})).await.expect_err("nobody is there");
        assert!(matches!(error, CallError::Gone), "{error}");
        assert!(asked.elapsed() < CALL_DEADLINE);
    }

    #[tokio::test]
    async fn messages_end_with_a_zero_and_within_the_limit() {
        let mut message = Vec::new();
        let mut two = &b"{}\0[]\0"[..];
        assert!(read_message(&mut two, 3, &mut message).await && message == b"{}");
        message.clear();
        assert!(!read_message(&mut two, 2, &mut message).await, "the zero is over the limit");
        let mut endless = BufReader::new(tokio::io::repeat(b'x'));
        message.clear();
        assert!(!read_message(&mut endless, 1000, &mut message).await);
        assert!(message.len() <= 1000, "no more than the limit was kept");
        let mut cut = &b"{}"[..];
        assert!(!read_message(&mut cut, 10, &mut Vec::new()).await);
    }
}
