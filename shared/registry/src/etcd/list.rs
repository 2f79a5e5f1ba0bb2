//! Everything below the prefix at one revision, in pages: ten thousand records are never one answer, which the gateway
//! could not pass on (its messages end at 4 MiB before etcd 3.5).

use std::{net::IpAddr, time::Duration};

use super::{
    EtcdCatalog, Revision,
    answer::{Mark, Page},
    client::{Deadline, Part, Range},
    entry,
    fault::Failure,
};
use crate::{
    catalog::Listing,
    error::Cause,
    reach::Reach,
    screen::{Candidate, MAX_NODES, screen},
    uri::{CatalogUri, EtcdUri},
};

/// Longest wait for a listing, all its pages together. Longer: a registry that is down holds up every command; shorter:
/// ten thousand nodes over a slow line do not fit.
const LIST_DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for the reason why a listing is empty, which is only an aid.
const EXPLAIN_DEADLINE: Duration = Duration::from_secs(2);
/// Most entries of a page. More: a page of records with much metadata exceeds 4 MiB and is asked for again in halves;
/// fewer: a large catalog takes more questions.
const PAGE: usize = 1_000;
/// Most keys that are read: those of a full catalog, and as much garbage. More: whoever may write below the prefix
/// fills the memory of every client.
const MAX_KEYS: usize = 2 * MAX_NODES;
/// Most bytes of all pages together, as any registry's answer may have.
const MAX_LENGTH: usize = 64 << 20;
/// How often a listing begins again because its revision was compacted away between two pages.
const ATTEMPTS: usize = 3;

/// A listing, and where a watch may go on from it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) listing: Listing,
    pub(super) revision: Revision,
    /// The entry that was written last.
    pub(super) anchor: Option<Anchor>,
}

/// A writing of a key, by which a cluster is recognized as the one that was spoken to before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) key: Vec<u8>,
    pub(super) mark: Mark,
}

impl Anchor {
    /// The later of two.
    pub(super) fn later(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.mark.modified > self.mark.modified => other,
            _ => self,
        }
    }
}

/// The pages so far.
struct Pages {
    range: Range,
    candidates: Vec<Candidate>,
    anchor: Option<Anchor>,
    length: usize,
    peer: Option<IpAddr>,
    /// Keys that are there and were not read.
    unread: u64,
}

