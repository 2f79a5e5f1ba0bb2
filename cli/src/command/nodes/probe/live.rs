//! What is told while nodes answer: the best so far, overheard on the way to the race.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cbrowse_protocol::node::NodeRecord;

use crate::probe::{
    Road,
    race::{Answer, Probe},
};

/// A road that remembers the shortest round trip it carried.
pub(super) struct Overheard<'a, R> {
    road: &'a R,
    shortest: Shortest,
}

type Shortest = Arc<Mutex<Option<(Duration, SocketAddr)>>>;

/// The best so far, by name.
pub(super) struct Best {
    shortest: Shortest,
    names: HashMap<SocketAddr, String>,
}

impl<'a, R: Road> Overheard<'a, R> {
    pub(super) fn new(road: &'a R, nodes: &[NodeRecord]) -> (Self, Best) {
        let shortest = Shortest::default();
        // A node known by a host name alone is told by the address that answered.
        let named = |node: &NodeRecord| Some((node.endpoint().parse().ok()?, node.id.to_string()));
        let names = nodes.iter().filter_map(named).collect();
        (Self { road, shortest: shortest.clone() }, Best { shortest, names })
    }
}

impl<R: Road> Road for Overheard<'_, R> {
    fn has_icmp(&self) -> bool {
        self.road.has_icmp()
    }

    fn carry(&self, to: SocketAddr, probe: Probe) -> impl Future<Output = Option<Answer>> + Send + 'static {
        let (carried, shortest) = (self.road.carry(to, probe), self.shortest.clone());
        async move {
            let answer = carried.await;
            if let Some(Answer::Reply(rtt)) = answer {
                let mut shortest = shortest.lock().unwrap_or_else(PoisonError::into_inner);
                let is_shorter = shortest.is_none_or(|(best, _)| rtt < best);
                *shortest = if is_shorter { Some((rtt, to)) } else { *shortest };
            }
            answer
        }
    }
}

impl Best {
    /// `None` before the first answer.
    pub(super) fn words(&self) -> Option<String> {
        let (rtt, address) = (*self.shortest.lock().unwrap_or_else(PoisonError::into_inner))?;
        let name = self.names.get(&address).cloned().unwrap_or_else(|| address.to_string());
        Some(format!("best so far: {name}, {:.1} ms", rtt.as_secs_f64() * 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Method;

    /// Answers after what the last number of the address says, in milliseconds, without waiting for it.
    struct Told;

    impl Road for Told {
        fn has_icmp(&self) -> bool {
            true
        }

        fn carry(&self, to: SocketAddr, _: Probe) -> impl Future<Output = Option<Answer>> + Send + 'static {
            let last = to.ip().to_string().rsplit('.').next().and_then(|number| number.parse().ok());
            let last = last.expect("an IPv4 address");
            async move { (last < 200).then(|| Answer::Reply(Duration::from_millis(last))) }
        }
    }

    #[tokio::test]
    async fn the_best_is_named_as_soon_as_it_answers() {
        let record = |id: &str, host: u8| -> NodeRecord {
            let address = format!("192.0.2.{host}");
            serde_json::from_value(serde_json::json!({"id": id, "address": address, "port": 7443}))
                .expect("a record")
        };
        let nodes = [record("far", 90), record("near", 8), record("silent", 200)];
        let (road, best) = Overheard::new(&Told, &nodes);
        let probe = Probe { number: 0, node: 0, method: Method::Tcp };
        let mut told = vec![best.words()];
        for host in [200, 90, 8, 90, 7] {
            let address = SocketAddr::from(([192, 0, 2, host], 7443));
            road.carry(address, probe).await;
            told.push(best.words());
        }
        let best = |words: &str| Some(format!("best so far: {words} ms"));
        let named = [
            None,
            None,
            best("far, 90.0"),
            best("near, 8.0"),
            best("near, 8.0"),
            best("192.0.2.7:7443, 7.0"),
        ];
        assert_eq!(told, named);
    }
}
