//! The story, step by step. Each step waits until the radio, which knows nothing of streamkeeper, agrees.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::cast::{Blame, Cast, stream_name};
use super::judge::{Connections, Judge};
use super::watch;
use crate::api::Api;
use crate::failure::Failure;
use crate::{screen, streams, workers};

/// How long something must stay as it is before it counts as settled.
const SETTLED: Duration = Duration::from_secs(3);
/// How long the agents are left alone.
const ALONE: Duration = Duration::from_secs(3);
/// Time for which a table can be read before the next thing happens.
const READING: Duration = Duration::from_secs(2);

/// Which worker has which channel.
type Layout = BTreeMap<u16, String>;

/// Tells it, then watches for so many seconds, or for ever.
pub(super) async fn tell(cast: &mut Cast, seconds: Option<u64>) -> Result<(), Failure> {
    let start = Instant::now();
    opening(cast).await?;
    sleep(READING).await;
    let lost = agent_dies(cast).await?;
    sleep(READING).await;
    agent_returns(cast, lost).await?;
    sleep(READING).await;
    orchestrator_dies(cast).await?;
    closing(cast, start.elapsed()).await?;
    watch::watch(cast, seconds.map(Duration::from_secs)).await
}

async fn opening(cast: &mut Cast) -> Result<(), Failure> {
    heading("1. Start")?;
    say(&format!(
        "radio: {} live channels at {}/channel/1 and up, made by this program, which counts the listeners",
        cast.channels,
        cast.radio.url()
    ))?;
    let pid = cast.orchestrator.start()?;
    say(&format!(
        "orchestrator: process {pid}, with its own nats-server and SQLite in {}",
        cast.folder.display()
    ))?;
    ready(cast).await?;
    say(&format!("orchestrator: ready, the API is at {}", cast.api_url))?;
    for index in 0..cast.agents.len() {
        start_agent(cast, index).await?;
    }
    let declaration = cast.declaration();
    cast.api.put("/api/v1/streams", &declaration).await?;
    say(&format!("declared {} streams, one per channel", cast.channels))?;
    let since = Instant::now();
    cast.until(
        Blame::Orchestrator,
        "one listener on every channel",
        |_, judge| async move { judge.one_each().await },
    )
    .await?;
    say(&format!(
        "every channel has exactly one listener after {}",
        seconds(since)
    ))?;
    table(cast).await
}

async fn agent_dies(cast: &mut Cast) -> Result<usize, Failure> {
    heading("2. An agent is killed")?;
    let layout = layout(&cast.api).await.map_err(Failure::failed)?;
    let before = cast.judge.one_each().await.map_err(Failure::failed)?;
    let index = cast.agents.len() - 1;
    let name = agent(cast, index)?.name.clone();
    let orphans: Vec<u16> = layout
        .iter()
        .filter(|(_, worker)| **worker == name)
        .map(|(channel, _)| *channel)
        .collect();
    agent(cast, index)?.kill().await?;
    let since = Instant::now();
    say(&format!(
        "kill -9 {name}: {} of {} channels lose their listener",
        orphans.len(),
        cast.channels
    ))?;
    let survivor = Blame::Agent(0);
    let after = cast
        .until(
            survivor,
            "one listener on every channel after the kill",
            |_, judge| replaced(judge, before.clone(), orphans.clone()),
        )
        .await?;
    say(&format!(
        "every channel has exactly one listener again after {}",
        seconds(since)
    ))?;
    let untouched = before
        .iter()
        .filter(|(channel, connections)| after.get(channel) == Some(connections))
        .count();
    say(&format!("the other {untouched} channels did not notice"))?;
    table(cast).await?;
    Ok(index)
}

/// One listener everywhere, and a new one where the old one died.
async fn replaced(judge: Judge, before: Connections, orphans: Vec<u16>) -> Result<Connections, String> {
    let now = judge.one_each().await?;
    match orphans
        .iter()
        .find(|channel| now.get(channel) == before.get(channel))
    {
        Some(channel) => Err(format!("channel {channel} still has its old listener")),
        None => Ok(now),
    }
}

