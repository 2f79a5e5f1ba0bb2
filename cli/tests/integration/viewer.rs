//! The web viewer in a real browser: the remote picture is drawn, and what a person does arrives as wire messages.

use std::time::Duration;

use bytes::Bytes;
use cbrowse::view::{
    Event, Hub, Inputs,
    web::{Options, WebViewer},
};
use cbrowse_protocol::wire::{
    Button, ClientMessage, HistoryStep, MediaHeader, MediaKind, NodeMessage, Press, Role, Tab, TabAction,
};
use serde_json::json;
use tokio::time::timeout;

use crate::chromium::Chromium;

/// 64x32: the left half `#1060c0`, the right half `#c03010`.
const TWO_COLOURS: &[u8] = include_bytes!("two_colours.jpg");
const DEADLINE: Duration = Duration::from_secs(20);

struct Scene {
    hub: Hub,
    inputs: Inputs,
    viewer: WebViewer,
    chromium: Chromium,
    sequence: u32,
}

impl Scene {
    /// A viewer opened through its file; the page has said hello.
    async fn open(role: Role) -> Self {
        let (hub, inputs) = Hub::new();
        let viewer = WebViewer::start(hub.clone(), Options::default()).await.expect("start the viewer");
        let mut scene = Self { hub, inputs, viewer, chromium: Chromium::start().await, sequence: 0 };
        scene.say(welcome(role));
        let file = format!("file://{}", scene.viewer.open_file().display());
        scene.chromium.navigate(&file).await;
        let ClientMessage::Hello { viewport } = scene.input().await else { panic!("hello comes first") };
        assert_eq!((viewport.width, viewport.scale), (800, 2.0));
        let stage = scene.chromium.evaluate("document.querySelector('.stage').clientHeight").await;
        assert_eq!(stage, viewport.height);
        scene
    }

    fn say(&self, message: NodeMessage) {
        self.hub.publish(Event::Control(message)).expect("a message passes");
    }

    /// Shows a JPEG as a page of this size; returns when the viewer has acknowledged it.
    async fn show(&mut self, jpeg: &[u8], css_width: u16, css_height: u16) {
        self.sequence += 1;
        let message = frame(self.sequence, jpeg, css_width, css_height);
        self.hub.publish(Event::Media(message)).expect("a frame passes");
        while self.next().await != (ClientMessage::Shown { sequence: self.sequence }) {}
    }

    /// The next thing that the person did: no ping, no acknowledgement, no plain move.
    async fn input(&mut self) -> ClientMessage {
        loop {
            match self.next().await {
                ClientMessage::Ping { .. }
                | ClientMessage::Shown { .. }
                | ClientMessage::Mouse { kind: Press::Move, .. } => {}
                message => return message,
            }
        }
    }

    async fn next(&mut self) -> ClientMessage {
        timeout(DEADLINE, self.inputs.recv()).await.expect("the page says something").expect("the hub lives")
    }

    /// Presses and releases the left button, Shift held, at a place of the window.
    async fn click(&mut self, x: f64, y: f64) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.chromium.mouse(kind, x, y).await;
        }
    }

    async fn stage_top(&mut self) -> f64 {
        let top =
            self.chromium.evaluate("document.querySelector('.stage').getBoundingClientRect().top").await;
        top.as_f64().expect("a number")
    }
}

fn frame(sequence: u32, jpeg: &[u8], css_width: u16, css_height: u16) -> Bytes {
    let (kind, captured, x, y, width, height) = (MediaKind::Frame, 0, 0, 0, 0, 0);
    let header = MediaHeader { kind, sequence, captured, x, y, width, height, css_width, css_height };
    [&header.encode()[..], jpeg].concat().into()
}

fn welcome(role: Role) -> NodeMessage {
    NodeMessage::Welcome {
        session: "s-1".parse().expect("an id"),
        node: "fra-3".parse().expect("an id"),
        region: "eu-central".into(),
        browser_version: "156".into(),
        role,
    }
}

