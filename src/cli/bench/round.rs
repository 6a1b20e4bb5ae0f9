//! One run: a cluster, one fault on one of its agents, what it cost.

use std::time::Duration;

use clap::ValueEnum;
use rustix::process::{Pid, Signal};
use serde::Serialize;
use tokio::time::sleep;

use super::cluster::{Cluster, Plan};
use super::tally::{self, Blow, Cost};
use crate::failure::Failure;

/// How long nothing more may happen before a run is over: long enough for the balancer's next round.
pub(super) const CALM: Duration = Duration::from_secs(3);
/// Time between two heartbeats: faults of many runs are spread evenly over it.
const BEAT: Duration = Duration::from_secs(2);
/// The golden section spreads any number of points evenly.
const SPREAD: f64 = 0.618_033_988_749_895;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    /// SIGKILL to the agent; its guard lives
    Kill,
    /// SIGKILL to the agent and its guard together: nobody can tell
    Crash,
    /// SIGSTOP to the agent, and SIGCONT when its streams run elsewhere
    Freeze,
    /// SIGTERM to the agent: an orderly end
    Leave,
    /// SIGKILL to the leader of two orchestrators
    Leader,
    /// The leader of two orchestrators is asked to give the lead up
    StepDown,
}

impl Fault {
    /// Whether it hits the leader of two orchestrators, not an agent.
    pub(super) const fn is_of_leaders(self) -> bool {
        matches!(self, Self::Leader | Self::StepDown)
    }
}

/// The time from a heartbeat at which run `number` of many does it.
pub(super) fn moment(number: u32) -> Duration {
    BEAT.mul_f64((f64::from(number) * SPREAD).fract())
}

/// Run `number` of many, from 0.
pub(super) async fn run(
    cluster: &mut Cluster,
    fault: Fault,
    number: u32,
    calm: Duration,
) -> Result<Cost, Failure> {
    sleep(moment(number)).await;
    let index = number as usize % cluster.agents.len().max(1);
    let agent = cluster
        .agents
        .get(index)
        .ok_or_else(|| Failure::failed("bench: there is no agent"))?;
    let guard = agent.pid().and_then(guard_of);
    let blow = Blow {
        worker: agent.name.clone(),
        at_us: cluster.judge.now_us(),
    };
    match fault {
        Fault::Kill => agent.signal(Signal::KILL),
        Fault::Crash => {
            // The guard must not see the agent die.
            signal(guard, Signal::STOP);
            agent.signal(Signal::KILL);
            signal(guard, Signal::KILL);
        }
        Fault::Freeze => agent.signal(Signal::STOP),
        Fault::Leave => agent.signal(Signal::TERM),
        Fault::Leader | Fault::StepDown => {
            return Err(Failure::failed("bench: that fault hits no agent"));
        }
    }
    let times = cluster
        .look("every lost stream read elsewhere", |visits, _| {
            let times = tally::replaced(visits, &blow);
            let away = times.values().filter(|time| time.is_none()).count();
            if away == 0 {
                Ok(times)
            } else {
                Err(format!("{away} of {} are away", times.len()))
            }
        })
        .await?;
    sleep(calm).await;
    let needless_moves = tally::needless_moves(&cluster.judge.visits(), &blow);
    if fault == Fault::Freeze
        && let Some(agent) = cluster.agents.get(index)
    {
        agent.signal(Signal::CONT);
    }
    cluster.one_reader_each().await?;
    let overlap = tally::longest_overlap_us(&cluster.judge.visits(), cluster.judge.now_us());
    let times: Vec<u64> = times.into_values().flatten().collect();
    let millis = |us: Option<&u64>| tally::millis(us.copied().unwrap_or_default());
    Ok(Cost {
        lost: times.len(),
        first_ms: millis(times.iter().min()),
        last_ms: millis(times.iter().max()),
        overlap_ms: tally::millis(overlap),
        needless_moves,
    })
}

/// The guard of the agent with this process id.
fn guard_of(agent: u32) -> Option<Pid> {
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let pid = pids.find(|pid| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let parent = format!("PPid:\t{agent}");
        read("status").lines().any(|line| line == parent) && read("cmdline").ends_with("\0guard\0")
    });
    pid.and_then(Pid::from_raw)
}

fn signal(process: Option<Pid>, signal: Signal) {
    if let Some(process) = process {
        // It may have ended by itself just now.
        let _ = rustix::process::kill_process(process, signal);
    }
}

/// A run with a cluster of its own.
pub(super) async fn alone(
    plan: &Plan,
    fault: Fault,
    number: u32,
    calm: Duration,
    folder: &std::path::Path,
) -> Result<Cost, Failure> {
    let mut cluster = Cluster::start(plan, folder).await?;
    let cost = run(&mut cluster, fault, number, calm).await?;
    cluster.end().await?;
    Ok(cost)
}
