//! The local viewer page in a real browser, through `cbrowse connect`, a real node and a real remote page.

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use nix::sys::signal::Signal;

use crate::{chromium::Chromium, user::User};

/// Whether the middle of each quadrant of the canvas shows the colour that the page has there; JPEG is a little off.
const SHOWS_COLOURS: &str = "(() => {
    const canvas = document.querySelector('canvas');
    if (!canvas?.width) return false;
    const picture = canvas.getContext('2d');
    const near = (x, y, wanted) => {
        const found = picture.getImageData(canvas.width * x, canvas.height * y, 1, 1).data;
        return wanted.every((value, index) => Math.abs(found[index] - value) <= 8);
    };
    return near(.25, .25, [255, 0, 0]) && near(.75, .25, [0, 255, 0])
        && near(.25, .75, [0, 0, 255]) && near(.75, .75, [255, 255, 255]);
})()";

#[tokio::test]
async fn the_local_viewer_shows_the_remote_page_and_clicks_and_keys_reach_it() {
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    let connect = ["connect", "http://cbrowse.internal/colours", "--view", "web", "--no-open"];
    let mut running = user.start(&connect).await;
    let file = running.until("open this file in your browser: ").await;

    let mut viewer = Chromium::start().await;
    viewer.navigate(&format!("file://{file}")).await;
    // The page moves on from the file to the viewer by itself.
    viewer.until_there(SHOWS_COLOURS).await;
    viewer.until("document.title === 'colours - cbrowse'").await;

    let go = "document.querySelector('.address input').value = 'http://cbrowse.internal/echo'; \
        document.querySelector('.address').requestSubmit(); 1";
    viewer.evaluate(go).await;
    viewer.until("document.title === 'echo - cbrowse'").await;
    // Chromium drops input for a page that it has not painted yet.
    viewer.until(&format!("!{SHOWS_COLOURS}")).await;

    // The remote page has its form in the middle: the text field left of it, the button right of it.
    let place = "(() => { const place = document.querySelector('canvas').getBoundingClientRect(); \
        return [place.left + place.width / 2, place.top + place.height / 2]; })()";
    let middle = viewer.evaluate(place).await;
    let (x, y) = (middle[0].as_f64().unwrap(), middle[1].as_f64().unwrap() - 22.0);
    viewer.click(x - 60.0, y).await;
    for (key, code, number) in [("q", "KeyQ", 81), ("u", "KeyU", 85), ("a", "KeyA", 65), ("y", "KeyY", 89)] {
        viewer.press_key(key, code, number, key).await;
    }
    viewer.click(x + 105.0, y).await;
    viewer.until("document.title === 'quay - cbrowse'").await;

    running.signal(Signal::SIGINT);
    assert_eq!(running.end().await.code, Some(130));
    viewer.until("document.body.dataset.link === 'ended'").await;
}
