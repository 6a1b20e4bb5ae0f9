//! The story, step by step. Each step waits until the radio, which knows nothing of streamkeeper, agrees.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::DemoArgs;
use super::audience::Audience;
use super::cast::{Blame, Cast, ORCHESTRATOR};
use super::judge::{Connections, one_each, shares};
use super::score::{self, Death, Gap};
use super::wait;
use super::watch;
use crate::failure::Failure;
use crate::part::Part;

/// How long something must stay as it is before it counts as settled.
const SETTLED: Duration = Duration::from_secs(3);
/// How long the agents are left alone.
const ALONE: Duration = Duration::from_secs(3);
/// Time for which one can look before the next thing happens.
const READING: Duration = Duration::from_secs(2);
/// What killing the orchestrator takes, and some more.
const ORCHESTRATOR_PART: Duration = Duration::from_secs(14);

/// How long all may take.
#[derive(Debug, Clone, Copy)]
struct Budget {
    limit: Option<Duration>,
    /// Ends where the story ends.
    once: bool,
}

impl Budget {
    fn left(self, cast: &Cast) -> Option<Duration> {
        let limit = if self.once {
            return Some(Duration::ZERO);
        } else {
            self.limit?
        };
        Some(limit.saturating_sub(cast.stage.elapsed()))
    }

    fn allows(self, cast: &Cast, what: Duration) -> bool {
        self.once || self.left(cast).is_none_or(|left| left >= what)
    }

    /// Gives time to look, where there is some.
    async fn reading(self, cast: &Cast) {
        if self.allows(cast, ORCHESTRATOR_PART + READING) {
            sleep(READING).await;
        }
    }
}

/// Tells it, then watches until the time is over, or for ever.
pub(super) async fn tell(cast: &mut Cast, args: &DemoArgs) -> Result<(), Failure> {
    let budget = Budget {
        limit: args.seconds.map(Duration::from_secs),
        once: args.once,
    };
    opening(cast).await?;
    budget.reading(cast).await;
    let lost = agent_dies(cast).await?;
    budget.reading(cast).await;
    let settled = agent_returns(cast, lost).await?;
    budget.reading(cast).await;
    if !args.no_orchestrator_kill {
        if budget.allows(cast, ORCHESTRATOR_PART) {
            orchestrator_dies(cast, &settled).await?;
        } else {
            cast.stage
                .say("no time is left for killing the orchestrator; give more with --seconds")?;
        }
    }
    cast.told = true;
    closing(cast)?;
    watch::watch(cast, budget.left(cast)).await
}

async fn opening(cast: &mut Cast) -> Result<(), Failure> {
    let channels = cast.audience().channels();
    cast.stage.heading("1. Start")?;
    cast.stage.say(&format!(
        "radio: {channels} live channels at {}/channel/1 and up, made by this program, which logs who listens",
        cast.radio.url()
    ))?;
    let pid = cast.orchestrator.start()?;
    cast.stage.part(ORCHESTRATOR, &format!("process {pid}"));
    cast.stage.say(&format!(
        "orchestrator: process {pid}, with its own nats-server and SQLite in {}",
        cast.folder.display()
    ))?;
    wait::ready(cast).await?;
    cast.stage
        .say(&format!("orchestrator: ready, the API is at {}", cast.api_url))?;
    for index in 0..cast.agents.len() {
        start_agent(cast, index)?;
    }
    for index in 0..cast.agents.len() {
        wait::takes_streams(cast, index).await?;
    }
    let declaration = cast.declaration();
    cast.api.put("/api/v1/streams", &declaration).await?;
    cast.stage
        .say(&format!("declared {channels} streams, one per channel"))?;
    let since = Instant::now();
    wait::one_listener_each(cast, Blame::Orchestrator).await?;
    cast.stage.good(&format!(
        "every channel has exactly one listener after {}",
        seconds(since.elapsed())
    ))?;
    who_has_what(cast)
}

async fn agent_dies(cast: &mut Cast) -> Result<usize, Failure> {
    cast.stage.heading("2. An agent is killed")?;
    let before = one_each(cast.audience()).map_err(Failure::failed)?;
    let index = cast.agents.len() - 1;
    let death = Death {
        agent: cast.agent(index)?.name.clone(),
        at_us: cast.audience().now_us(),
    };
    cast.agent(index)?.kill().await?;
    cast.stage.part(&death.agent, "killed");
    cast.deaths.push(death.clone());
    let lost = score::lost(&cast.audience().visits(), &death).count();
    cast.stage.bad(&format!(
        "kill -9 {}: {lost} of {} channels lose their listener",
        death.agent,
        before.len()
    ))?;
    let wanted = death.clone();
    let gaps = cast
        .until(
            Blame::Agent(0),
            "one listener on every channel after the kill",
            move |_, audience| std::future::ready(replaced(&audience, &wanted)),
        )
        .await?;
    tell_gaps(cast, &death, &gaps)?;
    let after = one_each(cast.audience()).map_err(Failure::failed)?;
    let untouched = before
        .iter()
        .filter(|(channel, connection)| after.get(channel) == Some(connection))
        .count();
    cast.stage
        .say(&format!("the other {untouched} channels did not notice"))?;
    who_has_what(cast)?;
    Ok(index)
}

/// One listener everywhere, and a new one where the old one died.
fn replaced(audience: &Audience, death: &Death) -> Result<Vec<Gap>, String> {
    one_each(audience)?;
    score::gaps(&audience.visits(), death).map_err(|silent| format!("nobody listens again to {silent:?}"))
}