fn tab(id: &str, title: &str, active: bool) -> Tab {
    Tab { id: id.into(), url: "https://harbour.example/tides".into(), title: title.into(), active }
}

fn left(kind: Press, x: f64, y: f64) -> ClientMessage {
    let buttons = u8::from(kind == Press::Down);
    ClientMessage::Mouse { kind, x, y, button: Button::Left, buttons, clicks: 1, modifiers: 8 }
}

const PIXELS: &str = "{ const c = document.querySelector('canvas'), x = c.getContext('2d'); \
    [c.width, c.height, ...x.getImageData(16, 16, 1, 1).data, ...x.getImageData(48, 16, 1, 1).data] }";

#[tokio::test]
async fn the_picture_is_shown_and_a_click_and_keys_reach_the_remote_page() {
    let mut scene = Scene::open(Role::Control).await;
    scene.show(TWO_COLOURS, 400, 200).await;
    let pixels = scene.chromium.evaluate(PIXELS).await;
    let pixels: Vec<i64> = serde_json::from_value(pixels).unwrap();
    for (found, wanted) in pixels.iter().zip([64, 32, 0x10, 0x60, 0xc0, 255, 0xc0, 0x30, 0x10, 255]) {
        assert!((found - wanted).abs() <= 6, "{pixels:?}");
    }

    // A page of 400x200 stands in the middle of a window of 800, unscaled.
    let top = scene.stage_top().await;
    scene.click(200.0 + 100.0, top + 50.0).await;
    assert_eq!(scene.input().await, left(Press::Down, 100.0, 50.0));
    assert_eq!(scene.input().await, left(Press::Up, 100.0, 50.0));
    // A page of twice the window is shrunk to half.
    scene.show(TWO_COLOURS, 1600, 400).await;
    scene.click(100.0, top + 50.0).await;
    assert_eq!(scene.input().await, left(Press::Down, 200.0, 100.0));
    assert_eq!(scene.input().await, left(Press::Up, 200.0, 100.0));

    scene.chromium.press_key("a", "KeyA", 65, "a").await;
    for kind in [Press::Down, Press::Up] {
        let (key, code) = ("a".into(), "KeyA".into());
        assert_eq!(scene.input().await, ClientMessage::Key { kind, key, code, modifiers: 0, repeat: false });
    }
    // Chromium divides an order's wheel by the emulated density, so the page tells what it saw.
    let seen =
        "addEventListener('wheel', (event) => { globalThis.turned = event.deltaY; }, { capture: true }); 1";
    scene.chromium.evaluate(seen).await;
    let wheel = json!({ "type": "mouseWheel", "x": 100, "y": top + 50.0, "deltaX": 0, "deltaY": 120 });
    scene.chromium.call("Input.dispatchMouseEvent", wheel).await;
    let ClientMessage::Wheel { x, y, dx, dy, modifiers: 0 } = scene.input().await else { panic!("a wheel") };
    assert_eq!((x, y, dx), (200.0, 100.0, 0.0));
    assert_eq!(scene.chromium.evaluate("globalThis.turned").await, dy);
    assert!(dy > 0.0);
    // Mice that count in lines or pages turn by pixels, too.
    for (mode, deltas, wanted) in [(1, 3, 99.0), (2, 1, 400.0)] {
        let turn = format!(
            "document.querySelector('canvas').dispatchEvent(new WheelEvent('wheel', \
             {{ deltaMode: {mode}, deltaY: {deltas}, clientX: 100, clientY: {}, cancelable: true }}))",
            top + 50.0
        );
        scene.chromium.evaluate(&turn).await;
        let turned = ClientMessage::Wheel { x: 200.0, y: 100.0, dx: 0.0, dy: wanted, modifiers: 0 };
        assert_eq!(scene.input().await, turned);
    }
}

