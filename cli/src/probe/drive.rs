//! Runs a race over a road: does what the race asks, and tells it what came back.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};

use super::{
    icmp::Echo,
    plan::LOST_AFTER,
    race::{Answer, Goal, Probe, Race, Step},
    tcp,
    track::{Method, Track},
};

/// What carries probes: real sockets, or a simulated network under a paused clock.
pub trait Road {
    /// Whether echo requests can be sent at all.
    fn has_icmp(&self) -> bool;
    /// Sends one probe and waits for what becomes of it; `None` when nothing came back within [`LOST_AFTER`].
    /// Dropping the future gives the probe up.
    fn carry(&self, to: SocketAddr, probe: Probe) -> impl Future<Output = Option<Answer>> + Send + 'static;
}

/// The machine's own network.
#[derive(Debug)]
pub struct Sockets {
    echo: Option<Echo>,
}

impl Sockets {
    /// Opens the ICMP sockets that are to be had.
    pub fn open() -> Self {
        Self { echo: Echo::open() }
    }
}

impl Road for Sockets {
    fn has_icmp(&self) -> bool {
        self.echo.is_some()
    }

    fn carry(&self, to: SocketAddr, probe: Probe) -> impl Future<Output = Option<Answer>> + Send + 'static {
        let echo = self.echo.clone();
        async move {
            match (probe.method, echo) {
                (Method::Tcp, _) => tcp::connect(to, LOST_AFTER).await,
                // Sequence numbers wrap after 65,536 requests, long after the early ones were answered or lost.
                (Method::Icmp, Some(echo)) => echo.ask(to.ip(), probe.number, LOST_AFTER).await,
                (Method::Icmp, None) => Some(Answer::NotSent),
            }
        }
    }
}

/// Races the nodes at `addresses`, likely best first; `heard` is told how many have answered whenever that changes.
/// Returns what is known of each, in the same order, and the time it took.
pub async fn drive(
    road: &impl Road,
    addresses: &[SocketAddr],
    goal: Goal,
    deadline: Duration,
    mut heard: impl FnMut(usize),
) -> (Vec<Track>, Duration) {
    let start = Instant::now();
    let mut race = Race::new(addresses.len(), goal, road.has_icmp(), deadline);
    // A task each: round trips are then taken when the answer comes, not when this loop has time for it.
    let mut out = JoinSet::new();
    let mut answered = 0;
    loop {
        match race.step(start.elapsed()) {
            Step::Done => return (race.into_tracks(), start.elapsed()),
            Step::Send(batch) => {
                for probe in batch {
                    let carried = road.carry(addresses[probe.node], probe);
                    out.spawn(async move { (probe.number, carried.await) });
                }
            }
            Step::Wait(until) => {
                tokio::select! {
                    biased;
                    Some(ended) = out.join_next() => tell(&mut race, &ended),
                    () = tokio::time::sleep_until(start + until) => {}
                }
                while let Some(ended) = out.try_join_next() {
                    tell(&mut race, &ended);
                }
            }
        }
        if race.answered() != answered {
            answered = race.answered();
            heard(answered);
        }
    }
}

