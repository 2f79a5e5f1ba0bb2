//! The candidates of one survey, asked in order: the next at once when one refuses, and beside it when one is silent.

use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use cbrowse_protocol::id::NodeId;
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::super::{
    patience::{Awaited, Pulse, silence},
    refusals::ends_the_search,
    seating::{Asker, Refusal, Seated},
};
use crate::{
    attach::{connection::Fault, finalist::Interview},
    breaker::{Breakers, Key},
    failure::Failure,
    probe::Report,
    timeline,
};

/// Candidates that are asked side by side. Fewer: a silent node in front costs a timeout; more: where all nodes are slow, each
/// client makes that many of them begin a session.
const MOST_AT_ONCE: usize = 2;

type Asking<'a> = Pin<Box<dyn Future<Output = (usize, Result<Seated, Refusal>)> + Send + 'a>>;

/// Who is asked, and what was heard.
pub(super) struct Candidates<'a> {
    asker: Asker<'a>,
    breakers: Breakers,
    report: &'a Report,
    queue: VecDeque<usize>,
    interviews: BTreeMap<usize, Interview>,
    asking: FuturesUnordered<Asking<'a>>,
    /// Asked, and nothing heard yet.
    unheard: BTreeMap<usize, Awaited>,
    failures: Vec<(NodeId, Failure)>,
    faults: Vec<(Key, Fault)>,
}

/// What the candidates made of it.
pub(super) struct Heard {
    /// Why each refused.
    pub(super) failures: Vec<(NodeId, Failure)>,
    /// What that says about them.
    pub(super) faults: Vec<(Key, Fault)>,
    /// Who had been silent for too long when another took the session.
    pub(super) silent: Vec<Key>,
    /// Where all were asked and had no room: when the first of them may be asked again.
    pub(super) busy: Option<Duration>,
}

impl<'a> Candidates<'a> {
    /// Nobody is asked yet.
    pub(super) fn new(
        asker: Asker<'a>,
        breakers: Breakers,
        report: &'a Report,
        order: &[usize],
        interviews: BTreeMap<usize, Interview>,
    ) -> Self {
        Self {
            asker,
            breakers,
            report,
            queue: order.iter().copied().collect(),
            interviews,
            asking: FuturesUnordered::new(),
            unheard: BTreeMap::new(),
            failures: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// The first that takes the session; whoever was asked beside it is let go of, and ends what it may have begun. An error
    /// that no other candidate would mend; `None` where all have refused.
    pub(super) async fn first_to_take(&mut self) -> Result<(usize, Seated), Option<Failure>> {
        loop {
            if self.asking.is_empty() && !self.ask_next() {
                return Err(None);
            }
            let may_hedge = self.asking.len() < MOST_AT_ONCE && !self.queue.is_empty();
            tokio::select! {
                biased;
                Some((index, outcome)) = self.asking.next() => {
                    self.unheard.remove(&index);
                    match outcome {
                        Ok(seated) => return Ok((index, seated)),
                        Err(refusal) => self.refused(index, refusal)?,
                    }
                }
                () = one_silent(&self.unheard), if may_hedge => {
                    self.ask_next();
                }
            }
        }
    }

    fn refused(&mut self, index: usize, refusal: Refusal) -> Result<(), Option<Failure>> {
        let Refusal { failure, fault } = refusal;
        let record = &self.report.nodes[index].record;
        timeline::failed_over(&record.id, &failure);
        self.faults.push((Key::of(record), fault));
        if ends_the_search(&failure, self.failures.len()) {
            return Err(Some(failure));
        }
        self.failures.push((record.id.clone(), failure));
        Ok(())
    }

    /// Whether there was one more.
    fn ask_next(&mut self) -> bool {
        while let Some(index) = self.queue.pop_front() {
            let node = &self.report.nodes[index];
            let is_last = self.asking.is_empty() && self.queue.is_empty();
            // Another command has the one trial of this node; that is no reason to fail.
            if !self.breakers.begin(&Key::of(&node.record)) && !is_last {
                continue;
            }
            let (asker, pulse) = (self.asker, Arc::new(Pulse::new()));
            self.unheard.insert(index, Awaited { pulse: pulse.clone(), patience: silence(node) });
            let interviewed = self.interviews.remove(&index);
            self.asking.push(Box::pin(async move { (index, asker.ask(node, interviewed, &pulse).await) }));
            return true;
        }
        false
    }

    /// Ends everything that is still being asked.
    pub(super) fn heard(self) -> Heard {
        let Self { report, unheard, failures, faults, .. } = self;
        // Whoever was asked beside a moment ago, or is at work, has not failed.
        let overdue = unheard.iter().filter(|(_, awaited)| awaited.is_overdue());
        let silent = overdue.map(|(index, _)| Key::of(&report.nodes[*index].record)).collect();
        let waits: Option<Vec<Duration>> = faults
            .iter()
            .map(|(_, fault)| if let Fault::Busy(wait) = fault { Some(*wait) } else { None })
            .collect();
        let busy = waits.and_then(|waits| waits.into_iter().min());
        Heard { failures, faults, silent, busy }
    }
}

/// Returns once one of them has been silent for too long; at once, if that was before.
async fn one_silent(unheard: &BTreeMap<usize, Awaited>) {
    let mut silences: FuturesUnordered<_> = unheard.values().map(Awaited::silent).collect();
    if silences.next().await.is_none() {
        pending::<()>().await;
    }
}
