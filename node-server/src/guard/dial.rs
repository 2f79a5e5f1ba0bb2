//! The first of several permitted addresses that answers, tried in order and overlapping (RFC 8305).

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;

use super::{
    network::Network,
    policy::{Grant, Permit},
    refusal::Refusal,
};

/// Head start of one address over the next (RFC 8305 section 5). Shorter opens connections in vain; longer makes a
/// broken IPv6 felt on every page.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses tried of one name. More would let a name's owner turn one request into a scan.
const MAX_ATTEMPTS: usize = 8;
/// How long all attempts may take together. Linux sends three SYNs in 7 s; shorter fails where one or two were lost.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Connects to one of the permitted addresses. Dropping the future closes every attempt.
pub(crate) async fn dial(network: &dyn Network, permits: Vec<Permit>) -> Result<TcpStream, Refusal> {
    let permits: Vec<Permit> = permits.into_iter().filter(|permit| !is_itself(network, permit)).collect();
    if permits.is_empty() {
        return Err(Refusal::Protected);
    }
    let race = race(network, interleave(permits));
    tokio::time::timeout(CONNECT_DEADLINE, race).await.unwrap_or(Err(Refusal::Deadline))
}

/// A public address may still be this machine's; only an allow rule leads there.
fn is_itself(network: &dyn Network, permit: &Permit) -> bool {
    permit.grant == Grant::Public && network.is_own(permit.address)
}

/// Alternates families, starting with the resolver's favourite (RFC 8305 section 4).
fn interleave(permits: Vec<Permit>) -> Vec<Permit> {
    let first_is_v6 = permits.first().is_some_and(|permit| permit.address.is_ipv6());
    let (favourite, other): (Vec<_>, Vec<_>) =
        permits.into_iter().partition(|permit| permit.address.is_ipv6() == first_is_v6);
    let mut other = other.into_iter();
    let mut order = Vec::new();
    for permit in favourite {
        order.push(permit);
        order.extend(other.next());
    }
    order.extend(other);
    order.truncate(MAX_ATTEMPTS);
    order
}

async fn race(network: &dyn Network, permits: Vec<Permit>) -> Result<TcpStream, Refusal> {
    let mut waiting = permits.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut refusal = Refusal::Unreachable;
    loop {
        match waiting.next() {
            Some(permit) => attempts.push(network.connect(permit.address)),
            None if attempts.is_empty() => return Err(refusal),
            None => {}
        }
        let pause = tokio::time::sleep(ATTEMPT_DELAY);
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(error) => refusal = error.into(),
            },
            () = pause, if waiting.len() > 0 => {}
        }
    }
}
