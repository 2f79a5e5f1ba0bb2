//! The probes that were sent, in the order of their numbers, and what became of them.
//!
//! Numbers and times of sending grow together. So whatever falls due a fixed time after sending falls due in the order
//! of the numbers, and one position per such time, that only moves on, replaces a search through all of them.

use std::time::Duration;

use super::super::track::Method;

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing yet.
    Out,
    /// Something came back.
    Answered,
    /// Nothing came back in time.
    Lost,
}

/// One probe that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) way: usize,
    pub(super) method: Method,
    pub(super) sent: Duration,
    pub(super) fate: Fate,
}

impl Flight {
    pub(super) fn is_out(&self) -> bool {
        self.fate == Fate::Out
    }

    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.sent)
    }
}

/// Goes through the flights, each once, as they reach an age.
#[derive(Debug)]
pub(super) struct Overdue {
    after: Duration,
    method: Option<Method>,
    next: usize,
}

impl Overdue {
    /// Of flights by `method`, or by any, `after` this time.
    pub(super) fn new(after: Duration, method: Option<Method>) -> Self {
        Self { after, method, next: 0 }
    }

    /// The next flight that has come to nothing by now.
    pub(super) fn pop(&mut self, flights: &[Flight], now: Duration) -> Option<usize> {
        let number = self.peek(flights)?;
        let is_due = flights[number].age(now) >= self.after;
        self.next += usize::from(is_due);
        is_due.then_some(number)
    }

    /// When the next one will be due.
    pub(super) fn due(&mut self, flights: &[Flight]) -> Option<Duration> {
        self.peek(flights).map(|number| flights[number].sent + self.after)
    }

    fn peek(&mut self, flights: &[Flight]) -> Option<usize> {
        let concerned =
            |flight: &Flight| flight.is_out() && self.method.is_none_or(|method| method == flight.method);
        self.next += flights[self.next..].iter().position(concerned).unwrap_or(flights.len() - self.next);
        (self.next < flights.len()).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn flight(sent: u64, method: Method, fate: Fate) -> Flight {
        Flight { way: 0, method, sent: ms(sent), fate }
    }

    #[test]
    fn each_falls_due_once_at_its_age_and_not_below() {
        let flights = [
            flight(0, Method::Tcp, Fate::Out),
            flight(1, Method::Icmp, Fate::Answered),
            flight(2, Method::Icmp, Fate::Out),
            flight(3, Method::Icmp, Fate::Out),
        ];
        let mut overdue = Overdue::new(ms(10), Some(Method::Icmp));
        assert_eq!(overdue.due(&flights), Some(ms(12)));
        assert_eq!(overdue.pop(&flights, ms(12) - Duration::from_nanos(1)), None);
        assert_eq!(overdue.pop(&flights, ms(12)), Some(2));
        assert_eq!(overdue.pop(&flights, ms(12)), None);
        assert_eq!(overdue.pop(&flights, ms(99)), Some(3));
        assert_eq!(overdue.pop(&flights, ms(99)), None);
        assert_eq!(overdue.due(&flights), None);
    }
}
