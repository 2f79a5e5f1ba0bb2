//! The cbrowse side: a session on a real node, opened, shown and steered by the client's own library.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use cbrowse::{
    attach::{
        journey::{Journey, Plan},
        session::Seen,
    },
    discover,
    select::{Constraints, Strategy},
    survey::Probing,
    view::{Delivery, Hub, Left, Subscriber},
};
use cbrowse_protocol::{
    api::{SessionRequest, SessionState},
    wire::{Button, ClientMessage, MediaHeader, NodeMessage, Press as Kind, Viewport},
};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    connect_profile::Brought,
    picture::Picture,
    side::{Press, SIZE, Side},
    world::{World, plain},
};

/// A round trip on loopback takes a fraction of a millisecond.
const PONG_DEADLINE: Duration = Duration::from_secs(10);
/// A session without a profile ends at once.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// When each step on the way to a first picture was done, since `connect` began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steps {
    /// The catalog is read.
    pub listed: Duration,
    /// The nodes are probed, the nearest interviewed, one is chosen.
    pub surveyed: Duration,
    /// The node has taken the session and said welcome.
    pub attached: Duration,
    /// The session's Chromium runs and its first tab is there.
    pub running: Option<Duration>,
    /// The first picture of the page is here.
    pub pictured: Duration,
}

/// A session that runs.
pub struct Remote {
    hub: Hub,
    subscriber: Subscriber,
    end: CancellationToken,
    travel: JoinSet<anyhow::Result<()>>,
    /// When `connect` began.
    pub began: Instant,
    /// The way to here; `pictured` is for the caller to fill in.
    pub steps: Steps,
    tokens: u64,
}

impl Remote {
    /// Does what `cbrowse connect URL` does, up to the attached session. Call it inside a [`tokio::task::LocalSet`]: as in
    /// the client itself, the relay shares a thread with whoever looks.
    pub async fn open(world: &World, url: &str) -> anyhow::Result<Self> {
        Self::bringing(world, url, None).await
    }

    /// The same with a profile, which is opened first.
    pub async fn bringing(world: &World, url: &str, brought: Option<Brought>) -> anyhow::Result<Self> {
        let (hub, mut inputs) = Hub::new();
        let subscriber = hub.subscribe();
        let end = CancellationToken::new();
        let (attached, steps) = oneshot::channel();
        let began = Instant::now();
        let (globals, credentials, judge) =
            (world.globals.clone(), world.credentials.clone(), world.judge.clone());
        let viewport = Viewport { width: SIZE.0, height: SIZE.1, scale: 1.0 };
        let request = SessionRequest { url: Some(url.to_owned()), viewport, ..SessionRequest::default() };
        let mut travel = JoinSet::new();
        let (own_hub, own_end) = (hub.clone(), end.clone());
        travel.spawn_local(async move {
            let profile = brought.map(|brought| brought.open()).transpose()?.map(Arc::new);
            let listing = discover::discover(&globals).await.map_err(plain)?;
            let listed = began.elapsed();
            let (constraints, strategy) = (Constraints::default(), Strategy::default());
            let plan = Plan {
                listing,
                judge,
                constraints,
                strategy,
                probing: Probing::default(),
                history: None,
                request,
                profile,
                credentials,
            };
            let mut journey = Journey::new(plan, &globals.paths, &globals.output);
            let attachment = journey.begin().await.map_err(plain)?;
            let survey = journey.surveyed.as_ref().map_or(Duration::ZERO, |found| found.report.elapsed);
            let steps =
                Steps { listed, surveyed: listed + survey, attached: began.elapsed(), ..Steps::default() };
            let _nobody_waits = attached.send(steps);
            let mut seen = Seen { greeting: Some(viewport), ..Seen::default() };
            journey.travel(attachment, &own_hub, &mut inputs, &mut seen, &own_end).await.map_err(plain)?;
            Ok(())
        });
        let Ok(steps) = steps.await else {
            return Err(failure(&mut travel).await);
        };
        Ok(Self { hub, subscriber, end, travel, began, steps, tokens: 0 })
    }

