//! Asking a node to keep a place while the profile travels to it.

use cbrowse_protocol::{api::Status, seat::Seat};
use http::Method;

use super::connection::{Ask, ConnectionError, TrustedConnection};
use crate::credentials::Credentials;

/// Asks for a seat; one round trip. `None`: the node is of a version that knows none, and admits whoever comes.
pub async fn reserve(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    status: &Status,
) -> Result<Option<Seat>, ConnectionError> {
    let response = match connection.request(Ask::new(Method::POST, "/v1/seats"), credentials).await {
        Err(ConnectionError::Refused { problem, .. }) if matches!(problem.status, 404 | 405) => {
            return Ok(None);
        }
        answered => answered?,
    };
    let against =
        |reason: &str| ConnectionError::Protocol { endpoint: status.id.to_string(), reason: reason.into() };
    let seat: Seat = serde_json::from_slice(&response.body).map_err(|_| against("its seat is unreadable"))?;
    if seat.node != status.id || !seat.is_of(connection.identity()) {
        return Err(against("its seat is not signed by its identity"));
    }
    Ok(Some(seat))
}
