//! From the nodes known to an attachment: survey, and one candidate after another until one takes the session.

mod candidates;

use std::{collections::BTreeMap, pin::pin, time::Duration};

use cbrowse_protocol::id::NodeId;
use cbrowse_registry::Listing;
use tokio::time::Instant;

use self::candidates::{Candidates, Heard};
use super::{
    Journey, Surveyed,
    patience::pause,
    refusals::all_refused,
    seating::{Asker, Seated},
};
use crate::{
    attach::{
        connection::Fault,
        finalist::{Interview, Unanswered},
        session::Attachment,
    },
    breaker::{Event, Key, chance},
    discover::start::{Refresh, news},
    failure::{Exit, Failure},
    history::Recalled,
    probe::Report,
    remembered,
    survey::{Preference, Survey, survey},
    timeline,
};

/// Code of the failure of a survey in which every node that fits is full.
const FULL: &str = "full";

impl Journey<'_> {
    /// Attaches to the best node that takes the session. Where every node that fits is full, asks again for as long as it was
    /// told to wait.
    pub async fn begin(&mut self) -> Result<Attachment, Failure> {
        let (started, mut tries) = (Instant::now(), 0);
        loop {
            self.busy = None;
            let failure = match self.begin_once().await {
                Ok(attachment) => return Ok(attachment),
                Err(failure) => failure,
            };
            let left = self.patience.saturating_sub(started.elapsed());
            let Some(pause) = self.busy.and_then(|asked| pause(tries, asked, chance(), left)) else {
                return Err(failure);
            };
            self.output.warn(format_args!(
                "every node that fits is full; asking again in {:.1} s, for {} s more",
                pause.as_secs_f64(),
                left.as_secs()
            ));
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    /// Surveys, and attaches to the best node that takes the session. Where none of the nodes known does, the
    /// registries' own answer is waited for before that is a failure.
    async fn begin_once(&mut self) -> Result<Attachment, Failure> {
        let failure = match self.try_known().await {
            Err(failure) if failure.exit != Exit::Authentication => failure,
            outcome => return outcome,
        };
        let Some(mut refresh) = self.refresh.take() else { return Err(failure) };
        match news(self.output, &self.plan.listing, refresh.wait().await) {
            Some(fresh) => {
                self.plan.listing = fresh;
                self.try_known().await
            }
            None => Err(failure),
        }
    }

    async fn try_known(&mut self) -> Result<Attachment, Failure> {
        let survey = self.survey().await;
        if let Some(history) = &self.plan.history {
            history.note(&survey.recalled, &survey.report);
        }
        if survey.choice.order.is_empty() {
            timeline::in_vain(&survey.report, &survey.choice);
            let failure = survey.nobody();
            self.busy = (failure.code == FULL).then_some(Duration::ZERO);
            return Err(failure);
        }
        self.take_seat(survey).await
    }

    /// Surveys what is known; starts over when the registries say something else before that is done.
    async fn survey(&mut self) -> Survey {
        loop {
            let mut listing = self.plan.listing.clone();
            listing.nodes.retain(|node| !self.gone.contains(&node.id));
            let preference = self.preference();
            self.plan.constraints.kept_out = self.breakers.kept_out(&listing.nodes);
            let plan = &mut self.plan;
            let mut surveying = pin!(survey(listing, &plan.constraints, preference, &plan.judge));
            let fresh = tokio::select! {
                survey = &mut surveying => return survey,
                fresh = arrival(self.refresh.as_mut()) => fresh,
            };
            self.refresh = None;
            match news(self.output, &plan.listing, fresh) {
                Some(fresh) => plan.listing = fresh,
                None => return surveying.await,
            }
        }
    }

    fn preference(&self) -> Preference {
        let profile = self.plan.profile.as_ref().map(|profile| profile.id().to_string());
        Preference {
            strategy: self.plan.strategy,
            key: Some(profile.unwrap_or_else(|| self.plan.credentials.public_key().to_string())),
            memory: remembered::load(self.paths, self.plan.strategy),
            probing: self.plan.probing,
            recalled: self
                .plan
                .history
                .as_ref()
                .map(|history| history.recall_for(self.plan.probing))
                .unwrap_or_default(),
        }
    }

    /// Tells where the session went, if that is not where it was wanted, and remembers it for the next choice.
    fn took(&self, surveyed: &Surveyed, recalled: &Recalled) {
        let Surveyed { report, choice } = surveyed;
        if let Some((history, index)) = self.plan.history.as_ref().zip(choice.chosen()) {
            history.note_home(recalled, &report.nodes[index]);
        }
        let wanted = &self.plan.constraints.regions;
        let region = choice.chosen().map(|index| report.nodes[index].region()).unwrap_or_default();
        if !wanted.is_empty() && !region.is_empty() && !wanted.iter().any(|wanted| wanted == region) {
            self.output.warn(format_args!(
                "no node in {} is eligible: {region} is the nearest other region",
                wanted.join(" or ")
            ));
        }
        if let Err(error) = remembered::note(self.paths, self.plan.strategy, &report.nodes, choice) {
            self.output.warn(format_args!("the next choice will not know of this one: {error}"));
        }
    }

    /// Asks the candidates in order: the next one at once when one refuses, and beside it when one is silent. The first to
    /// take the session has it.
    async fn take_seat(&mut self, survey: Survey) -> Result<Attachment, Failure> {
        let Survey { report, mut choice, interviews, recalled } = survey;
        self.hold_responsible(&report, &interviews);
        let asker = Asker { plan: &self.plan, paths: self.paths, output: self.output };
        let mut candidates =
            Candidates::new(asker, self.breakers.clone(), &report, &choice.order, interviews);
        let outcome = candidates.first_to_take().await;
        let Heard { failures, faults, silent, busy } = candidates.heard();
        self.suspects.extend(silent);
        self.busy = busy;
        match outcome {
            Ok((index, seated)) => {
                self.remember(faults, Some(Key::of(&report.nodes[index].record)));
                choice.order.retain(|other| *other != index);
                choice.order.insert(0, index);
                let listed = report.nodes[index].record.id.clone();
                Ok(self.seated(seated, listed, Surveyed { report, choice }, &recalled))
            }
            Err(failure) => {
                self.remember(faults, None);
                timeline::in_vain(&report, &choice);
                Err(failure.unwrap_or_else(|| all_refused(failures)))
            }
        }
    }

    fn seated(
        &mut self,
        seated: Seated,
        listed: NodeId,
        surveyed: Surveyed,
        recalled: &Recalled,
    ) -> Attachment {
        let Seated { attachment, record, uploaded } = seated;
        self.note(&attachment.session, &record);
        (self.at, self.listed) = (Some(record), Some(listed));
        self.session = Some(attachment.session.clone());
        self.uploaded = uploaded.or(self.uploaded);
        self.took(&surveyed, recalled);
        self.surveyed = Some(surveyed);
        attachment
    }

    /// Finalists that did not answer while others did have failed.
    fn hold_responsible(&mut self, report: &Report, interviews: &BTreeMap<usize, Interview>) {
        let mut faults = Vec::new();
        for (index, interview) in interviews {
            if let Interview::Failed(Unanswered { fault, .. }) = interview {
                faults.push((Key::of(&report.nodes[*index].record), *fault));
            }
        }
        if interviews.values().any(Interview::is_usable) {
            self.remember(faults, None);
        }
    }

    /// Writes down who failed and who works. Failures wait until some node has answered: before that it may be this machine
    /// that is cut off, and every node would be kept out for it.
    fn remember(&mut self, faults: Vec<(Key, Fault)>, works: Option<Key>) {
        let mut answered = works.is_some();
        let mut events = Vec::new();
        for (key, fault) in faults {
            match fault {
                Fault::Broken => self.suspects.push(key),
                Fault::Busy(wait) => events.push((key, Event::Asked(wait))),
                Fault::Innocent => {}
            }
        }
        answered |= !events.is_empty();
        if answered {
            events.extend(self.suspects.drain(..).map(|key| (key, Event::Failed)));
        }
        events.extend(works.map(|key| (key, Event::Worked)));
        if let Err(error) = self.breakers.note(&events) {
            self.output.warn(format_args!("which nodes failed is not remembered: {error}"));
        }
    }
}

/// Never ends while nobody is being asked.
async fn arrival(refresh: Option<&mut Refresh>) -> Result<Listing, Failure> {
    match refresh.filter(|refresh| refresh.is_running()) {
        Some(refresh) => refresh.wait().await,
        None => std::future::pending().await,
    }
}