    /// Ends the session; returns when the node has confirmed it.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.end.cancel();
        let ended = tokio::time::timeout(END_DEADLINE, self.travel.join_next()).await;
        ended.context("the session did not end")?.context("the session has no task")??
    }

    async fn send(&self, message: ClientMessage) -> anyhow::Result<()> {
        self.hub.send(message).await.map_err(|gone| anyhow!(gone))
    }

    async fn next(&mut self) -> anyhow::Result<Delivery> {
        loop {
            match self.subscriber.next().await {
                Ok(Delivery::Message(text)) => {
                    self.note(&text)?;
                    return Ok(Delivery::Message(text));
                }
                Ok(delivery) => return Ok(delivery),
                Err(Left::Behind(_)) => self.subscriber = self.hub.subscribe(),
                Err(Left::Gone) => bail!("the session is gone"),
            }
        }
    }

    fn note(&mut self, text: &str) -> anyhow::Result<()> {
        match serde_json::from_str(text) {
            Ok(NodeMessage::State { state: SessionState::Running, .. }) => {
                self.steps.running.get_or_insert_with(|| self.began.elapsed());
            }
            Ok(NodeMessage::Bye { reason, .. }) => bail!("the session ended: {reason}"),
            Ok(NodeMessage::Failed { request, message }) => bail!("{request} failed: {message}"),
            _ => {}
        }
        Ok(())
    }

    async fn mouse(&self, kind: Kind, buttons: u8) -> anyhow::Result<()> {
        let (x, y) = (f64::from(SIZE.0 / 2), f64::from(SIZE.1 / 2));
        self.send(ClientMessage::Mouse { kind, x, y, button: Button::Left, buttons, clicks: 1, modifiers: 0 })
            .await
    }

    async fn key(&self, kind: Kind) -> anyhow::Result<()> {
        let (key, code) = ("a".into(), "KeyA".into());
        self.send(ClientMessage::Key { kind, key, code, modifiers: 0, repeat: false }).await
    }
}

/// Why there is no session.
async fn failure(travel: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Error {
    match travel.join_next().await {
        Some(Ok(Err(error))) => error,
        other => anyhow!("the session did not begin: {other:?}"),
    }
}

impl Side for Remote {
    async fn press(&mut self, press: Press) -> anyhow::Result<()> {
        match press {
            Press::Button => self.mouse(Kind::Down, 1).await,
            Press::Key => self.key(Kind::Down).await,
        }
    }

    async fn release(&mut self, press: Press) -> anyhow::Result<()> {
        match press {
            Press::Button => self.mouse(Kind::Up, 0).await,
            Press::Key => self.key(Kind::Up).await,
        }
    }

    async fn go(&mut self, url: &str) -> anyhow::Result<()> {
        self.send(ClientMessage::Navigate { url: url.to_owned() }).await
    }

    async fn picture(&mut self) -> anyhow::Result<Picture> {
        loop {
            let Delivery::Frame(message) = self.next().await? else { continue };
            let at = Instant::now();
            let (header, payload) = MediaHeader::decode(&message)?;
            let picture = Picture { at, jpeg: message.slice_ref(payload) };
            self.send(ClientMessage::Shown { sequence: header.sequence }).await?;
            return Ok(picture);
        }
    }

    async fn round_trip(&mut self) -> anyhow::Result<Duration> {
        self.tokens += 1;
        let token = self.tokens;
        let started = Instant::now();
        self.send(ClientMessage::Ping { token }).await?;
        let answered = tokio::time::timeout(PONG_DEADLINE, async {
            loop {
                if let Delivery::Message(text) = self.next().await?
                    && let Ok(NodeMessage::Pong { token: answered }) = serde_json::from_str(&text)
                    && answered == token
                {
                    return Ok(started.elapsed());
                }
            }
        });
        answered.await.context("a ping was not answered")?
    }
}
