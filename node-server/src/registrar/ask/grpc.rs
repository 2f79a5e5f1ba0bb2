//! `grpc.health.v1.Health/Check` of a node.

use cbrowse_protocol::node::Health;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::client::TlsStream;

use super::{AskError, Finding, USER_AGENT};
use crate::{
    grpc::{self, CHECK, CONTENT_TYPE, MAX_FRAME_LENGTH, Serving},
    registrar::Target,
};

pub(super) async fn ask(target: &Target, stream: TlsStream<TcpStream>) -> Result<Finding, AskError> {
    let request = Request::post(format!("https://{}{CHECK}", target.record.endpoint()))
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(grpc::request("")))?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    // Ends with this function, whatever the other side does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(AskError::Grpc(format!("status {}", response.status().as_u16())));
    }
    let mut heads = response.headers().clone();
    let body = Limited::new(response.into_body(), MAX_FRAME_LENGTH).collect().await;
    let body = body.map_err(|error| AskError::Grpc(error.to_string()))?;
    heads.extend(body.trailers().cloned().unwrap_or_default());
    call_went_well(&heads)?;
    let serving = grpc::serving(&body.to_bytes()).map_err(|error| AskError::Grpc(error.to_string()))?;
    let health = if serving == Serving::Serving { Health::Passing } else { Health::Critical };
    Ok(Finding { health, words: format!("says {serving:?}") })
}

fn call_went_well(heads: &HeaderMap) -> Result<(), AskError> {
    match heads.get("grpc-status").map(|code| code.to_str().unwrap_or("garbled")) {
        Some("0") => Ok(()),
        Some(code) => {
            Err(AskError::Grpc(format!("grpc-status {}", code.chars().take(8).collect::<String>())))
        }
        None => Err(AskError::Grpc("no grpc-status".into())),
    }
}