#[tokio::test]
async fn composed_and_pasted_text_arrives_once_and_whole() {
    let mut scene = Scene::open(Role::Control).await;
    scene.show(TWO_COLOURS, 800, 400).await;
    scene.chromium.evaluate("document.querySelector('.sink').focus()").await;
    let compose = json!({ "text": "に", "selectionStart": 1, "selectionEnd": 1 });
    scene.chromium.call("Input.imeSetComposition", compose).await;
    scene.chromium.call("Input.insertText", json!({ "text": "日本" })).await;
    assert_eq!(scene.input().await, ClientMessage::Text { text: "日本".into() });
    scene.chromium.call("Input.insertText", json!({ "text": "😀" })).await;
    assert_eq!(scene.input().await, ClientMessage::Text { text: "😀".into() });

    // 40,000 of two UTF-16 units each do not fit one message, and none is torn.
    scene
        .chromium
        .evaluate(
            "{ const clipboardData = new DataTransfer(); clipboardData.setData('text/plain', 'x' + '😀'.repeat(40000)); \
             document.querySelector('.sink').dispatchEvent(new ClipboardEvent('paste', { clipboardData, cancelable: true })); 1 }",
        )
        .await;
    let mut pasted = String::new();
    while pasted.len() < 1 + 4 * 40_000 {
        let ClientMessage::Text { text } = scene.input().await else { panic!("text") };
        assert!(!text.contains('\u{fffd}'));
        pasted += &text;
    }
    assert_eq!(pasted, format!("x{}", "😀".repeat(40_000)));
}