/// Silence needs no telling: the race counts it by its own time.
fn tell(race: &mut Race, ended: &Result<(u32, Option<Answer>), JoinError>) {
    if let Ok((number, Some(answer))) = *ended {
        race.answer(number, answer);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        net::{Ipv4Addr, SocketAddrV4},
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use cbrowse_protocol::node::NodeRecord;

    use super::*;
    use crate::probe::{Report, Search, plan::DEADLINE, probe, probe_rest, track::Reach};

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// A network that answers after a node's own delay, by each method; `None` never does.
    #[derive(Default)]
    struct Simulated {
        icmp: bool,
        delays: HashMap<SocketAddr, [Option<Duration>; 2]>,
        refusing: Option<SocketAddr>,
        sent: Arc<AtomicU32>,
    }

    impl Simulated {
        fn add(&mut self, icmp: Option<u64>, tcp: Option<u64>) -> SocketAddr {
            let host = u32::try_from(self.delays.len()).expect("few") + 0x0a00_0001;
            let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(host), 7443));
            self.delays.insert(address, [icmp.map(ms), tcp.map(ms)]);
            address
        }
    }

    impl Road for Simulated {
        fn has_icmp(&self) -> bool {
            self.icmp
        }

        fn carry(
            &self,
            to: SocketAddr,
            probe: Probe,
        ) -> impl Future<Output = Option<Answer>> + Send + 'static {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let delay = self.delays[&to][probe.method as usize];
            let refused = probe.method == Method::Tcp && self.refusing == Some(to);
            async move {
                let start = Instant::now();
                tokio::time::sleep(delay.unwrap_or(ms(60_000))).await;
                delay.map(|_| if refused { Answer::Refused } else { Answer::Reply(start.elapsed()) })
            }
        }
    }

    fn record(address: SocketAddr) -> NodeRecord {
        let (host, port) = (address.ip(), address.port());
        serde_json::from_value(serde_json::json!({"id": format!("n{host}"), "address": host, "port": port}))
            .expect("record")
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_nobody_near_gets_to_know_the_far_ones() {
        use Reach::{NotAwaited, Serving, Silent};
        let mut road = Simulated { icmp: true, ..Simulated::default() };
        let delays = [5, 100, 101, 700];
        let mut nodes: Vec<_> = delays.map(|delay| record(road.add(Some(delay), Some(delay)))).into();
        nodes.push(record(road.add(None, None)));
        let mut report = probe(nodes, |_, _| true, &road, Search::new(Goal::Decide), |_| {}).await;
        let reaches = |report: &Report| report.nodes.iter().map(|node| node.reach).collect::<Vec<_>>();
        assert_eq!(reaches(&report), [Serving, NotAwaited, NotAwaited, NotAwaited, NotAwaited]);
        assert!(probe_rest(&mut report, &road, DEADLINE).await);
        assert_eq!(reaches(&report), [Serving, Serving, Serving, NotAwaited, NotAwaited]);
        // By the time 700 ms have been measured well, the dead one has been waited for.
        assert!(probe_rest(&mut report, &road, DEADLINE).await);
        assert_eq!(reaches(&report), [Serving, Serving, Serving, Serving, Silent]);
        assert!(!probe_rest(&mut report, &road, DEADLINE).await);
    }

    async fn decide(road: &Simulated, nodes: &[SocketAddr]) -> (Vec<Track>, Duration) {
        drive(road, nodes, Goal::Decide, DEADLINE, |_| {}).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_nodes_are_decided_by_the_nearest_ones() {
        let mut road = Simulated { icmp: true, ..Simulated::default() };
        let nodes: Vec<_> = (0..1000).map(|i| road.add(Some(20 + i % 280), Some(20 + i % 280))).collect();
        let (tracks, took) = decide(&road, &nodes).await;
        // Section 11 of the design: three times the best round trip, and 130 ms.
        assert!(took <= ms(3 * 20 + 130), "{took:?}");
        let medians: Vec<_> =
            tracks.iter().map(|track| track.measure().map(|measured| measured.p50)).collect();
        let best = (0..1000).min_by_key(|index| medians[*index].unwrap_or(ms(9999))).expect("nodes");
        assert_eq!(best % 280, 0, "node {best} is not among the nearest");
        assert_eq!(tracks[best].reach(), Reach::Serving);
        let packets = road.sent.load(Ordering::Relaxed);
        assert!(packets <= 1500, "{packets} packets for 1,000 nodes");
    }

    #[tokio::test(start_paused = true)]
    async fn without_icmp_connections_decide_alone() {
        let mut road = Simulated::default();
        let nodes: Vec<_> = (0..200).map(|i| road.add(None, Some(300 - i))).collect();
        let (tracks, took) = decide(&road, &nodes).await;
        assert!(took <= ms(3 * 101 + 130), "{took:?}");
        assert_eq!(tracks[199].measure().map(|measured| measured.p50), Some(ms(101)));
        assert_eq!(tracks[199].method(), "tcp");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_node_does_not_delay_and_a_refusing_one_is_not_serving() {
        let mut road = Simulated { icmp: true, ..Simulated::default() };
        let nodes = [
            road.add(Some(5), Some(5)),
            road.add(Some(30), Some(30)),
            road.add(None, None),
            road.add(Some(20), None),
        ];
        road.refusing = Some(nodes[0]);
        let (tracks, took) = decide(&road, &nodes).await;
        assert!(took < ms(400), "{took:?}");
        let reaches: Vec<_> = tracks.iter().map(Track::reach).collect();
        assert_eq!(reaches, [Reach::Refused, Reach::Serving, Reach::NotAwaited, Reach::PortSilent]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_node_is_not_called_dead_because_nobody_waited_for_it() {
        let mut road = Simulated { icmp: true, ..Simulated::default() };
        let nodes = [road.add(Some(5), Some(5)), road.add(Some(250), Some(250)), road.add(None, None)];
        let (tracks, took) = decide(&road, &nodes).await;
        assert!(took < ms(250), "{took:?}");
        let reaches: Vec<_> = tracks.iter().map(Track::reach).collect();
        assert_eq!(reaches, [Reach::Serving, Reach::NotAwaited, Reach::NotAwaited]);
        // Asked again among themselves, the far one answers; the dead one has still not been waited for.
        let (tracks, _) = decide(&road, &nodes[1..]).await;
        assert_eq!(tracks[0].reach(), Reach::Serving);
        let (tracks, took) = decide(&road, &nodes[2..]).await;
        assert_eq!(tracks[0].reach(), Reach::Silent);
        assert!(took < DEADLINE, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_icmp_is_filtered_connections_get_their_chance() {
        let mut road = Simulated { icmp: true, ..Simulated::default() };
        let nodes: Vec<_> = (0..100).map(|i| road.add(None, Some(40 + i))).collect();
        let (tracks, took) = decide(&road, &nodes).await;
        assert_eq!(tracks[0].reach(), Reach::Serving);
        assert!(took < ms(150 + 3 * 40 + 130), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_survey_measures_every_node_and_counts_what_is_lost() {
        let mut road = Simulated { icmp: true, ..Simulated::default() };
        let nodes = [
            road.add(Some(5), Some(6)),
            road.add(None, Some(250)),
            road.add(None, None),
            road.add(Some(9), None),
        ];
        let mut heard = Vec::new();
        let (tracks, took) =
            drive(&road, &nodes, Goal::Survey(5), DEADLINE, |answered| heard.push(answered)).await;
        assert!(took >= ms(1000) && took < ms(1300), "{took:?}");
        let counts: Vec<_> =
            tracks.iter().map(|track| (track.icmp.replies.len(), track.tcp.replies.len())).collect();
        assert_eq!(counts, [(5, 1), (0, 1), (0, 0), (5, 0)]);
        assert_eq!(tracks[3].reach(), Reach::PortSilent);
        assert_eq!(tracks[2].reach(), Reach::Silent);
        assert_eq!(tracks[0].measure().map(|measured| (measured.p50, measured.lost)), Some((ms(5), 0)));
        assert_eq!(heard.last(), Some(&3));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_out_there_ends_at_once_and_silence_by_the_deadline() {
        let (_, took) = decide(&Simulated::default(), &[]).await;
        assert_eq!(took, Duration::ZERO);
        let mut road = Simulated { icmp: true, ..Simulated::default() };
        let nodes: Vec<_> = (0..3).map(|_| road.add(None, None)).collect();
        let (tracks, took) = drive(&road, &nodes, Goal::Decide, ms(700), |_| {}).await;
        assert_eq!(took, ms(700));
        assert!(tracks.iter().all(|track| track.reach() == Reach::Silent));
    }
}
