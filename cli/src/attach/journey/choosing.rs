//! From the nodes known to an attachment: survey, and one candidate after another until one takes the session.

use std::pin::pin;

use cbrowse_protocol::id::NodeId;
use cbrowse_registry::Listing;

use super::{
    Journey, Surveyed,
    refusals::{all_refused, ends_the_search},
};
use crate::{
    attach::{
        finalist::{Finalist, Interview, interview},
        session::Attachment,
    },
    discover::start::{Refresh, news},
    failure::{Exit, Failure},
    probe::Probed,
    remembered,
    survey::{Preference, Survey, survey},
    timeline::{self, Stage},
};

impl Journey<'_> {
    /// Surveys, and attaches to the best node that takes the session. Where none of the nodes known does, the
    /// registries' own answer is waited for before that is a failure.
    pub async fn begin(&mut self) -> Result<Attachment, Failure> {
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
        if survey.choice.order.is_empty() {
            timeline::in_vain(&survey.report, &survey.choice);
            return Err(survey.nobody());
        }
        self.take_seat(survey).await
    }

    /// Surveys what is known; starts over when the registries say something else before that is done.
    async fn survey(&mut self) -> Survey {
        loop {
            let mut listing = self.plan.listing.clone();
            listing.nodes.retain(|node| !self.gone.contains(&node.id));
            let preference = self.preference();
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
        }
    }

    /// Tells where the session went, if that is not where it was wanted, and remembers it for the next choice.
    fn took(&self, surveyed: &Surveyed) {
        let Surveyed { report, choice } = surveyed;
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

    /// Asks one candidate after another; remembers why each refused.
    async fn take_seat(&mut self, mut survey: Survey) -> Result<Attachment, Failure> {
        let mut refusals: Vec<(NodeId, Failure)> = Vec::new();
        for index in survey.choice.order.clone() {
            let record = survey.report.nodes[index].record.clone();
            let finalist =
                match self.finalist(&survey.report.nodes[index], survey.interviews.remove(&index)).await {
                    Ok(finalist) => finalist,
                    Err(failure) => {
                        timeline::failed_over(&record.id, &failure);
                        refusals.push((record.id, failure));
                        continue;
                    }
                };
            match self.attach_to(finalist, &survey.report.nodes[index]).await {
                Ok(attachment) => {
                    let Survey { report, mut choice, .. } = survey;
                    choice.order.retain(|other| *other != index);
                    choice.order.insert(0, index);
                    let surveyed = Surveyed { report, choice };
                    self.took(&surveyed);
                    self.surveyed = Some(surveyed);
                    return Ok(attachment);
                }
                Err(failure) => {
                    timeline::failed_over(&record.id, &failure);
                    if ends_the_search(&failure, refusals.len()) {
                        timeline::in_vain(&survey.report, &survey.choice);
                        return Err(failure);
                    }
                    refusals.push((record.id, failure));
                }
            }
        }
        timeline::in_vain(&survey.report, &survey.choice);
        Err(all_refused(refusals))
    }

    pub(super) async fn finalist(
        &mut self,
        node: &Probed,
        interviewed: Option<Interview>,
    ) -> Result<Finalist, Failure> {
        let outcome = if let Some(outcome) = interviewed {
            outcome
        } else {
            timeline::enter_with(Stage::Tls, &node.record.id);
            interview(node, &self.plan.judge).await
        };
        match outcome {
            Interview::Trusted(finalist) => Ok(*finalist),
            Interview::FirstUse(stranger) => stranger.introduce(self.paths).await,
            Interview::Refused(failure) => Err(*failure),
            Interview::Failed(reason) => Err(Failure::new(Exit::SessionLost, "connection", reason)),
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