#[tokio::test]
async fn the_bars_steer_tabs_history_and_address() {
    let mut scene = Scene::open(Role::Control).await;
    scene.show(TWO_COLOURS, 800, 400).await;
    let title = "<img src=x onerror=document.title='owned'>";
    scene.say(NodeMessage::Tabs { tabs: vec![tab("1", title, true), tab("2", "two", false)] });
    scene.say(NodeMessage::Loading { loading: false, can_back: true, can_forward: false });
    scene.chromium.until("!document.querySelector('.back').disabled").await;
    let shown = scene.chromium.evaluate("document.querySelector('.tab.active .name').textContent").await;
    assert_eq!(shown, title);
    assert_eq!(scene.chromium.evaluate("document.querySelectorAll('img').length").await, 0);
    assert_eq!(
        scene.chromium.evaluate("document.querySelector('.pretty .host').textContent").await,
        "harbour.example"
    );
    assert_eq!(scene.chromium.evaluate("document.querySelector('.forward').disabled").await, true);

    scene.chromium.evaluate("document.querySelector('.back').click()").await;
    assert_eq!(scene.input().await, ClientMessage::History { step: HistoryStep::Back });
    scene.chromium.evaluate("document.querySelectorAll('.tab .name')[1].click()").await;
    let activate = ClientMessage::Tab { action: TabAction::Activate, id: "2".into(), url: String::new() };
    assert_eq!(scene.input().await, activate);

    for (typed, meant) in [
        ("example.com/a b", None),
        ("example.com", Some("https://example.com/")),
        ("localhost:3000/x", Some("http://localhost:3000/x")),
        ("file:///etc/passwd", None),
        ("javascript:alert(1)", None),
        ("view-source:https://example.com", None),
        ("HTTP://192.0.2.1:8080", Some("http://192.0.2.1:8080/")),
        ("about:blank", Some("about:blank")),
    ] {
        let enter = format!(
            "{{ const f = document.querySelector('.address'); f.elements.address.value = {typed:?}; f.requestSubmit(); 1 }}"
        );
        scene.chromium.evaluate(&enter).await;
        match meant {
            Some(url) => assert_eq!(scene.input().await, ClientMessage::Navigate { url: url.into() }),
            None => {
                scene
                    .chromium
                    .until("document.querySelector('.toasts').textContent.includes('Only web addresses')")
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn a_dialog_is_drawn_as_text_and_answered_once() {
    let mut scene = Scene::open(Role::Control).await;
    scene.show(TWO_COLOURS, 800, 400).await;
    scene.say(NodeMessage::Tabs { tabs: vec![tab("1", "one", true)] });
    let message = "<b>Name?</b>".to_owned();
    scene.say(NodeMessage::Dialog { kind: "prompt".into(), message: message.clone(), default: "Ada".into() });
    scene.chromium.until("document.querySelector('dialog').open").await;
    assert_eq!(scene.chromium.evaluate("document.querySelector('#asked-what').textContent").await, message);
    assert_eq!(
        scene.chromium.evaluate("document.querySelector('#asked-who').textContent").await,
        "harbour.example says"
    );
    scene.chromium.call("Input.insertText", json!({ "text": "Grace" })).await;
    scene.chromium.press_key("Enter", "Enter", 13, "\r").await;
    assert_eq!(scene.input().await, ClientMessage::DialogAnswer { accept: true, text: "Grace".into() });

    scene.say(NodeMessage::Dialog {
        kind: "beforeunload".into(),
        message: String::new(),
        default: String::new(),
    });
    scene.chromium.until("document.querySelector('dialog').open").await;
    scene.chromium.press_key("Escape", "Escape", 27, "").await;
    assert_eq!(scene.input().await, ClientMessage::DialogAnswer { accept: false, text: String::new() });
    // The keyboard is the remote page's again, and nothing was answered twice.
    scene.chromium.until("document.activeElement.className === 'sink'").await;
    scene.chromium.press_key("b", "KeyB", 66, "b").await;
    assert!(matches!(scene.input().await, ClientMessage::Key { key, .. } if key == "b"));
}

#[tokio::test]
async fn a_dialog_that_another_page_answers_goes_away() {
    let mut scene = Scene::open(Role::Control).await;
    scene.show(TWO_COLOURS, 800, 400).await;
    scene.say(NodeMessage::Dialog { kind: "alert".into(), message: "hello".into(), default: String::new() });
    scene.chromium.until("document.querySelector('dialog').open").await;
    let answer = ClientMessage::DialogAnswer { accept: true, text: String::new() };
    scene.hub.send(answer.clone()).await.unwrap();
    assert_eq!(scene.input().await, answer);
    scene.chromium.until("!document.querySelector('dialog').open").await;
    scene.hub.send(ClientMessage::Text { text: "after".into() }).await.unwrap();
    assert_eq!(scene.input().await, ClientMessage::Text { text: "after".into() });
}

#[tokio::test]
async fn who_only_looks_on_sends_nothing() {
    let mut scene = Scene::open(Role::View).await;
    scene.show(TWO_COLOURS, 800, 400).await;
    assert_eq!(scene.chromium.evaluate("document.querySelector('.badge').hidden").await, false);
    assert_eq!(scene.chromium.evaluate("document.querySelector('.reload').disabled").await, true);
    let top = scene.stage_top().await;
    scene.click(100.0, top + 50.0).await;
    scene.chromium.press_key("a", "KeyA", 65, "a").await;
    // What was sent before this frame's acknowledgement would have come before it.
    scene.sequence += 1;
    scene.hub.publish(Event::Media(frame(scene.sequence, TWO_COLOURS, 800, 400))).unwrap();
    loop {
        match scene.next().await {
            ClientMessage::Ping { .. } => {}
            ClientMessage::Shown { sequence } => {
                assert_eq!(sequence, scene.sequence);
                break;
            }
            message => panic!("{message:?}"),
        }
    }
}

#[tokio::test]
async fn a_picture_that_is_too_large_or_broken_is_not_drawn_and_pictures_go_on() {
    let mut scene = Scene::open(Role::Control).await;
    scene.show(TWO_COLOURS, 800, 400).await;
    let start = TWO_COLOURS.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let mut bomb = TWO_COLOURS.to_vec();
    bomb[start + 5..start + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    let long_segment = [0xff, 0xd8, 0xff, 0xe0, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
    for bad in [&bomb[..], &TWO_COLOURS[..start], b"<svg/>", &long_segment] {
        scene.show(bad, 8000, 8000).await;
        assert_eq!(scene.chromium.evaluate("document.querySelector('canvas').width").await, 64);
        assert_eq!(scene.chromium.evaluate("document.querySelector('canvas').style.width").await, "800px");
    }
    scene.show(TWO_COLOURS, 400, 200).await;
    assert_eq!(scene.chromium.evaluate("document.querySelector('canvas').style.width").await, "400px");
}

#[tokio::test]
async fn a_picture_that_was_asked_for_is_saved_and_others_are_not() {
    let mut scene = Scene::open(Role::View).await;
    scene.show(TWO_COLOURS, 800, 400).await;
    let downloads = tempfile::tempdir().unwrap();
    let allow = json!({ "behavior": "allow", "downloadPath": downloads.path() });
    scene.chromium.call("Page.setDownloadBehavior", allow).await;
    let still = |picture: &[u8]| {
        let mut message = frame(1, picture, 800, 400).to_vec();
        message[1] = MediaKind::Screenshot as u8;
        Event::Media(message.into())
    };
    let unasked = b"\x89PNG\r\n\x1a\nunasked";
    let asked = b"\x89PNG\r\n\x1a\nasked";
    scene.hub.publish(still(unasked)).unwrap();
    scene.show(TWO_COLOURS, 800, 400).await;
    scene.chromium.evaluate("document.querySelector('button.picture').click()").await;
    assert_eq!(scene.input().await, ClientMessage::Screenshot { full_page: false });
    scene.hub.publish(still(asked)).unwrap();
    let saved = || {
        let mut names = std::fs::read_dir(downloads.path()).unwrap().map(|entry| entry.unwrap().path());
        names.find(|path| path.extension().is_some_and(|end| end == "png"))
    };
    let file = timeout(DEADLINE, async {
        loop {
            if let Some(path) = saved() {
                return path;
            }
            scene.chromium.evaluate("new Promise((done) => setTimeout(done, 10))").await;
        }
    });
    assert_eq!(std::fs::read(file.await.unwrap()).unwrap(), asked);
    assert_eq!(std::fs::read_dir(downloads.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_lost_link_keeps_the_picture_and_the_end_is_told() {
    let mut scene = Scene::open(Role::Control).await;
    scene.show(TWO_COLOURS, 800, 400).await;
    scene.hub.publish(Event::Lost { reason: "no route".into() }).unwrap();
    scene.chromium.until("document.body.dataset.link === 'reconnecting'").await;
    assert_eq!(
        scene.chromium.evaluate("document.querySelector('.ribbon').textContent").await,
        "Reconnecting: no route"
    );
    scene.say(welcome(Role::Control));
    assert!(matches!(scene.input().await, ClientMessage::Hello { .. }));
    scene.chromium.until("document.body.dataset.link === 'live'").await;
    scene.say(NodeMessage::Bye { reason: "Ended elsewhere.".into(), saving: true });
    scene.viewer.close().await;
    scene.chromium.until("document.body.dataset.link === 'ended'").await;
    let card = scene.chromium.evaluate("document.querySelector('.card').innerText").await;
    let card = card.as_str().unwrap();
    assert!(card.contains("Ended elsewhere.") && card.contains("The profile is being saved."), "{card}");
}

#[tokio::test]
async fn the_page_has_no_secret_in_its_address_and_survives_a_reload() {
    let mut scene = Scene::open(Role::Control).await;
    assert_eq!(scene.chromium.evaluate("location.href").await, scene.viewer.page_url());
    assert_eq!(scene.chromium.evaluate("document.cookie").await, "");
    assert!(!scene.viewer.open_file().exists());
    scene.show(TWO_COLOURS, 800, 400).await;
    scene.chromium.call("Page.reload", json!({})).await;
    assert!(matches!(scene.input().await, ClientMessage::Hello { .. }));
    // The last frame is there at once, without the node sending anything.
    scene.chromium.until("document.body.dataset.link === 'live'").await;
}
