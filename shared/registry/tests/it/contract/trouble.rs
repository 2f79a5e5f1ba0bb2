//! Servers that are not there yet, slow, silent, or not what they should be.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cbrowse_registry::{CatalogError, Cause, list_all, stay_registered};
use cbrowse_testkit::relay::{Pace, Relay};
use futures_util::{StreamExt as _, future::join_all};
use tokio::sync::{oneshot, watch};

use super::{LONG, SHORT, Server};
use crate::support::{
    DEADLINE, Seen, catalog, record, registry,
    rubbish::{self, Rubbish},
};

pub(crate) async fn what_begins_before_the_server_works_once_it_is_up(mut server: impl Server) {
    server.kill();
    let uri = server.uri();
    let mut changes = catalog(&uri).watch();
    let first = tokio::time::timeout(DEADLINE, changes.next()).await.expect("in time").expect("goes on");
    assert!(first.expect_err("nobody is there").is_transient());
    let (_records, receiver) = watch::channel(record("n1", 1));
    let (stop, stopped) = oneshot::channel::<()>();
    let staying = tokio::spawn(async move {
        stay_registered(&*registry(&uri), receiver, SHORT, async { drop(stopped.await) }).await
    });
    server.restart_empty().await;
    let mut seen = Seen::default();
    seen.follow(&mut changes, |nodes| nodes.contains_key("n1")).await;
    stop.send(()).expect("somebody listens");
    staying.await.expect("no panic").expect("deregisters");
    seen.follow(&mut changes, BTreeMap::is_empty).await;
}

pub(crate) async fn a_slow_server_is_waited_for_and_a_silent_one_holds_up_nobody(server: impl Server) {
    let node = record("n1", 1);
    registry(&server.uri()).register(&node, LONG).await.expect("registers");
    let slow = Relay::to(server.address(), Pace::Trickle).await.expect("loopback works");
    let slowly = catalog(&server.uri_at(slow.address));
    assert_eq!(slowly.list().await.expect("it comes, bit by bit").nodes, *std::slice::from_ref(&node));
    assert!(matches!(slowly.watch().next().await, Some(Ok(_))));

    slow.set(Pace::Silent);
    let uri = server.uri_at(slow.address);
    let started = Instant::now();
    let (both, registering, mut changes) =
        ([catalog(&uri), catalog(&server.uri())], registry(&uri), slowly.watch());
    let elsewhere = record("n2", 2);
    let (listed, registered, watched) =
        tokio::join!(list_all(&both), registering.register(&elsewhere, LONG), changes.next());
    // The adapters' own deadlines, not the one that covers them all.
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    let listed = listed.expect("the other one answers");
    assert_eq!(listed.nodes, *std::slice::from_ref(&node));
    assert!(
        listed.warnings.iter().any(|text| text.contains(&uri) && text.contains("no answer within")),
        "{listed:?}"
    );
    let error = registered.err().expect("nobody answers");
    assert!(matches!(error.cause, Cause::Deadline(_)) && error.is_transient(), "{error}");
    let error = watched.expect("goes on").expect_err("nobody answers");
    assert!(matches!(error, CatalogError::One { cause: Cause::Deadline(_), .. }), "{error}");

    slow.set(Pace::Free);
    Seen::default().follow(&mut changes, |nodes| nodes.contains_key("n1")).await;
}

pub(crate) async fn rubbish_is_named_and_harms_nothing(server: impl Server) {
    let kinds = rubbish::kinds();
    let all = join_all(kinds.iter().map(|rubbish| judge(&server, rubbish)));
    tokio::time::timeout(DEADLINE, all).await.expect("nothing hangs");
}

async fn judge(server: &impl Server, rubbish: &Rubbish) {
    let (address, _serving) = rubbish.serve().await;
    let uri = server.uri_at(address);
    let (catalog, registry, node) = (catalog(&uri), registry(&uri), record("n1", 1));
    let mut changes = catalog.watch();
    let (listed, watched, registered) =
        tokio::join!(catalog.list(), changes.next(), registry.register(&node, LONG));
    let clear = |text: String| {
        assert!(text.contains(&uri) && !text.contains(char::is_control), "{text:?} about {rubbish:?}");
    };
    clear(listed.expect_err("no catalog").to_string());
    clear(watched.expect("goes on").expect_err("no catalog").to_string());
    // Some registries say nothing that matters when they take a record.
    if let Err(error) = registered {
        clear(error.to_string());
    }
}