async fn agent_returns(cast: &mut Cast, index: usize) -> Result<(), Failure> {
    heading("3. The agent comes back")?;
    start_agent(cast, index).await?;
    let name = agent(cast, index)?.name.clone();
    let since = Instant::now();
    settle(cast, Blame::Agent(index), Some(name.clone())).await?;
    say(&format!(
        "{name} has channels again, a few at a time, and each has exactly one listener ({})",
        seconds(since)
    ))?;
    table(cast).await
}

async fn orchestrator_dies(cast: &mut Cast) -> Result<(), Failure> {
    heading("4. The orchestrator is killed")?;
    let before = settle(cast, Blame::Orchestrator, None).await?;
    cast.orchestrator.kill().await?;
    say("kill -9 of the orchestrator; its nats-server dies with it")?;
    sleep(ALONE).await;
    same(&before, cast.judge.one_each().await, "without an orchestrator")?;
    say(&format!(
        "{} later every channel still has the same listener",
        duration(ALONE)
    ))?;
    let pid = cast.orchestrator.start()?;
    ready(cast).await?;
    cast.until(
        Blame::Orchestrator,
        "every stream known as running",
        |api, _| async move { all_running(&api).await },
    )
    .await?;
    say(&format!(
        "orchestrator: process {pid}, ready, and knows every channel as running"
    ))?;
    let until = Instant::now() + SETTLED;
    while Instant::now() < until {
        same(
            &before,
            cast.judge.one_each().await,
            "after the orchestrator's return",
        )?;
        sleep(Duration::from_millis(200)).await;
    }
    say("no listener has left or reconnected: the radio still has the very same connections")
}

fn same(before: &Connections, now: Result<Connections, String>, when: &str) -> Result<(), Failure> {
    let now = now.map_err(|wrong| Failure::failed(format!("{when}: {wrong}")))?;
    match before.iter().find(|(channel, old)| now.get(channel) != Some(old)) {
        None => Ok(()),
        Some((channel, _)) => Err(Failure::failed(format!(
            "{when}: the listener of channel {channel} reconnected"
        ))),
    }
}

async fn closing(cast: &mut Cast, took: Duration) -> Result<(), Failure> {
    heading("5. Your turn")?;
    let channels = cast.judge.channels().await.map_err(Failure::failed)?;
    let peak = channels
        .iter()
        .map(|channel| channel.peak)
        .max()
        .unwrap_or_default();
    say(&format!(
        "told in {}; most listeners that a channel ever had at a time: {peak}",
        duration(took)
    ))?;
    let server = if cast.api_url.ends_with(":8001") {
        String::new()
    } else {
        format!(" --server {}", cast.api_url)
    };
    let pid = cast
        .agents
        .first()
        .and_then(super::part::Part::pid)
        .unwrap_or_default();
    for (command, what) in [
        (format!("streamkeeper status{server}"), "how the whole is"),
        (
            format!("streamkeeper streams list{server}"),
            "which stream runs where",
        ),
        (
            format!("streamkeeper streams get channel-01{server}"),
            "why it is where it is",
        ),
        (
            format!("kill -9 {pid}"),
            "kills agent-1; this program starts it again after a while",
        ),
        (format!("curl {}/status", cast.radio.url()), "what the radio says"),
    ] {
        screen::line(&format!("    {command:<60} # {what}"))?;
    }
    Ok(())
}

/// Starts an agent and waits until it takes streams.
pub(super) async fn start_agent(cast: &mut Cast, index: usize) -> Result<(), Failure> {
    let pid = agent(cast, index)?.start()?;
    let name = agent(cast, index)?.name.clone();
    let wanted = name.clone();
    cast.until(
        Blame::Agent(index),
        "the agent as a worker that takes streams",
        move |api, _| takes_streams(api, wanted.clone()),
    )
    .await?;
    say(&format!("{name}: process {pid}, runs one ffmpeg per stream"))
}

