//! What a node is asked about profiles, one function a question. Nothing that it answers is believed here.

use std::net::SocketAddr;

use cbrowse_profile::object::ObjectName;
use cbrowse_protocol::{
    api::{
        DeletionReceipt, DeletionRequest, KeyRequest, MAX_OBJECT_NAMES, ObjectNames, PointerView,
        ProfileList, Proposals, RetainRequest, Retained,
    },
    id::ProfileId,
    node::{NodeRecord, printable},
};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::CarryError;
use crate::{
    attach::connection::{Ask, ConnectionError, Response, TrustedConnection},
    credentials::Credentials,
};

/// Longest description of a store that is shown, in bytes.
const MAX_STORE: usize = 200;

/// A record of a node of which only the address is known.
pub(super) fn at(peer: SocketAddr) -> NodeRecord {
    let json = serde_json::json!({"id": peer.to_string(), "address": peer.ip(), "port": peer.port()});
    serde_json::from_value(json).expect("an address makes a record")
}

/// Those of `names` that the node lacks. Who asks first becomes the profile's owner there.
pub(super) async fn ask_missing(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
    names: &[ObjectName],
) -> Result<Vec<ObjectName>, CarryError> {
    let path = format!("/v1/profiles/{profile}/missing");
    let mut missing = Vec::new();
    // An empty question still makes the asker the profile's owner on that node.
    let questions: Vec<&[ObjectName]> =
        if names.is_empty() { vec![&[]] } else { names.chunks(MAX_OBJECT_NAMES).collect() };
    for question in questions {
        let asked = ObjectNames { names: question.iter().map(ToString::to_string).collect() };
        let response = connection.request(Ask::new(Method::POST, &path).json(&asked), credentials).await?;
        let told: ObjectNames =
            serde_json::from_slice(&response.body).map_err(|error| CarryError::Answer(error.to_string()))?;
        // Only what was asked about counts; a node cannot make us send anything else.
        missing.extend(question.iter().filter(|name| told.names.contains(&name.to_string())));
    }
    Ok(missing)
}

/// `None` where the node does not hold the profile, or not as this user's.
pub(super) async fn get_proposals(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
) -> Result<Option<Proposals>, CarryError> {
    let path = format!("/v1/profiles/{profile}/proposals");
    match connection.request(Ask::new(Method::GET, &path), credentials).await {
        Ok(response) => serde_json::from_slice(&response.body)
            .map(Some)
            .map_err(|error| CarryError::Answer(error.to_string())),
        Err(ConnectionError::Refused { problem, .. }) if problem.code == "no_profile" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How a node removed a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// Nothing of it is there any more.
    Gone,
    /// It held nothing.
    Absent,
    /// It lies in a store that several nodes share; the operator removes it with the next sweep.
    Marked {
        /// Which store, in the node's words, cleaned.
        store: String,
    },
}

/// Removes everything that a node holds of the profile, saves that wait there included. `word` is the owner's signed word
/// for stores that several nodes share.
pub async fn remove(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
    word: Option<&DeletionRequest>,
) -> Result<Removed, ConnectionError> {
    let path = format!("/v1/profiles/{profile}");
    let ask = Ask::new(Method::DELETE, &path);
    let ask = match word {
        Some(word) => ask.json(word),
        None => ask,
    };
    match connection.request(ask, credentials).await {
        Ok(answer) if answer.status == StatusCode::ACCEPTED => {
            let told: Option<DeletionReceipt> = serde_json::from_slice(&answer.body).ok();
            let store =
                told.map_or_else(|| "a shared store".into(), |told| printable(&told.store, MAX_STORE));
            Ok(Removed::Marked { store })
        }
        Ok(_) => Ok(Removed::Gone),
        Err(ConnectionError::Refused { problem, .. })
            if matches!(problem.code.as_str(), "no_profile" | "profile_deleted") =>
        {
            Ok(Removed::Absent)
        }
        Err(error) => Err(error),
    }
}

/// What a node says is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// This, by its word.
    Current(PointerView),
    /// Nothing was made current there.
    Nothing,
    /// It is of a version that keeps no heads.
    Unsupported,
}

/// Which head a node says is current.
pub async fn get_head(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
) -> Result<Told, CarryError> {
    let path = format!("/v1/profiles/{profile}/head");
    match connection.request(Ask::new(Method::GET, &path), credentials).await {
        Ok(answer) => read(&answer).map(Told::Current),
        Err(ConnectionError::Refused { problem, .. }) if problem.status == 404 => {
            Ok(if problem.code == "not_found" { Told::Unsupported } else { Told::Nothing })
        }
        Err(error) => Err(error.into()),
    }
}

/// Offers a pointer; `false` where another one is current meanwhile.
pub async fn put_head(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
    pointer: &PointerView,
) -> Result<bool, CarryError> {
    let path = format!("/v1/profiles/{profile}/head");
    match connection.request(Ask::new(Method::PUT, &path).json(pointer), credentials).await {
        Ok(_) => Ok(true),
        Err(ConnectionError::Refused { problem, .. })
            if matches!(problem.code.as_str(), "head_conflict" | "outdated") =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Says what has to be kept.
pub async fn put_retain(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
    list: &RetainRequest,
) -> Result<Retained, CarryError> {
    let path = format!("/v1/profiles/{profile}/retain");
    read(&connection.request(Ask::new(Method::PUT, &path).json(list), credentials).await?)
}

/// Says that another key speaks for the profile from now on, by the word of the one so far.
pub async fn put_key(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
    next: &KeyRequest,
) -> Result<(), CarryError> {
    let path = format!("/v1/profiles/{profile}/key");
    connection.request(Ask::new(Method::PUT, &path).json(next), credentials).await?;
    Ok(())
}

/// The profiles that a node holds for this user.
pub async fn list(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
) -> Result<ProfileList, CarryError> {
    read(&connection.request(Ask::new(Method::GET, "/v1/profiles"), credentials).await?)
}

fn read<T: DeserializeOwned>(answer: &Response) -> Result<T, CarryError> {
    serde_json::from_slice(&answer.body).map_err(|error| CarryError::Answer(error.to_string()))
}
