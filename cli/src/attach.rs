//! From a chosen node to a running session: the connection, who answers on it, and what travels over it.

pub mod connection;
pub mod finalist;
pub mod journey;
pub mod seat;
pub mod session;
pub mod verifier;

/// Makes the cryptography's first random number, on a thread of its own. That one takes 22 ms, in which AWS-LC gathers entropy
/// by timing the processor, and all others microseconds: TLS needs them just when the nodes have been measured.
pub fn seed() {
    // Nobody waits for it: whoever needs a number earlier makes the first one himself, and whoever cannot have one says so.
    drop(tokio::task::spawn_blocking(|| aws_lc_rs::rand::fill(&mut [0; 8])));
}