async fn takes_streams(api: Api, name: String) -> Result<(), String> {
    let workers = workers::rows(&api).await.map_err(|failure| failure.text)?;
    match workers.iter().find(|worker| worker.id == name) {
        Some(worker) if worker.takes_streams => Ok(()),
        Some(worker) => Err(format!("{name} is {}", worker.availability)),
        None => Err(format!("{name} was not heard")),
    }
}

pub(super) async fn ready(cast: &mut Cast) -> Result<(), Failure> {
    cast.until(Blame::Orchestrator, "a ready orchestrator", |api, _| async move {
        api.get::<Value>("/readyz")
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    })
    .await
}

/// Waits until every channel has exactly one listener, `worker` (if any) has some, and nothing has changed for a
/// while.
async fn settle(cast: &mut Cast, blame: Blame, worker: Option<String>) -> Result<Connections, Failure> {
    let mut last: Option<(Connections, Instant)> = None;
    loop {
        let wanted = worker.clone();
        let now = cast
            .until(blame, "one listener on every channel", |api, judge| {
                busy(api, judge, wanted.clone())
            })
            .await?;
        match &last {
            Some((before, since)) if *before == now => {
                if since.elapsed() >= SETTLED {
                    return Ok(now);
                }
            }
            _ => last = Some((now, Instant::now())),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn busy(api: Api, judge: Judge, worker: Option<String>) -> Result<Connections, String> {
    if let Some(worker) = worker
        && !layout(&api).await?.values().any(|owner| *owner == worker)
    {
        return Err(format!("{worker} has no channel"));
    }
    judge.one_each().await
}

async fn all_running(api: &Api) -> Result<(), String> {
    let rows = rows(api).await?;
    match rows.iter().find(|row| row.state != "running") {
        None => Ok(()),
        Some(row) => Err(format!("{} is {}", row.name, row.state)),
    }
}

async fn rows(api: &Api) -> Result<Vec<streams::Row>, String> {
    let streams = streams::all(api, "").await.map_err(|error| error.to_string())?;
    streams::rows(&streams).map_err(|failure| failure.text)
}

async fn layout(api: &Api) -> Result<Layout, String> {
    Ok(rows(api)
        .await?
        .into_iter()
        .filter_map(|row| {
            let channel = row.name.rsplit('-').next()?.parse().ok()?;
            (row.name == stream_name(channel)).then_some((channel, row.worker?))
        })
        .collect())
}

/// Who has what, and who listens.
async fn table(cast: &Cast) -> Result<(), Failure> {
    let layout = layout(&cast.api).await.map_err(Failure::failed)?;
    let mut table = screen::table(&["CHANNEL", "WORKER", "LISTENERS"]);
    for channel in cast.judge.channels().await.map_err(Failure::failed)? {
        let worker = layout.get(&channel.channel).map_or("-", String::as_str);
        table.add_row([
            stream_name(channel.channel),
            worker.to_owned(),
            channel.listeners.to_string(),
        ]);
    }
    screen::line("")?;
    for row in table.lines() {
        screen::line(&format!("    {}", row.trim_end()))?;
    }
    Ok(())
}

fn agent(cast: &mut Cast, index: usize) -> Result<&mut super::part::Part, Failure> {
    cast.agents
        .get_mut(index)
        .ok_or_else(|| Failure::failed(format!("there is no agent {index}")))
}

fn heading(text: &str) -> Result<(), Failure> {
    screen::line(&format!("\n{text}"))
}

pub(super) fn say(text: &str) -> Result<(), Failure> {
    screen::line(&format!("  {text}"))
}

pub(super) fn seconds(since: Instant) -> String {
    duration(since.elapsed())
}

fn duration(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
