//! Which events a watch has told already: agents repeat what they remember, and another agent remembers other ones.

use std::collections::{HashSet, VecDeque};

use super::{Event, Past};

/// How many events are remembered. An agent remembers 256; fewer than that would tell old ones again, and some more
/// cover agents that heard them in another order.
const REMEMBERED: usize = 1024;

/// What was told, or is not to be.
#[derive(Debug)]
pub(super) struct Seen {
    past: Past,
    /// The gossip's time when the watch began; `None` before the first answer. What is older happened before, even if
    /// the agent asked first had not heard of it.
    began: Option<u64>,
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    pub(super) fn new(past: Past) -> Self {
        Self { past, began: None, ids: HashSet::new(), order: VecDeque::new() }
    }

    /// Of what an agent remembers, what is to be told.
    pub(super) fn news(&mut self, events: Vec<Event>) -> Vec<Event> {
        let is_first = self.began.is_none();
        let began =
            *self.began.get_or_insert_with(|| events.iter().map(|event| event.time).max().unwrap_or(0));
        let tells = |event: &Event| self.past == Past::Tell || (!is_first && event.time >= began);
        let mut news: Vec<Event> = Vec::new();
        for event in events {
            let told = tells(&event);
            if Self::remember(&mut self.ids, &mut self.order, &event.id) && told {
                news.push(event);
            }
        }
        news
    }

    /// Whether it was unknown.
    fn remember(ids: &mut HashSet<String>, order: &mut VecDeque<String>, id: &str) -> bool {
        if !ids.insert(id.to_owned()) {
            return false;
        }
        order.push_back(id.to_owned());
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(times: impl IntoIterator<Item = u64>) -> Vec<Event> {
        let event = |time: u64| Event {
            id: format!("id-{time}"),
            name: "deploy".into(),
            payload: Vec::new(),
            filters: super::super::Filters::default(),
            time,
        };
        times.into_iter().map(event).collect()
    }

    fn times(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.time).collect()
    }

    #[test]
    fn each_is_told_once_and_the_past_only_when_asked() {
        let mut seen = Seen::new(Past::Skip);
        assert_eq!(times(&seen.news(events([3, 4]))), [0; 0]);
        assert_eq!(times(&seen.news(events([3, 4, 5]))), [5]);
        assert_eq!(times(&seen.news(events([3, 4, 5]))), [0; 0]);
        // Another agent: it remembers more of the past, has not heard of 5 yet, and knows one that the first did not.
        assert_eq!(times(&seen.news(events([1, 2, 4, 6]))), [6]);
        assert_eq!(times(&seen.news(events([4, 6, 5, 7]))), [7], "5 was told");
        let mut seen = Seen::new(Past::Tell);
        assert_eq!(times(&seen.news(events([3, 4]))), [3, 4]);
        assert_eq!(times(&seen.news(events([1, 3, 4, 5]))), [1, 5]);
    }

    #[test]
    fn an_agent_that_forgot_everything_begins_nothing_anew() {
        let mut seen = Seen::new(Past::Skip);
        assert_eq!(times(&seen.news(events([]))), [0; 0]);
        assert_eq!(times(&seen.news(events([1]))), [1]);
        assert_eq!(times(&seen.news(events([]))), [0; 0]);
        assert_eq!(times(&seen.news(events([1, 2]))), [2]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen::new(Past::Tell);
        let many = REMEMBERED as u64;
        assert_eq!(seen.news(events(0..=many)).len(), REMEMBERED + 1);
        assert_eq!((seen.ids.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(times(&seen.news(events(1..=many))), [0; 0], "the last ones are known");
        assert_eq!(times(&seen.news(events([0]))), [0], "the oldest was forgotten");
    }
}
