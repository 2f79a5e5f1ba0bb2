//! The machine's own network: echo requests over shared sockets, connections over a socket each.

use std::net::SocketAddr;

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    drive::{Arrival, Road, Traffic},
    icmp::{Echo, Sender},
    plan::LOST_AFTER,
    race::{Answer, Probe},
    tcp,
    track::Method,
};

/// Answers that may wait for their race: both that are passed on of each probe to 5,000 nodes. What does not fit is lost.
const WAITING: usize = 16_384;

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
    type Traffic = Passage;

    fn has_icmp(&self) -> bool {
        self.echo.is_some()
    }

    fn begin(&self) -> Passage {
        let (teller, heard) = mpsc::channel(WAITING);
        let echo = self.echo.as_ref().map(|echo| echo.sender(teller.clone()));
        Passage { echo, teller, heard, connections: JoinSet::new() }
    }
}

/// The probes of one race over the machine's own network.
#[derive(Debug)]
pub struct Passage {
    echo: Option<Sender>,
    /// Keeps the channel open while nobody has anything to tell.
    teller: mpsc::Sender<Arrival>,
    heard: mpsc::Receiver<Arrival>,
    connections: JoinSet<Option<Arrival>>,
}

impl Traffic for Passage {
    fn send(&mut self, to: SocketAddr, probe: Probe) {
        let number = probe.number;
        match (probe.method, &self.echo) {
            (Method::Icmp, Some(echo)) => echo.send(to.ip(), probe),
            (Method::Icmp, None) => {
                let _ = self.teller.try_send(Arrival { number, from: None, answer: Answer::NotSent });
            }
            (Method::Tcp, _) => {
                self.connections.spawn(async move {
                    let answer = tcp::connect(to, LOST_AFTER).await?;
                    Some(Arrival { number, from: None, answer })
                });
            }
        }
    }

    async fn receive(&mut self) -> Arrival {
        loop {
            tokio::select! {
                biased;
                Some(arrival) = self.heard.recv() => return arrival,
                Some(ended) = self.connections.join_next() => {
                    if let Ok(Some(arrival)) = ended {
                        return arrival;
                    }
                }
            }
        }
    }

    fn try_receive(&mut self) -> Option<Arrival> {
        if let Ok(arrival) = self.heard.try_recv() {
            return Some(arrival);
        }
        while let Some(ended) = self.connections.try_join_next() {
            if let Ok(Some(arrival)) = ended {
                return Some(arrival);
            }
        }
        None
    }
}
