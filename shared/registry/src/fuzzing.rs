//! Doors to the private parsers for the targets in `fuzz/`; compiled only there. Each takes what a registry sends and
//! goes the adapter's own way from there, without the network.

use std::path::Path;

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

/// A catalog file of this name.
pub fn file(path: &str, text: &str) -> Result<Listing, CatalogError> {
    screened("file", crate::file::candidates_of(Path::new(path), text), Reach::Anything)
}

/// A DNS message that answers a question for SRV records; `None` where the resolver itself would refuse it.
pub fn srv(message: &[u8], reach: Reach) -> Option<Listing> {
    let message = Message::from_vec(message).ok()?;
    Some(screen(crate::srv::candidates_of(&message.answers, &message.additionals), reach))
}

fn screened(
    catalog: &str,
    candidates: Result<Vec<Candidate>, Cause>,
    reach: Reach,
) -> Result<Listing, CatalogError> {
    candidates.map(|candidates| screen(candidates, reach)).map_err(|cause| cause.of(&catalog))
}
