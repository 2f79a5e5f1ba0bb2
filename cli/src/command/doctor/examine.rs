//! All checks side by side, each within its own deadline, none of them able to hold up another.

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Shared},
    stream::FuturesUnordered,
};

use super::{
    Args, browser,
    catalogs::{self, Surveyed},
    clock, dns,
    finding::{Check, Finding},
    icmp::{self, Family},
    ipv6, limits, private_node, proxies, secrets, storage, terminal, trusted,
};
use crate::{context::Globals, discover::Sources};

/// Longest that any check takes; the whole command ends a moment later. Each has a shorter deadline of its own, so that
/// this one strikes only where something hangs that should not.
const DEADLINE: Duration = Duration::from_millis(4800);

/// What the catalogs said, for all checks that go on from there.
pub(super) type Catalogs<'a> = Shared<BoxFuture<'a, Arc<Surveyed>>>;

/// A check that runs, and which ones it stands for.
type Job<'a> = (&'static [Check], BoxFuture<'a, Vec<Finding>>);

/// Runs what is asked for. Cancel safe: whatever a check has changed, it has put back when it is dropped.
pub(super) async fn examine(args: &Args, globals: &Globals) -> Vec<Finding> {
    let surveyed: Catalogs<'_> = catalogs::survey(globals).map(Arc::new).boxed().shared();
    let wanted = jobs(args, globals, &surveyed)
        .into_iter()
        .filter(|(checks, _)| checks.iter().any(|check| args.wants(*check)));
    let mut running: FuturesUnordered<_> = wanted.map(bounded).collect();
    let progress = globals.output.progress(running.len(), "checking");
    let (mut findings, mut ended) = (Vec::new(), 0);
    while let Some(found) = running.next().await {
        ended += 1;
        progress.at(ended);
        findings.extend(found.into_iter().filter(|finding| args.wants(finding.check)));
    }
    // Whoever was first to end says nothing to a person.
    findings.sort_by(|one, other| (one.check, &one.subject).cmp(&(other.check, &other.subject)));
    findings
}

fn jobs<'a>(args: &'a Args, globals: &'a Globals, surveyed: &Catalogs<'a>) -> Vec<Job<'a>> {
    let broken = args.broken_settings.as_ref();
    vec![
        (&[Check::IcmpV4], icmp::check(Family::V4).map(|found| vec![found]).boxed()),
        (&[Check::IcmpV6], icmp::check(Family::V6).map(|found| vec![found]).boxed()),
        (&[Check::Buffers], async move { vec![limits::buffers()] }.boxed()),
        (&[Check::OpenFiles], async move { vec![limits::open_files()] }.boxed()),
        (&[Check::DnsUdp, Check::DnsTcp], dns::check(named_catalogs(globals)).boxed()),
        (&[Check::Ipv6], ipv6::check(surveyed.clone()).map(|found| vec![found]).boxed()),
        (&[Check::Proxies], async move { vec![proxies::check()] }.boxed()),
        (&[Check::Settings], async move { vec![catalogs::settings(globals, broken)] }.boxed()),
        (&[Check::Catalogs], surveyed.clone().map(|surveyed| surveyed.findings.clone()).boxed()),
        (&[Check::Copies], async move { vec![catalogs::copies(globals)] }.boxed()),
        (&[Check::Clock], clock::check(globals, surveyed.clone()).map(|found| vec![found]).boxed()),
        (&[Check::Keyring, Check::Login], secrets::check(args, globals).boxed()),
        (&[Check::Trust], trusted::check(globals, surveyed.clone()).map(|found| vec![found]).boxed()),
        (&[Check::Storage, Check::Disk], storage::check(&globals.paths).boxed()),
        (&[Check::Terminal], terminal::check().map(|found| vec![found]).boxed()),
        (&[Check::Browser], async move { vec![browser::check()] }.boxed()),
        (&[Check::PrivateNode], private_node::check().map(|found| vec![found]).boxed()),
    ]
}

async fn bounded((checks, job): Job<'_>) -> Vec<Finding> {
    match tokio::time::timeout(DEADLINE, job).await {
        Ok(findings) => findings,
        Err(_) => checks.iter().map(|check| late(*check)).collect(),
    }
}

fn late(check: Check) -> Finding {
    let found = format!("no result within {:.1} s", DEADLINE.as_secs_f64());
    Finding::warning(check, found, format!("look at it alone: cbrowse doctor --only {check}"))
}

/// Those that can be read; the ones that cannot are the settings' to tell.
fn named_catalogs(globals: &Globals) -> Vec<cbrowse_registry::CatalogUri> {
    Sources::of_settings(&globals.settings).map(|sources| sources.catalogs).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_costs_its_own_deadline_and_is_named() {
        let hangs: Job<'_> = (&[Check::DnsUdp, Check::DnsTcp], std::future::pending().boxed());
        let started = tokio::time::Instant::now();
        let findings = bounded(hangs).await;
        assert_eq!(started.elapsed(), DEADLINE);
        let names: Vec<Check> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(names, [Check::DnsUdp, Check::DnsTcp]);
        assert!(findings[0].mend.as_ref().is_some_and(|mend| mend.ends_with("--only dns-udp")));
    }
}
