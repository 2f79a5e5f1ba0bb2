//! A request's body on its way: in pieces, counted as they leave, and no faster than somebody permits.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use cbrowse_profile::meter::Meter;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes that leave at once. More: a limited rate comes in bursts that fill queues on the way; less: TLS records grow small.
const PIECE: usize = 16 * 1024;

/// How bodies flow: watched by a meter, held back by a rate that all of them share.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Counts bytes as they are handed to the socket.
    pub meter: Arc<Meter>,
    /// The rate; `None`: as fast as the link.
    pub pace: Option<Arc<Pace>>,
}

/// A rate in bytes a second, shared by all that flows.
#[derive(Debug)]
pub struct Pace {
    rate: u64,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// At most `rate` bytes a second; 0 counts as 1.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), next: Mutex::new(None) }
    }

    /// When the next `bytes` may leave. They are spoken for from then on.
    fn take(&self, now: Instant, bytes: usize) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (leave, then) = schedule(*next, now, bytes, self.rate);
        *next = Some(then);
        leave
    }
}

/// When bytes leave, and when the next may. What was not used is not saved up.
fn schedule(next: Option<Instant>, now: Instant, bytes: usize, rate: u64) -> (Instant, Instant) {
    let leave = next.map_or(now, |next| next.max(now));
    (leave, leave + Duration::from_secs_f64(bytes as f64 / rate as f64))
}

/// A body.
#[derive(Debug)]
pub(super) struct Outgoing {
    rest: Bytes,
    flow: Option<Flow>,
    /// The next piece is spoken for, and leaves then.
    held: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    pub(super) fn new(bytes: Bytes, flow: Option<Flow>) -> Self {
        Self { rest: bytes, flow, held: None }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let Some(flow) = self.flow.clone() else {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))));
        };
        let length = self.rest.len().min(PIECE);
        if let Some(pace) = &flow.pace {
            let held =
                self.held.get_or_insert_with(|| Box::pin(sleep_until(pace.take(Instant::now(), length))));
            if held.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.held = None;
        }
        flow.meter.done(0, length as u64);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bodies_share_a_rate_and_are_counted() {
        let flow = Flow { meter: Arc::default(), pace: Some(Arc::new(Pace::new(PIECE as u64))) };
        let body = || Outgoing::new(Bytes::from(vec![7; 2 * PIECE]), Some(flow.clone()));
        let began = Instant::now();
        let (one, other) = tokio::join!(body().collect(), body().collect());
        assert_eq!((one.unwrap().to_bytes().len(), other.unwrap().to_bytes().len()), (2 * PIECE, 2 * PIECE));
        // Four pieces, the first of which left at once.
        assert_eq!(began.elapsed().as_secs(), 3);
        assert_eq!(flow.meter.read().bytes, 4 * PIECE as u64);
    }

    #[test]
    fn a_pause_is_not_saved_up() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(schedule(None, now, 10, 10), (now, now + second));
        assert_eq!(schedule(Some(now + second), now, 10, 10), (now + second, now + 2 * second));
        assert_eq!(schedule(Some(now), now + 9 * second, 10, 10).0, now + 9 * second);
    }

    #[tokio::test]
    async fn without_a_flow_a_body_leaves_as_it_is() {
        let body = Outgoing::new(Bytes::from_static(b"all"), None);
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "all");
        assert!(Outgoing::new(Bytes::new(), None).is_end_stream());
    }
}
