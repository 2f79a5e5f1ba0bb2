//! The web site that both sides look at: three pages of known colours, served on loopback.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::picture::Colour;

/// The middle of [`Site::still`], and of [`Site::moving`] at rest.
pub const STILL: Colour = Colour([30, 110, 70]);
/// The middle of [`Site::toggle`]: as loaded, and after every other press.
pub const TOGGLE: [Colour; 2] = [Colour([200, 60, 40]), Colour([40, 60, 200])];
/// Longest request that is read, in bytes.
const MAX_REQUEST: u64 = 16 * 1024;

const STILL_PAGE: &str = "<!doctype html><title>still</title>\
<style>body{margin:0;height:100vh;background:rgb(30,110,70);color:#fff;font:16px sans-serif}h1,p{margin:0;padding:12px 24px}</style>\
<h1>A page at rest</h1><p>Text above, an even colour in the middle: whoever sees that colour sees the page.</p>";
const TOGGLE_PAGE: &str = "<!doctype html><title>toggle</title>\
<style>html,body{margin:0;height:100%;background:rgb(200,60,40)}</style>\
<script>let on=false;\
const flip=()=>{on=!on;document.documentElement.style.background=document.body.style.background=on?'rgb(40,60,200)':'rgb(200,60,40)'};\
addEventListener('mousedown',flip);addEventListener('keydown',flip)</script>";
const MOVING_PAGE: &str = "<!doctype html><title>moving</title>\
<style>html,body{margin:0;overflow:hidden}canvas{display:block}</style><canvas width=1280 height=720></canvas>\
<script>const c=document.querySelector('canvas').getContext('2d');let n=0,stop=false;\
const draw=()=>{n++;c.fillStyle=`hsl(${n%360} 60% 45%)`;c.fillRect(0,0,1280,720);c.fillStyle='#fff';c.font='20px sans-serif';\
for(let y=0;y<24;y++)c.fillText(`line ${y} of picture ${n}: `+'x'.repeat((n+y*7)%60),(n*3+y*40)%400,28*y+24);\
if(stop){c.fillStyle='rgb(30,110,70)';c.fillRect(0,0,1280,720);return}\
requestAnimationFrame(draw)};draw();addEventListener('keydown',()=>stop=true)</script>";

/// The server; ends with this value.
pub struct Site {
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl Site {
    /// Starts it on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("listen for the benchmark's pages")?;
        let address = listener.local_addr()?;
        let mut server = JoinSet::new();
        server.spawn(serve(listener));
        Ok(Self { address, _server: server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A page at rest; its middle is [`STILL`].
    pub fn still(&self) -> String {
        format!("http://{}/still", self.address)
    }

    /// Changes its colour at every press of a mouse button or key; its middle is one of [`TOGGLE`].
    pub fn toggle(&self) -> String {
        format!("http://{}/toggle", self.address)
    }

    /// Draws all of 1280x720 anew for every picture, until a key is pressed: then it rests, in [`STILL`].
    pub fn moving(&self) -> String {
        format!("http://{}/moving", self.address)
    }
}

async fn serve(listener: TcpListener) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => { open.spawn(answer(stream)); }
            Some(_) = open.join_next() => {}
        }
    }
}

/// One request a connection. A browser that goes away is none of our business.
async fn answer(mut stream: TcpStream) {
    let mut path = String::new();
    let mut lines = BufReader::new(tokio::io::AsyncReadExt::take(&mut stream, MAX_REQUEST)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if path.is_empty() {
            line.split(' ').nth(1).unwrap_or_default().clone_into(&mut path);
        }
        if line.is_empty() {
            break;
        }
    }
    let (status, body) = match path.as_str() {
        "/still" => ("200 OK", STILL_PAGE),
        "/toggle" => ("200 OK", TOGGLE_PAGE),
        "/moving" => ("200 OK", MOVING_PAGE),
        _ => ("404 Not Found", ""),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
    let _ = stream.shutdown().await;
}
