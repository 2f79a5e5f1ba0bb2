//! What is asked of both sides alike, and the measurements made with it.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::{
    picture::{Colour, Picture},
    site::TOGGLE,
};

/// Size of the pictures on both sides, in CSS and device pixels.
pub const SIZE: (u32, u32) = (1280, 720);
/// Without a picture for this long, a page rests. Shorter takes a late picture of the last press for the next one's.
const QUIET: Duration = Duration::from_millis(100);
/// A picture that has not come by then never will.
const PICTURE_DEADLINE: Duration = Duration::from_secs(10);
/// Pictures before these are the start of the stream, not its rate.
const RUN_UP: Duration = Duration::from_millis(700);
/// How long pictures are counted. Shorter makes a tick more or less count.
const COUNTED: Duration = Duration::from_secs(2);

/// A picture did not come. Chromium's screencast follows changes, and can lose the last one of a page that rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing(pub Colour);

impl std::fmt::Display for Missing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "no picture of {:?} came within {} s", self.0, PICTURE_DEADLINE.as_secs())
    }
}

impl std::error::Error for Missing {}

/// What the hand does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// The primary button in the middle of the page.
    Button,
    /// The key `a`.
    Key,
}

/// A browser and somebody who looks at it and steers it.
#[expect(async_fn_in_trait, reason = "used in this crate only, on one thread")]
pub trait Side {
    /// Presses.
    async fn press(&mut self, press: Press) -> anyhow::Result<()>;
    /// Lets go.
    async fn release(&mut self, press: Press) -> anyhow::Result<()>;
    /// Loads another page.
    async fn go(&mut self, url: &str) -> anyhow::Result<()>;
    /// The next picture, whole and acknowledged. Cancel safe.
    async fn picture(&mut self) -> anyhow::Result<Picture>;
    /// From a message to its answer.
    async fn round_trip(&mut self) -> anyhow::Result<Duration>;
}

/// The first picture whose middle has `colour`; the error is [`Missing`] where none comes.
pub async fn first_of(side: &mut impl Side, colour: Colour) -> anyhow::Result<Picture> {
    let found = tokio::time::timeout(PICTURE_DEADLINE, async {
        loop {
            let picture = side.picture().await?;
            if picture.middle()?.resembles(colour) {
                return Ok(picture);
            }
        }
    });
    found.await.unwrap_or_else(|_| Err(Missing(colour).into()))
}

/// Waits until the page rests.
pub async fn rest(side: &mut impl Side) -> anyhow::Result<()> {
    while let Ok(picture) = tokio::time::timeout(QUIET, side.picture()).await {
        picture?;
    }
    Ok(())
}

/// From a press to the first picture that shows what it did, on the page [`super::site::Site::toggle`].
/// `presses`: how often that page was pressed before.
pub async fn react(side: &mut impl Side, press: Press, presses: u32) -> anyhow::Result<Duration> {
    rest(side).await?;
    // Chromium draws in ticks of 16.7 ms: pauses of different lengths meet them everywhere.
    tokio::time::sleep(Duration::from_millis(u64::from(presses * 7 % 17))).await;
    let expected = TOGGLE[usize::from(presses.is_multiple_of(2))];
    let pressed = Instant::now();
    side.press(press).await?;
    let seen = first_of(side, expected).await?;
    side.release(press).await?;
    Ok(seen.at.duration_since(pressed))
}

/// Pictures a second of a page that never rests, each acknowledged as it comes.
pub async fn rate(side: &mut impl Side) -> anyhow::Result<f64> {
    count(side, RUN_UP).await?;
    let started = Instant::now();
    let pictures = count(side, COUNTED).await?;
    if pictures == 0 {
        bail!("no picture of a moving page came within {} s", COUNTED.as_secs());
    }
    Ok(f64::from(pictures) / started.elapsed().as_secs_f64())
}

async fn count(side: &mut impl Side, time: Duration) -> anyhow::Result<u32> {
    let end = tokio::time::Instant::now() + time;
    let mut pictures = 0;
    while let Ok(picture) = tokio::time::timeout_at(end, side.picture()).await {
        picture?;
        pictures += 1;
    }
    Ok(pictures)
}
