//! A node's object store, for code that blocks: questions go over a channel to whoever holds the connection.

use cbrowse_profile::object::{ObjectName, ObjectStore, StoreError, check_object};
use cbrowse_protocol::{api::ObjectNames, id::ProfileId};
use http::Method;
use tokio::sync::{mpsc, oneshot};

use crate::{
    attach::connection::{Ask, ConnectionError, TrustedConnection},
    credentials::Credentials,
};

/// One thread asks at a time, so one question waits at most.
const QUESTIONS: usize = 1;

/// What the blocking side wants.
pub enum Question {
    /// Which of these does the node lack?
    Missing(Vec<ObjectName>, oneshot::Sender<Result<Vec<ObjectName>, StoreError>>),
    /// An object's bytes.
    Get(ObjectName, oneshot::Sender<Result<Vec<u8>, StoreError>>),
}

/// The blocking side. It only reads: what goes up is sent by its own road.
pub struct RemoteStore {
    questions: mpsc::Sender<Question>,
}

impl RemoteStore {
    /// The store and its questions, for [`answer`].
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, received) = mpsc::channel(QUESTIONS);
        (Self { questions }, received)
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Question,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Remote { message: "the connection is gone".into(), retryable: true };
        let (sender, receiver) = oneshot::channel();
        self.questions.blocking_send(question(sender)).map_err(|_| gone())?;
        receiver.blocking_recv().map_err(|_| gone())?
    }
}

impl ObjectStore for RemoteStore {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.ask(|sender| Question::Missing(names.to_vec(), sender))
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let object = self.ask(|sender| Question::Get(*name, sender))?;
        check_object(name, &object)?;
        Ok(object)
    }

    fn put(&self, _name: &ObjectName, _object: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Remote { message: "this store is only read".into(), retryable: false })
    }
}

/// Answers until the blocking side is done.
pub async fn answer(
    mut questions: mpsc::Receiver<Question>,
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
) {
    while let Some(question) = questions.recv().await {
        // A receiver that is gone has given up; the next question tells.
        match question {
            Question::Missing(names, sender) => {
                let _ = sender.send(missing(connection, credentials, profile, &names).await);
            }
            Question::Get(name, sender) => {
                let _ = sender.send(get(connection, credentials, profile, &name).await);
            }
        }
    }
}

async fn missing(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
    names: &[ObjectName],
) -> Result<Vec<ObjectName>, StoreError> {
    let path = format!("/v1/profiles/{profile}/missing");
    let asked = ObjectNames { names: names.iter().map(ToString::to_string).collect() };
    let response = connection
        .request(Ask::new(Method::POST, &path).json(&asked), credentials)
        .await
        .map_err(|error| remote(&error))?;
    let told: ObjectNames = serde_json::from_slice(&response.body)
        .map_err(|error| StoreError::Remote { message: error.to_string(), retryable: false })?;
    Ok(names.iter().filter(|name| told.names.contains(&name.to_string())).copied().collect())
}

/// One object; its bytes are for the caller to compare with its name.
pub(super) async fn get(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
    name: &ObjectName,
) -> Result<Vec<u8>, StoreError> {
    let path = format!("/v1/profiles/{profile}/objects/{name}");
    match connection.request(Ask::new(Method::GET, &path).for_object(), credentials).await {
        Ok(response) => Ok(response.body.to_vec()),
        Err(ConnectionError::Refused { problem, .. }) if problem.code == "no_object" => {
            Err(StoreError::Missing(*name))
        }
        Err(error) => Err(remote(&error)),
    }
}

fn remote(error: &ConnectionError) -> StoreError {
    StoreError::Remote { message: error.to_string(), retryable: error.is_retryable() }
}
