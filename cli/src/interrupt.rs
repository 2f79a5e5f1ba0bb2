//! Ctrl-C: the first one asks a watching command to end within [`GRACE`], and ends any other at once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};

/// How long a command may take to end in order after Ctrl-C. With more, the promised second would be broken.
pub const GRACE: Duration = Duration::from_millis(800);

/// Hears SIGINT, SIGTERM and SIGHUP for the command that runs.
#[derive(Debug, Default)]
pub struct Interrupt {
    token: CancellationToken,
    watched: AtomicBool,
}

impl Interrupt {
    /// A token that is cancelled by Ctrl-C. Whoever takes it promises to return soon after.
    pub fn watch(&self) -> CancellationToken {
        self.watched.store(true, Ordering::Relaxed);
        self.token.clone()
    }

    /// Runs `work` to its end, or to its interruption.
    pub async fn run(&self, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            // Signals are heard before the work begins.
            biased;
            heard = wait_for_signal() => heard?,
            result = &mut work => return result,
        }
        self.token.cancel();
        if !self.watched.load(Ordering::Relaxed) {
            return Err(Failure::interrupted());
        }
        tokio::select! {
            result = work => result,
            () = tokio::time::sleep(GRACE) => Err(Failure::interrupted()),
            heard = wait_for_signal() => heard.and(Err(Failure::interrupted())),
        }
    }
}

async fn wait_for_signal() -> Result<(), Failure> {
    let hear = |kind| {
        signal(kind)
            .map_err(|error| Failure::new(Exit::Bug, "signals", format!("cannot hear signals: {error}")))
    };
    let (mut interrupt, mut terminate, mut hangup) =
        (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?, hear(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