impl EtcdCatalog {
    /// What is there now; an empty catalog comes with the reason, as far as it can be found.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Cause> {
        let deadline = Deadline::within(LIST_DEADLINE);
        let mut outcome = self.pages(deadline).await;
        for _ in 1..ATTEMPTS {
            match &outcome {
                Err(Failure::Fault(fault)) if fault.is_lost_revision() => {
                    outcome = self.pages(deadline).await;
                }
                _ => break,
            }
        }
        let (pages, revision) = outcome?;
        let mut listing = screen(pages.candidates, self.reach(pages.peer));
        listing.warnings.extend(self.client.warnings().iter().cloned());
        if pages.unread > 0 {
            let unread = pages.unread;
            listing
                .warnings
                .push(format!("only the first {MAX_KEYS} keys were read; {unread} more are there"));
        }
        if listing.nodes.is_empty() && listing.rejected.is_empty() {
            listing.warnings.push(self.explain_emptiness().await);
        }
        Ok(Snapshot { listing, revision, anchor: pages.anchor })
    }

    /// Which addresses the catalog may name, answered by `peer`.
    pub(super) fn reach(&self, peer: Option<IpAddr>) -> Reach {
        match peer {
            _ if self.settings.local => Reach::Anything,
            Some(peer) => Reach::of_catalog_at(peer),
            None => Reach::Public,
        }
    }

    async fn pages(&self, deadline: Deadline) -> Result<(Pages, Revision), Failure> {
        let range = Range { limit: PAGE, ..entry::below(&self.settings.prefix) };
        let (candidates, anchor) = (Vec::new(), None);
        let mut pages = Pages { range, candidates, anchor, length: 0, peer: None, unread: 0 };
        loop {
            match self.client.range(&pages.range, deadline).await {
                Ok((page, answer)) => {
                    pages.length += answer.body.len();
                    // The farthest of those who answered decides.
                    let peers = [pages.peer, answer.peer].into_iter().flatten();
                    pages.peer = peers.min_by_key(|peer| Reach::of_catalog_at(*peer));
                    let revision = pages.range.revision.unwrap_or(page.revision);
                    if !pages.take(page, revision, &self.settings.prefix)? {
                        return Ok((pages, revision));
                    }
                }
                Err(Failure::Fault(fault)) if fault.is_too_large() && pages.range.limit > 1 => {
                    pages.range.limit /= 2;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// An empty catalog is mostly one that was looked for in the wrong place.
    async fn explain_emptiness(&self) -> String {
        let prefix = &self.settings.prefix;
        let other = prefix.strip_prefix('/').map_or_else(|| format!("/{prefix}"), str::to_owned);
        let itself = Range { key: prefix.as_bytes().to_vec(), ..Range::default() };
        let (itself, below) = tokio::join!(self.count(itself), self.count(entry::below(&other)));
        explanation(&self.settings, itself > 0, &other, below)
    }

    async fn count(&self, range: Range) -> u64 {
        let range = Range { part: Part::Count, ..range };
        let counted = self.client.range(&range, Deadline::within(EXPLAIN_DEADLINE)).await;
        counted.map_or(0, |(page, _)| page.count)
    }
}

impl Pages {
    /// Keeps a page; whether another one is to be asked for.
    fn take(&mut self, page: Page, revision: Revision, prefix: &str) -> Result<bool, Cause> {
        if self.length > MAX_LENGTH {
            return Err(Cause::TooLarge { limit: MAX_LENGTH });
        }
        let read = (self.candidates.len() + page.entries.len()) as u64;
        let Some(last) = page.entries.last().map(|entry| entry.key.clone()) else {
            return if page.more {
                Err(Cause::Malformed("a page without entries".into()))
            } else {
                Ok(false)
            };
        };
        self.candidates.extend(page.entries.iter().map(|entry| entry::candidate(prefix, entry)));
        for entry in page.entries {
            let anchor = Anchor { key: entry.key, mark: entry.mark };
            self.anchor = Some(anchor.later(self.anchor.take()));
        }
        if page.more && self.candidates.len() >= MAX_KEYS {
            // A page counts the rest of its range, itself included.
            self.unread = page.count.saturating_sub(read.min(page.count)).max(1);
            return Ok(false);
        }
        self.range.key = last;
        self.range.key.push(0);
        self.range.revision = Some(revision);
        Ok(page.more)
    }
}

fn explanation(settings: &EtcdUri, is_key: bool, other: &str, below_other: u64) -> String {
    let prefix = &settings.prefix;
    let (below, below_instead) = (format!("{prefix}/"), format!("{other}/"));
    let begin = if below_other == 1 { "begins" } else { "begin" };
    let instead = |prefix: &str| CatalogUri::Etcd(EtcdUri { prefix: prefix.to_owned(), ..settings.clone() });
    match prefix.rsplit_once('/') {
        _ if below_other > 0 => format!(
            "no key begins with {below:?}, but {below_other} {begin} with {below_instead:?}; write {}",
            instead(other)
        ),
        Some((parent, _)) if is_key && !parent.is_empty() => {
            format!("{prefix:?} is itself a key and nothing is below it; write {}", instead(parent))
        }
        _ if is_key => format!("{prefix:?} is itself a key; a node's key is {prefix}/ID"),
        _ => {
            format!("no key begins with {below:?}: no node is registered there, or the prefix is another one")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::answer::Entry;

    fn page(keys: &[&str], more: bool) -> Page {
        let mark = |modified| Mark {
            created: Revision::default(),
            modified: Revision::try_from(modified).expect("a revision"),
            lease: None,
        };
        let entry = |(index, key): (usize, &&str)| Entry {
            key: key.as_bytes().to_vec(),
            value: Vec::new(),
            mark: mark(i64::try_from(index).expect("few")),
        };
        let entries: Vec<_> = keys.iter().enumerate().map(entry).collect();
        Page { revision: Revision(7), count: entries.len() as u64, entries, more }
    }

    fn pages() -> Pages {
        let range = entry::below("p");
        Pages { range, candidates: Vec::new(), anchor: None, length: 0, peer: None, unread: 0 }
    }

    #[test]
    fn the_next_page_begins_behind_the_last_key_at_the_same_revision() {
        let mut pages = pages();
        assert_eq!(pages.take(page(&["p/a", "p/b"], true), Revision(7), "p"), Ok(true));
        assert_eq!((&*pages.range.key, pages.range.revision), (&b"p/b\0"[..], Some(Revision(7))));
        assert_eq!(pages.take(page(&["p/c"], false), Revision(7), "p"), Ok(false));
        assert_eq!(pages.candidates.len(), 3);
        assert_eq!(pages.anchor.expect("the latest").key, b"p/b");
    }

    #[test]
    fn a_server_without_end_is_given_up() {
        let mut pages = pages();
        assert!(matches!(pages.take(page(&[], true), Revision(7), "p"), Err(Cause::Malformed(_))));
        for _ in 1..MAX_KEYS {
            assert_eq!(pages.take(page(&["p/a"], true), Revision(7), "p"), Ok(true));
        }
        assert_eq!(pages.take(page(&["p/a"], true), Revision(7), "p"), Ok(false), "at the limit");
        assert_eq!(pages.unread, 1);
        pages.length = MAX_LENGTH + 1;
        assert_eq!(
            pages.take(page(&["p/a"], true), Revision(7), "p"),
            Err(Cause::TooLarge { limit: MAX_LENGTH })
        );
    }

    #[test]
    fn an_empty_catalog_says_which_uri_to_write() {
        let explain = |uri: &str, is_key, below| {
            let Ok(CatalogUri::Etcd(uri)) = uri.parse() else { panic!("{uri}") };
            let other =
                uri.prefix.strip_prefix('/').map_or_else(|| format!("/{}", uri.prefix), str::to_owned);
            explanation(&uri, is_key, &other, below)
        };
        assert!(
            explain("etcd://h:1", false, 3)
                .ends_with("3 begin with \"/browser-node/\"; write etcd://h:1//browser-node")
        );
        assert!(explain("etcd://h:1//browser-node?ssl", false, 1).ends_with("write etcd://h:1?ssl"));
        assert!(explain("etcd://h:1/a/b/n1", true, 0).ends_with("write etcd://h:1/a/b"));
        assert!(explain("etcd://h:1/a", true, 0).contains("a/ID"));
        assert!(explain("etcd://h:1/a", false, 0).contains("no node is registered there"));
    }
}
