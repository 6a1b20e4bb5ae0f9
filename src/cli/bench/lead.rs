//! One run in which the leader of two orchestrators dies or hands over: how long until the next one serves, and what that
//! did to the streams. The same two serve all runs; whoever was killed comes back as the standby of the next.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::Cluster;
use super::round::{Fault, moment};
use super::tally::{self, Blow, Cost};
use crate::api::{Api, ApiError};
use crate::failure::Failure;
use crate::workers;

/// How long nothing may move before a run is over: beyond the grace of the new leader, with default settings.
pub(super) const CALM: Duration = Duration::from_secs(20);
/// Time between two questions to the next leader.
const ASK: Duration = Duration::from_millis(5);
/// Time between two looks whether both are what they should be before a run.
const SETTLE: Duration = Duration::from_millis(200);

/// Run `number` of many, from 0.
pub(super) async fn run(
    cluster: &mut Cluster,
    fault: Fault,
    number: u32,
    calm: Duration,
) -> Result<Cost, Failure> {
    let (leading, next) = settled(cluster).await?;
    sleep(moment(number)).await;
    let at_us = cluster.judge.now_us();
    if fault == Fault::StepDown {
        let api = cluster
            .orchestrators
            .get(leading)
            .map(|leader| leader.api.clone());
        if let Some(api) = api {
            api.post("/api/v1/leader/step-down", &Value::Null).await?;
        }
    } else if let Some(leader) = cluster.orchestrators.get_mut(leading) {
        leader.part.kill().await?;
    }
    cluster
        .poll(
            next,
            "a change that the next leader acknowledged",
            ASK,
            async |api| match role(api).await?.as_str() {
                "leading" => change(api, number).await.map_err(|error| error.to_string()),
                other => Err(format!("it is {other}")),
            },
        )
        .await?;
    let written_us = cluster.judge.now_us() - at_us;
    let wanted = cluster.agents.len();
    cluster
        .poll(next, "every agent heard by the next leader", ASK, async |api| {
            let rows = workers::rows(api).await.map_err(|failure| failure.text)?;
            let heard = rows.iter().filter(|row| row.takes_streams).count();
            let all = heard == wanted;
            all.then_some(())
                .ok_or_else(|| format!("{heard} of {wanted} are"))
        })
        .await?;
    let heard_us = cluster.judge.now_us() - at_us;
    sleep(calm).await;
    cluster.one_reader_each().await?;
    let visits = cluster.judge.visits();
    let overlap = tally::longest_overlap_us(&visits, cluster.judge.now_us());
    // No worker was hit: every move is one too many.
    let nobody = Blow {
        worker: String::new(),
        at_us,
    };
    if fault == Fault::Leader {
        cluster.start_orchestrator(leading).await?;
    }
    Ok(Cost {
        lost: tally::disturbed(&visits, at_us),
        first_ms: tally::millis(written_us),
        last_ms: tally::millis(heard_us),
        overlap_ms: tally::millis(overlap),
        needless_moves: tally::needless_moves(&visits, &nobody),
    })
}

/// Waits until one leads and the other would follow at once; which is which.
async fn settled(cluster: &mut Cluster) -> Result<(usize, usize), Failure> {
    let mut roles = Vec::new();
    for index in 0..cluster.orchestrators.len() {
        let stands = cluster.poll(index, "a leader and a standby", SETTLE, async |api| {
            let leader = api.get::<Value>("/api/v1/leader").await;
            let leader = leader.map_err(|error| error.to_string())?;
            let text = |name: &str| {
                leader
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            match (text("role").as_str(), text("election").as_str()) {
                ("leading", "holding") => Ok(true),
                ("standby", "waiting") => Ok(false),
                (role, election) => Err(format!("{role}, {election}")),
            }
        });
        roles.push(stands.await?);
    }
    match roles[..] {
        [true, false] => Ok((0, 1)),
        [false, true] => Ok((1, 0)),
        _ => Err(Failure::failed(format!(
            "bench: one of two orchestrators should lead, but this is who does: {roles:?}"
        ))),
    }
}

async fn role(api: &Api) -> Result<String, String> {
    let leader = api.get::<Value>("/api/v1/leader").await;
    let leader = leader.map_err(|error| error.to_string())?;
    let role = leader.get("role").and_then(Value::as_str);
    Ok(role.unwrap_or_default().to_owned())
}

/// A stream that runs nowhere changes with each run.
async fn change(api: &Api, number: u32) -> Result<(), ApiError> {
    let stream = json!({ "name": "bench-change", "source": format!("run-{number}"), "enabled": false });
    api.put("/api/v1/streams", &json!({ "streams": [stream] }))
        .await
        .map(drop)
}