fn tell_gaps(cast: &Cast, death: &Death, gaps: &[Gap]) -> Result<(), Failure> {
    let us = Duration::from_micros;
    for gap in gaps {
        cast.stage.say(&format!(
            "channel-{:02}: {} -> {}, silent for {}",
            gap.channel,
            death.agent,
            gap.agent,
            seconds(us(gap.silent_us))
        ))?;
    }
    let times = || gaps.iter().map(|gap| us(gap.failover_us));
    cast.stage.good(&format!(
        "every channel has exactly one listener again: the first {}, the last {} after the kill",
        seconds(times().min().unwrap_or_default()),
        seconds(times().max().unwrap_or_default())
    ))
}

async fn agent_returns(cast: &mut Cast, index: usize) -> Result<Connections, Failure> {
    cast.stage.heading("3. The agent comes back")?;
    start_agent(cast, index)?;
    wait::takes_streams(cast, index).await?;
    let name = cast.agent(index)?.name.clone();
    load_returns(cast, index, &name).await?;
    cast.stage.good(&format!(
        "load is even again, a few channels at a time; nothing has moved for {}",
        seconds(SETTLED)
    ))?;
    who_has_what(cast)?;
    one_each(cast.audience()).map_err(Failure::failed)
}

/// Tells every change of the agent's share, until every channel has exactly one listener and nothing has changed for a
/// while.
async fn load_returns(cast: &mut Cast, index: usize, name: &str) -> Result<(), Failure> {
    let start = Instant::now();
    let (mut share, mut last) = (0, (None, Instant::now()));
    loop {
        cast.all_live()?;
        let now = shares(cast.audience()).remove(name).unwrap_or_default().len();
        if now != share {
            share = now;
            cast.stage.say(&format!(
                "{:>6} after its start {name} has {share} of {} channels",
                seconds(start.elapsed()),
                cast.audience().channels()
            ))?;
        }
        let connections = one_each(cast.audience());
        if last.0 != connections.as_ref().ok().cloned() {
            last = (connections.as_ref().ok().cloned(), Instant::now());
        }
        if share > 0 && connections.is_ok() && last.1.elapsed() >= SETTLED {
            return Ok(());
        }
        if start.elapsed() >= wait::PATIENCE {
            let what = connections
                .err()
                .unwrap_or_else(|| "load goes on moving".to_owned());
            return Err(Failure::failed(format!(
                "{name} has {share} channels after {:?}: {what}\n{}\n{}",
                wait::PATIENCE,
                cast.orchestrator.tail(),
                cast.agent(index)?.tail()
            )));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn orchestrator_dies(cast: &mut Cast, before: &Connections) -> Result<(), Failure> {
    cast.stage.heading("4. The orchestrator is killed")?;
    cast.orchestrator.kill().await?;
    cast.stage.part(ORCHESTRATOR, "killed");
    cast.stage
        .bad("kill -9 of the orchestrator; its nats-server dies with it")?;
    sleep(ALONE).await;
    same(cast, before, "without an orchestrator")?;
    cast.stage.say(&format!(
        "{} later every channel still has the same listener",
        seconds(ALONE)
    ))?;
    let pid = cast.orchestrator.start()?;
    cast.stage.part(ORCHESTRATOR, &format!("process {pid}"));
    wait::ready(cast).await?;
    wait::all_running(cast).await?;
    cast.stage.say(&format!(
        "orchestrator: process {pid}, ready, and knows every channel as running"
    ))?;
    let until = Instant::now() + SETTLED;
    while Instant::now() < until {
        same(cast, before, "after the orchestrator's return")?;
        sleep(Duration::from_millis(200)).await;
    }
    cast.stage
        .good("no listener has left or reconnected: the radio still has the very same connections")
}

fn same(cast: &Cast, before: &Connections, when: &str) -> Result<(), Failure> {
    let now = one_each(cast.audience()).map_err(|wrong| Failure::failed(format!("{when}: {wrong}")))?;
    match before.iter().find(|(channel, old)| now.get(channel) != Some(old)) {
        None => Ok(()),
        Some((channel, _)) => Err(Failure::failed(format!(
            "{when}: the listener of channel {channel} reconnected"
        ))),
    }
}

fn closing(cast: &mut Cast) -> Result<(), Failure> {
    cast.stage.heading("5. Your turn")?;
    cast.stage
        .say(&format!("the story took {}", seconds(cast.stage.elapsed())))?;
    let server = if cast.api_url.ends_with(":8001") {
        String::new()
    } else {
        format!(" --server {}", cast.api_url)
    };
    let pid = cast.agents.first().and_then(Part::pid).unwrap_or_default();
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
        (
            format!("curl {}/log", cast.radio.url()),
            "who listened from when to when",
        ),
    ] {
        cast.stage.say(&format!("  {command:<60} # {what}"))?;
    }
    Ok(())
}

/// Starts an agent.
fn start_agent(cast: &mut Cast, index: usize) -> Result<(), Failure> {
    let agent = cast.agent(index)?;
    let (pid, name) = (agent.start()?, agent.name.clone());
    cast.stage.part(&name, &format!("process {pid}"));
    cast.stage
        .say(&format!("{name}: process {pid}, runs one ffmpeg per stream"))
}

/// One line per agent, where no table shows it.
fn who_has_what(cast: &Cast) -> Result<(), Failure> {
    cast.stage
        .plain(shares(cast.audience()).into_iter().map(|(agent, channels)| {
            let list: Vec<String> = channels.iter().map(|channel| format!("{channel:02}")).collect();
            format!("{agent}: {:>2} channels: {}", channels.len(), list.join(" "))
        }))
}

/// Seconds with one digit.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
