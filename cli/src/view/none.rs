//! No viewer: takes pictures without showing them, saves one if asked, and lets a program read what happened.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use cbrowse_protocol::{
    node::printable,
    wire::{ClientMessage, MediaHeader, NodeMessage, Viewport},
};

use super::{Delivery, Hub, Left};

/// After the page says it has loaded, late pictures and fonts get this long.
const SETTLE: Duration = Duration::from_millis(300);
/// A page that never stops loading is pictured as it stands.
const LOAD_DEADLINE: Duration = Duration::from_secs(30);
/// A PNG of a large page takes the node about a second.
const SCREENSHOT_DEADLINE: Duration = Duration::from_secs(30);
/// The eight bytes that every PNG begins with (RFC 2083 section 3.1).
const PNG_SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];

/// Most characters of a node's own words in an error: an explanation fits, a flood does not.
const MAX_WORDS: usize = 500;

/// Chromium's word for a navigation that something else took the place of, such as a download.
const ABORTED: &str = "ERR_ABORTED";

/// Why no picture was saved.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The session ended first.
    #[error("the session ended before the picture was taken: {0}")]
    Ended(String),
    /// The node says no.
    #[error("the node could not take the picture: {0}")]
    Refused(String),
    /// The page itself did not load.
    #[error("the page was not loaded: {0}")]
    NotLoaded(String),
    /// No picture came.
    #[error("no picture came within {deadline} s", deadline = SCREENSHOT_DEADLINE.as_secs())]
    Late,
    /// What came is no PNG.
    #[error("the node sent something else than a PNG picture")]
    NotPng,
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

/// What a picture has to wait for, and how it is to be taken.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Where to.
    pub path: PathBuf,
    /// The whole page instead of the visible part.
    pub full_page: bool,
}

/// Watches a session. With a `shot`, returns once it is saved; without, only when the session ends.
pub async fn watch(hub: &Hub, viewport: Viewport, shot: Option<&Shot>) -> Result<(), PictureError> {
    let mut eyes = Eyes { hub, subscriber: hub.subscribe(), viewport, loaded: false, pictures: 0 };
    let Some(shot) = shot else {
        return loop {
            match eyes.until(|_, _| false).await {
                Err(PictureError::Ended(_)) => break Ok(()),
                // A program that looks on may go elsewhere.
                Err(PictureError::NotLoaded(_)) => {}
                other => break other.map(|_| ()),
            }
        };
    };
    // A page that rests after its first picture has loaded; one that never does is pictured at the deadline.
    let loaded = eyes.until(|eyes, _| eyes.loaded && eyes.pictures > 0);
    if let Ok(result) = tokio::time::timeout(LOAD_DEADLINE, loaded).await {
        result?;
        let quiet = tokio::time::timeout(SETTLE, eyes.until(|_, _| false)).await;
        if let Ok(Err(error)) = quiet {
            return Err(error);
        }
    }
    let _ = hub.send(ClientMessage::Screenshot { full_page: shot.full_page }).await;
    let taken = eyes.until(|_, delivery| matches!(delivery, Delivery::Screenshot(_)));
    match tokio::time::timeout(SCREENSHOT_DEADLINE, taken).await {
        Ok(Ok(Delivery::Screenshot(message))) => save(&message, &shot.path),
        Ok(Ok(_)) | Err(_) => Err(PictureError::Late),
        Ok(Err(error)) => Err(error),
    }
}

struct Eyes<'a> {
    hub: &'a Hub,
    subscriber: super::Subscriber,
    viewport: Viewport,
    loaded: bool,
    pictures: u64,
}

