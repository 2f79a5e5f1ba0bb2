//! The loop against a registry that says what it is told to: a real one cannot be made to refuse updates alone.

use std::sync::{Arc, Mutex};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;

use super::*;
use crate::{error::Cause, figures::Figures};

const INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Scripted {
    meter: Meter,
    calls: Arc<Mutex<Vec<String>>>,
    refuses: Arc<Mutex<Vec<&'static str>>>,
}

impl Scripted {
    fn new() -> Self {
        let meter = Figures::default().meter(&"test://");
        Self { meter, calls: Arc::default(), refuses: Arc::default() }
    }

    fn refuse(&self, calls: &[&'static str]) {
        *self.refuses.lock().unwrap() = calls.to_vec();
    }

    fn call<T: Send + 'static>(
        &self,
        call: &'static str,
        detail: &str,
        answer: T,
    ) -> BoxFuture<'static, Result<T, RegistryError>> {
        self.calls.lock().unwrap().push(format!("{call}{detail}"));
        let refused = self.refuses.lock().unwrap().contains(&call);
        let cause = Cause::Unreachable("refused".into());
        let result =
            if refused { Err(RegistryError { registry: "test://".into(), cause }) } else { Ok(answer) };
        std::future::ready(result).boxed()
    }

    fn count(&self, call: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|made| made.starts_with(call)).count()
    }
}

impl Registry for Scripted {
    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn register<'a>(
        &'a self,
        record: &'a NodeRecord,
        _: Check,
    ) -> BoxFuture<'a, Result<Box<dyn Registration>, RegistryError>> {
        self.call("register", &format!(" {}", record.port), Box::new(self.clone()) as _)
    }
}

impl Registration for Scripted {
    fn interval(&self) -> Duration {
        INTERVAL
    }

    fn keep_alive(&mut self) -> BoxFuture<'_, Result<Kept, RegistryError>> {
        self.call("keep", "", Kept::Alive)
    }

    fn update<'a>(&'a mut self, record: &'a NodeRecord) -> BoxFuture<'a, Result<(), RegistryError>> {
        self.call("update", &format!(" {}", record.port), ())
    }

    fn deregister(&mut self) -> BoxFuture<'_, Result<(), RegistryError>> {
        self.call("deregister", "", ())
    }
}

fn record(port: u16) -> NodeRecord {
    serde_json::from_value(serde_json::json!({"id": "n1", "address": "127.0.0.1", "port": port}))
        .expect("a record")
}

/// The loop, beside the test.
fn stay(
    registry: &Scripted,
) -> (watch::Sender<NodeRecord>, oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), RegistryError>>) {
    let (records, receiver) = watch::channel(record(1));
    let (stop, stopped) = oneshot::channel::<()>();
    let registry = registry.clone();
    let staying = tokio::spawn(async move {
        stay_registered(&registry, receiver, Check::Tcp, async { drop(stopped.await) }).await
    });
    (records, stop, staying)
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_refused_costs_no_heartbeat_and_comes_in_the_end() {
    let registry = Scripted::new();
    let (records, stop, staying) = stay(&registry);
    sleep(INTERVAL / 2).await;
    assert_eq!(*registry.calls.lock().unwrap(), ["register 1"]);
    registry.refuse(&["update"]);
    records.send(record(2)).expect("somebody listens");
    // Pauses between tries would grow to half a minute, and an entry lives for three heartbeats.
    sleep(INTERVAL * 40).await;
    let (updates, heartbeats) = (registry.count("update 2"), registry.count("keep"));
    assert!(updates >= 5 && heartbeats >= 38, "{updates} updates, {heartbeats} heartbeats");
    registry.refuse(&[]);
    sleep(INTERVAL * 10).await;
    assert_eq!(registry.calls.lock().unwrap().last().expect("calls"), "keep", "the update is done with");
    stop.send(()).expect("somebody listens");
    assert_eq!(staying.await.expect("no panic"), Ok(()));
    assert_eq!(registry.calls.lock().unwrap().last().expect("calls"), "deregister");
}

#[tokio::test(start_paused = true)]
async fn updates_in_a_row_do_not_put_heartbeats_off() {
    let registry = Scripted::new();
    let (records, _stop, _staying) = stay(&registry);
    for port in 1..40 {
        sleep(INTERVAL / 4).await;
        records.send(record(port)).expect("somebody listens");
    }
    assert!(registry.count("keep") >= 5, "{:?}", registry.calls.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_down_at_first_gets_the_newest_record_later() {
    let registry = Scripted::new();
    registry.refuse(&["register"]);
    let (records, stop, staying) = stay(&registry);
    sleep(INTERVAL * 10).await;
    records.send(record(7)).expect("somebody listens");
    registry.refuse(&[]);
    sleep(INTERVAL * 10).await;
    assert_eq!((registry.count("register 7"), registry.count("update")), (1, 0));
    stop.send(()).expect("somebody listens");
    assert_eq!(staying.await.expect("no panic"), Ok(()));
}
