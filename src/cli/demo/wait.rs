//! What the story waits for.

use std::time::Duration;

use serde_json::Value;

use super::cast::{Blame, Cast};
use super::judge::{Connections, one_each};
use crate::api::Api;
use crate::failure::Failure;
use crate::{streams, workers};

/// Longest wait for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// A ready orchestrator.
pub(super) async fn ready(cast: &mut Cast) -> Result<(), Failure> {
    cast.until(Blame::Orchestrator, "a ready orchestrator", |api, _| async move {
        api.get::<Value>("/readyz")
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    })
    .await
}

/// The agent as a worker that takes streams.
pub(super) async fn takes_streams(cast: &mut Cast, index: usize) -> Result<(), Failure> {
    let name = cast.agent(index)?.name.clone();
    cast.until(
        Blame::Agent(index),
        "the agent as a worker that takes streams",
        move |api, _| worker_takes_streams(api, name.clone()),
    )
    .await
}

async fn worker_takes_streams(api: Api, name: String) -> Result<(), String> {
    let workers = workers::rows(&api).await.map_err(|failure| failure.text)?;
    match workers.iter().find(|worker| worker.id == name) {
        Some(worker) if worker.takes_streams => Ok(()),
        Some(worker) => Err(format!("{name} is {}", worker.availability)),
        None => Err(format!("{name} was not heard")),
    }
}

/// Exactly one listener on every channel.
pub(super) async fn one_listener_each(cast: &mut Cast, blame: Blame) -> Result<Connections, Failure> {
    cast.until(blame, "one listener on every channel", |_, audience| {
        std::future::ready(one_each(&audience))
    })
    .await
}

/// Every stream as running, in the orchestrator's opinion.
pub(super) async fn all_running(cast: &mut Cast) -> Result<(), Failure> {
    cast.until(
        Blame::Orchestrator,
        "every stream known as running",
        |api, _| async move {
            let streams = streams::all(&api, "").await.map_err(|error| error.to_string())?;
            let rows = streams::rows(&streams).map_err(|failure| failure.text)?;
            match rows.iter().find(|row| row.state != "running") {
                None => Ok(()),
                Some(row) => Err(format!("{} is {}", row.name, row.state)),
            }
        },
    )
    .await
}
