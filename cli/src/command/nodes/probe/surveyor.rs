//! Measures every node that is wanted, asks the nearest for their load, and chooses.

use std::time::Duration;

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use cbrowse_registry::Listing;

use super::Args;
use crate::{
    attach::finalist::{Judge, Patience, interview_all},
    breaker::Breakers,
    command::filter,
    context::Globals,
    discover,
    failure::Failure,
    history::History,
    output::Progress,
    probe::{self, Goal, Heard, Probed, Report, Search, Sockets},
    remembered,
    select::{self, Choice, Constraints, Strategy, draw::SystemDice},
    survey::{self, Preference, Probing, ground},
};

/// Nodes asked over TLS at most: each costs its node a handshake.
pub(super) const MOST_ASKED: usize = 16;

/// What a command measures, and how it chooses.
pub(super) struct Surveyor<'a> {
    globals: &'a Globals,
    pub(super) constraints: Constraints,
    /// Which region is the nearest other one shows only once all are measured.
    pub(super) measured: Constraints,
    pub(super) strategy: Strategy,
    probing: Probing,
    judge: Judge,
    samples: u32,
    timeout: Duration,
}

impl<'a> Surveyor<'a> {
    pub(super) fn of(args: &Args, globals: &'a Globals) -> Result<Self, Failure> {
        let constraints = args.filter.constraints(&globals.settings);
        Ok(Self {
            globals,
            measured: select::fallback::anywhere(&constraints).unwrap_or_else(|| constraints.clone()),
            constraints,
            strategy: args.filter.strategy(&globals.settings),
            probing: args.probing.probing(&globals.settings),
            judge: Judge::of(globals)?,
            samples: args.count,
            timeout: args.timeout,
        })
    }

    pub(super) async fn list(&self) -> Result<Listing, Failure> {
        let listing = match self.probing {
            Probing::Cached => discover::start::remembered(self.globals).await?,
            Probing::All | Probing::Fresh | Probing::Quiet(_) => discover::discover(self.globals).await?,
        };
        discover::remark(&self.globals.output, &listing);
        filter::check_known(&listing.nodes, &self.constraints)?;
        Ok(listing)
    }

    /// What is asked of a node, and whom earlier failures keep out just now.
    pub(super) fn constraints_now(&self, nodes: &[NodeRecord]) -> Constraints {
        let kept_out = Breakers::of(&self.globals.paths).kept_out(nodes);
        Constraints { kept_out, ..self.constraints.clone() }
    }

    /// By no memory of earlier probings.
    pub(super) fn preference(&self) -> Preference {
        Preference {
            memory: remembered::load(&self.globals.paths, self.strategy),
            probing: self.probing,
            ..Preference::from(self.strategy)
        }
    }

    /// Every node with what was measured or is remembered of it, and who would be chosen. What was measured is remembered.
    pub(super) async fn survey(&self, listing: &Listing) -> (Report, Choice) {
        let history = History::of(&self.globals.paths, &self.globals.output);
        let preference = Preference { recalled: history.recall_for(self.probing), ..self.preference() };
        let (wanted, others) = select::split(listing.nodes.clone(), &self.measured);
        let mut report = match self.probing {
            Probing::Cached => {
                let ranks = self.strategy.ranks_by_measurement();
                ground::remembered(wanted, listing.gate(), &preference.recalled, ranks).await
            }
            _ => self.measure_once(listing, wanted, &preference).await,
        };
        report.nodes.extend(others.into_iter().map(Probed::unprobed));
        history.note(&preference.recalled, &report);
        let choice = preference.choose(&report.nodes, &self.constraints_now(&listing.nodes));
        history.settle().await;
        (report, choice)
    }

    async fn measure_once(
        &self,
        listing: &Listing,
        wanted: Vec<NodeRecord>,
        preference: &Preference,
    ) -> Report {
        let recalled = &preference.recalled;
        let (mut wanted, most) = ground::in_turn(wanted, self.probing, recalled, &mut SystemDice);
        let left_out = wanted.split_off(most.min(wanted.len()));
        let progress = self.globals.output.search(wanted.len(), "probing");
        let priors = ground::priors(&wanted, recalled);
        let mut report = self.measure(listing, wanted, priors, &progress).await;
        ground::forget_the_moved(&mut report.nodes, recalled);
        progress.message("asking the nearest");
        self.ask(&mut report.nodes, MOST_ASKED).await;
        report.nodes.extend(left_out.into_iter().map(ground::not_drawn));
        report
    }

    pub(super) async fn measure(
        &self,
        listing: &Listing,
        wanted: Vec<NodeRecord>,
        priors: Vec<Option<probe::Prior>>,
        progress: &Progress,
    ) -> Report {
        let search = Search { priors, ..Search::new(Goal::Survey(self.samples)).within(self.timeout) };
        let sockets = Sockets::open();
        let ids: Vec<NodeId> = wanted.iter().map(|record| record.id.clone()).collect();
        let heard = |now: Heard| {
            progress.at(now.answered);
            if let Some((index, rtt)) = now.best {
                progress.message(format!("best so far: {}, {:.1} ms", ids[index], rtt.as_secs_f64() * 1e3));
            }
        };
        probe::probe(wanted, listing.gate(), &sockets, search, heard).await
    }

    /// Asks the nearest over TLS for their load.
    pub(super) async fn ask(&self, nodes: &mut [Probed], most: usize) {
        let nearest = survey::nearest(nodes, most);
        let asked: Vec<&Probed> = nearest.iter().map(|index| &nodes[*index]).collect();
        let interviews = interview_all(&asked, &self.judge, Patience::All).await;
        for (index, interview) in nearest.into_iter().zip(interviews) {
            nodes[index].live = interview.live();
        }
    }
}
