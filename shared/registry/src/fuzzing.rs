//! Doors to the private parsers for the targets in `fuzz/`; compiled only there. Each takes what a registry sends and
//! goes the adapter's own way from there, without the network.

use std::path::Path;

use cbrowse_protocol::node::SERVICE;
use hickory_resolver::proto::op::Message;

use crate::{
    catalog::Listing,
    error::{CatalogError, Cause},
    reach::Reach,
    screen::{Candidate, screen},
};

/// An answer of Consul's `/v1/health/service`.
pub fn consul(body: &[u8], reach: Reach) -> Result<Listing, CatalogError> {
    screened("consul", crate::consul::candidates_of(body), reach)
}

/// An answer of etcd's gateway: a page of the keys below the usual prefix, or a line of a watch of them.
pub fn etcd(body: &[u8], reach: Reach) -> Result<Listing, CatalogError> {
    screened("etcd", crate::etcd::candidates_of(SERVICE, body), reach)
}

/// What the answer would mean to every other question to etcd.
pub fn etcd_faults(body: &[u8]) -> Vec<CatalogError> {
    crate::etcd::faults_of(body).into_iter().map(|cause| cause.of(&"etcd")).collect()
}

/// An answer of Nacos's list of instances, in either version of its API.
pub fn nacos(body: &[u8], reach: Reach) -> Result<Listing, CatalogError> {
    screened("nacos", crate::nacos::candidates_of(body), reach)
}

/// What the answer would mean to every other question to Nacos, and what is said of the namespaces in it.
pub fn nacos_faults(body: &[u8]) -> (Vec<CatalogError>, Vec<String>) {
    let (causes, said) = crate::nacos::faults_of(body);
    (causes.into_iter().map(|cause| cause.of(&"nacos")).collect(), said)
}

/// A catalog file of this name.
pub fn file(path: &str, text: &str) -> Result<Listing, CatalogError> {
    screened("file", crate::file::candidates_of(Path::new(path), text), Reach::Anything)
}

/// A DNS message that answers a question for SRV records; `None` where the resolver itself would refuse it.
pub fn srv(message: &[u8], reach: Reach) -> Option<Listing> {
    let message = Message::from_vec(message).ok()?;
    // Which of equal targets comes first is drawn; the lowest draw, so that what is found can be found again.
    Some(screen(crate::srv::candidates_of(message, &mut |range| *range.start())?, reach))
}

fn screened(
    catalog: &str,
    candidates: Result<Vec<Candidate>, Cause>,
    reach: Reach,
) -> Result<Listing, CatalogError> {
    candidates.map(|candidates| screen(candidates, reach)).map_err(|cause| cause.of(&catalog))
}