impl Eyes<'_> {
    /// Takes deliveries as any viewer does, until one satisfies `enough`.
    async fn until(&mut self, enough: impl Fn(&Self, &Delivery) -> bool) -> Result<Delivery, PictureError> {
        loop {
            let delivery = match self.subscriber.next().await {
                Ok(delivery) => delivery,
                Err(Left::Behind(_)) => {
                    self.subscriber = self.hub.subscribe();
                    continue;
                }
                Err(Left::Gone) => return Err(PictureError::Ended("the link is gone".into())),
            };
            self.take(&delivery).await?;
            if enough(self, &delivery) {
                return Ok(delivery);
            }
        }
    }

    async fn take(&mut self, delivery: &Delivery) -> Result<(), PictureError> {
        match delivery {
            Delivery::Frame(message) => {
                self.pictures += 1;
                if let Ok((header, _)) = MediaHeader::decode(message) {
                    let _ = self.hub.send(ClientMessage::Shown { sequence: header.sequence }).await;
                }
            }
            Delivery::Message(text) => self.take_message(text).await?,
            Delivery::Screenshot(_) => {}
        }
        Ok(())
    }

    async fn take_message(&mut self, text: &str) -> Result<(), PictureError> {
        match serde_json::from_str(text) {
            Ok(NodeMessage::Welcome { .. }) => {
                let _ = self.hub.send(ClientMessage::Hello { viewport: self.viewport }).await;
            }
            Ok(NodeMessage::Loading { loading, .. }) => self.loaded = !loading,
            // Nobody is here to answer; a page that asks would stand still for ever.
            Ok(NodeMessage::Dialog { .. }) => {
                let answer = ClientMessage::DialogAnswer { accept: false, text: String::new() };
                let _ = self.hub.send(answer).await;
            }
            Ok(NodeMessage::Failed { request, message }) if request == "screenshot" => {
                return Err(PictureError::Refused(printable(&message, MAX_WORDS)));
            }
            Ok(NodeMessage::Bye { reason, .. }) => {
                return Err(PictureError::Ended(printable(&reason, MAX_WORDS)));
            }
            // What would be pictured is Chromium's own error page.
            Ok(NodeMessage::Failed { request, message })
                if request == "navigate" && !message.contains(ABORTED) =>
            {
                return Err(PictureError::NotLoaded(printable(&message, MAX_WORDS)));
            }
            // One of the hub's own words; only the last one matters here.
            Err(_) if text.contains("\"link_ended\"") => {
                return Err(PictureError::Ended("the link is gone".into()));
            }
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }
}

/// Writes the picture whole or not at all.
fn save(message: &Bytes, path: &Path) -> Result<(), PictureError> {
    let picture = MediaHeader::decode(message).map_err(|_| PictureError::NotPng)?.1;
    if !picture.starts_with(&PNG_SIGNATURE) {
        return Err(PictureError::NotPng);
    }
    let failed = |source| PictureError::Write { path: path.to_owned(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    std::io::Write::write_all(&mut file, picture).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::wire::{MediaKind, Role};

    use super::*;
    use crate::view::Event;

    fn media(kind: MediaKind, payload: &[u8]) -> Event {
        let header = MediaHeader {
            kind,
            sequence: 7,
            captured: 0,
            x: 0,
            y: 0,
            width: 0,
            height: 0,
            css_width: 1,
            css_height: 1,
        };
        Event::Media([&header.encode()[..], payload].concat().into())
    }

    #[tokio::test(start_paused = true)]
    async fn it_acts_as_a_viewer_and_saves_one_picture() {
        let directory = tempfile::tempdir().unwrap();
        let shot = Shot { path: directory.path().join("p.png"), full_page: false };
        let (hub, mut inputs) = Hub::new();
        let node = async {
            hub.publish(Event::Control(NodeMessage::Welcome {
                session: "s".parse().unwrap(),
                node: "n".parse().unwrap(),
                region: String::new(),
                browser_version: String::new(),
                role: Role::Control,
            }))
            .unwrap();
            assert!(matches!(inputs.recv().await, Some(ClientMessage::Hello { .. })));
            hub.publish(media(MediaKind::Frame, b"jpeg")).unwrap();
            assert_eq!(inputs.recv().await, Some(ClientMessage::Shown { sequence: 7 }));
            let loading = NodeMessage::Loading { loading: false, can_back: false, can_forward: false };
            hub.publish(Event::Control(loading)).unwrap();
            hub.publish(media(MediaKind::Frame, b"jpeg")).unwrap();
            assert_eq!(inputs.recv().await, Some(ClientMessage::Shown { sequence: 7 }));
            assert_eq!(inputs.recv().await, Some(ClientMessage::Screenshot { full_page: false }));
            hub.publish(media(MediaKind::Screenshot, &[&PNG_SIGNATURE[..], b"rest"].concat())).unwrap();
        };
        let (result, ()) = tokio::join!(watch(&hub, Viewport::default(), Some(&shot)), node);
        result.unwrap();
        assert_eq!(std::fs::read(&shot.path).unwrap(), [&PNG_SIGNATURE[..], b"rest"].concat());
    }

    #[tokio::test]
    async fn a_nodes_words_reach_no_terminal_as_they_are() {
        let (hub, _inputs) = Hub::new();
        let shot = Shot { path: "unused.png".into(), full_page: false };
        let reason = format!("\u{1b}]0;owned\u{7}{}", "x".repeat(100_000));
        hub.publish(Event::Control(NodeMessage::Bye { reason, saving: false })).unwrap();
        let Err(error) = watch(&hub, Viewport::default(), Some(&shot)).await else { panic!("it ended") };
        let told = error.to_string();
        assert!(told.len() < 1000 && !told.contains('\u{1b}'), "{told:?}");
    }

    #[test]
    fn only_a_png_is_saved() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.png");
        let Event::Media(html) = media(MediaKind::Screenshot, b"<html>") else { unreachable!() };
        assert!(matches!(save(&html, &path), Err(PictureError::NotPng)));
        assert!(!path.exists());
    }
}
