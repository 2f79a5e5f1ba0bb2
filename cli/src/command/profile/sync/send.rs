//! The last part of a sync: the best node gets what it lacks, hears which head is current, and what it has to keep.

use std::{sync::Arc, time::SystemTime};

use cbrowse_profile::meter::Meter;
use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::Listing;

use super::{super::doors::Doors, Args};
use crate::{
    attach::finalist::{Finalist, Interview, interview},
    command::filter::{self, Filter},
    context::Globals,
    credentials::seconds,
    discover,
    failure::{Exit, Failure},
    history::History,
    profile::{
        CarryError, OpenProfile, Published, Travel, Uploaded,
        copies::{self, Confirmation},
    },
    select::{self, Constraints},
    survey::{Preference, Survey, survey},
};

/// What became of it.
pub(in crate::command::profile) struct Sent {
    pub(in crate::command::profile) node: NodeRecord,
    pub(in crate::command::profile) uploaded: Uploaded,
    /// When the node said that it holds all of this generation, where it was not asked again.
    pub(in crate::command::profile) confirmed: Option<u64>,
    pub(in crate::command::profile) published: Option<Published>,
}

/// Where a profile may go or come from.
pub(in crate::command::profile) struct Field {
    listing: Listing,
    constraints: Constraints,
}

impl Field {
    /// The nodes of the catalogs, and which of them are wanted.
    pub(in crate::command::profile) async fn look(
        globals: &Globals,
        filter: &Filter,
        browser: Option<String>,
    ) -> Result<Self, Failure> {
        let mut constraints = filter.constraints(&globals.settings);
        constraints.profile_browser = browser;
        let listing = discover::discover(globals).await?;
        discover::remark(&globals.output, &listing);
        filter::check_known(&listing.nodes, &constraints)?;
        Ok(Self { listing, constraints })
    }

    /// The node that said so, if the catalogs still list it and nothing speaks against it.
    fn listed(&self, confirmation: &Confirmation) -> Option<NodeRecord> {
        let records = self.listing.nodes.clone();
        let (wanted, _) = select::split(records, &self.constraints);
        wanted.into_iter().find(|record| record.identity == Some(confirmation.identity))
    }

    /// The best of them, met and trusted.
    pub(in crate::command::profile) async fn best(
        self,
        globals: &Globals,
        filter: &Filter,
        doors: &Doors<'_>,
    ) -> Result<(NodeRecord, Finalist, History), Failure> {
        let strategy = filter.strategy(&globals.settings);
        let history = History::of(&globals.paths, &globals.output);
        let probing = globals.settings.probing.value;
        let recalled = history.recall_for(probing);
        let preference = Preference { probing, recalled, ..Preference::from(strategy) };
        let survey = survey(self.listing, &self.constraints, preference, &doors.judge).await;
        history.note(&survey.recalled, &survey.report);
        if survey.choice.order.is_empty() {
            return Err(survey.nobody());
        }
        let (node, finalist) = best(survey, globals, doors).await?;
        Ok((node, finalist, history))
    }
}

/// Sends. Where a node has said lately that it holds all of the current generation, and points to it, nobody is asked.
pub(super) async fn send(
    args: &Args,
    globals: &Globals,
    profile: &OpenProfile,
    doors: &mut Doors<'_>,
) -> Result<Sent, Failure> {
    let field = Field::look(globals, &args.filter, profile.browser_version()?).await?;
    let now = seconds(SystemTime::now());
    let directory = profile.authority().directory();
    let head = profile.head()?;
    let known =
        head.as_ref().filter(|_| !args.fresh).and_then(|head| copies::confirmed(directory, head, now));
    if let Some(known) = known
        && let Some(node) = field.listed(&known)
    {
        let uploaded = Uploaded::default();
        return Ok(Sent { node, uploaded, confirmed: Some(known.time), published: None });
    }
    let credentials = doors.fleet().await?;
    let (node, mut finalist, history) = field.best(globals, &args.filter, doors).await?;
    let connection = &mut finalist.connection;
    if args.dry_run {
        let uploaded = profile.would_upload(connection, &credentials).await?;
        history.settle().await;
        return Ok(Sent { node, uploaded, confirmed: None, published: None });
    }
    let identity = *connection.identity();
    copies::note(directory, &identity, &node).map_err(CarryError::from)?;
    let travel = Travel {
        meter: Arc::new(Meter::default()),
        rate: args.limit_rate.or(globals.settings.limit_rate.value).filter(|rate| *rate > 0),
    };
    let drawn = globals.output.follow("sending", "objects", travel.meter.clone());
    let sent = profile.upload(connection, &credentials, &travel).await;
    let published = match &sent {
        Ok(_) => Some(profile.publish(connection, &credentials, now, &travel).await),
        Err(_) => None,
    };
    drop(drawn);
    let (uploaded, published) = (sent?, published.transpose()?);
    if let Some(head) = head {
        // Without the note the next sync asks; that is all.
        let _asked_again = copies::confirm(directory, &Confirmation { identity, head, time: now });
    }
    history.settle().await;
    Ok(Sent { node, uploaded, confirmed: None, published })
}

/// The first of the choice that answers and is trusted; a person may be asked about one that nobody knows.
async fn best(
    mut survey: Survey,
    globals: &Globals,
    doors: &Doors<'_>,
) -> Result<(NodeRecord, Finalist), Failure> {
    let mut refusals: Vec<(NodeRecord, Failure)> = Vec::new();
    for index in survey.choice.order.clone() {
        let node = &survey.report.nodes[index];
        let outcome = match survey.interviews.remove(&index) {
            Some(outcome) => outcome,
            None => interview(node, &doors.judge).await,
        };
        let opened = match outcome {
            Interview::Trusted(finalist) => Ok(*finalist),
            Interview::FirstUse(stranger) => stranger.introduce(&globals.paths).await,
            Interview::Refused(failure) => Err(*failure),
            Interview::Failed(reason) => Err(Failure::new(Exit::SessionLost, "connection", reason)),
        };
        match opened {
            Ok(finalist) => return Ok((named(node.record.clone(), &finalist), finalist)),
            Err(failure) => refusals.push((node.record.clone(), failure)),
        }
    }
    Err(nobody(refusals))
}

/// Under the name that the node has for itself, where the catalog knows none.
fn named(mut record: NodeRecord, finalist: &Finalist) -> NodeRecord {
    if record.id.as_str() == record.endpoint() {
        record.id = finalist.status.id.clone();
    }
    record
}

fn nobody(mut refusals: Vec<(NodeRecord, Failure)>) -> Failure {
    if refusals.len() == 1 {
        return refusals.remove(0).1;
    }
    let exit = refusals.first().map_or(Exit::Refused, |(_, failure)| failure.exit);
    let lines: Vec<_> =
        refusals.iter().map(|(node, failure)| format!("  {}: {}", node.id, failure.message)).collect();
    Failure::new(exit, "all_refused", format!("no node took the profile:\n{}", lines.join("\n")))
        .hint("look with cbrowse nodes probe")
}
