//! The commands under the guard, from their start until the last of their processes is reaped.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use streamkeeper_worker::{Lease, Millis};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cgroup::{Cgroup, Cgroups};
use super::output::{Output, Pipes};
use crate::process;
use crate::settings::OutputMode;
use crate::tether;
use crate::wire::{Report, Start};

/// This program, even when its file was replaced by another version meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Least time between two looks at all processes of the machine: many commands that end together share one.
const LOOK_GAP: Duration = Duration::from_millis(25);
/// Why an exclusive command is not started.
const NO_LEASE: &str =
    "it is exclusive, and its worker has no lease now; it starts when the leader grants it anew";
/// Longest failure text of a tether, in bytes.
const MAX_TETHER_BYTES: u64 = 4 * 1024;

/// How the variables begin that say who the agent is at the message server.
const NATS_VARIABLES: &[u8] = b"STREAMKEEPER_NATS_";

/// What became of a command's start: nothing if it runs, else why not.
pub(super) type Outcome = (u64, String);

/// What all commands have in common.
pub(super) struct WardSettings {
    /// Distinguishes the commands of this guard from all others.
    pub(super) life: String,
    pub(super) output: OutputMode,
    /// Where commands are limited, if they are.
    pub(super) cgroups: Option<Cgroups>,
    /// Told what became of each start.
    pub(super) outcomes: mpsc::Sender<Outcome>,
    /// Told what commands write.
    pub(super) lines: mpsc::Sender<Report>,
}

/// All commands.
pub(super) struct Wards {
    pub(super) wards: BTreeMap<u64, Ward>,
    settings: WardSettings,
    next_look: Option<Instant>,
    pub(super) lease: Option<Lease>,
}

pub(super) struct Ward {
    /// The command's own process, and the number of its group.
    pub(super) leader: Pid,
    output: Output,
    cgroup: Option<Cgroup>,
    /// Known once the program runs in place of its tether, or did not.
    outcome: Option<Result<(), String>>,
    pub(super) kill_at: Option<Instant>,
    pub(super) overdue: bool,
    /// Whether it ends with the lease.
    pub(super) exclusive: bool,
    /// When what is left of it is killed because its lease has ended. A later lease does not change that.
    pub(super) lease_kill_at: Option<Millis>,
    /// Of the leader, once it is reaped.
    pub(super) status: Option<ExitStatus>,
}

/// A tether that was started.
struct TetherProcess {
    process: Child,
    /// Closed once it is the program, or has told why it is not.
    outcome: OwnedFd,
}

impl Wards {
    /// None yet.
    pub(super) const fn new(settings: WardSettings) -> Self {
        Self {
            wards: BTreeMap::new(),
            settings,
            next_look: None,
            lease: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wards.is_empty()
    }

    /// Starts a command; what comes of it is told by `outcomes`.
    pub(super) fn start(&mut self, start: Start) -> Result<(), Report> {
        let key = start.key;
        let failed = |reason: String| Report::Failed { key, reason };
        if self.wards.contains_key(&key) {
            return Err(failed(format!("the key {key} is in use")));
        }
        if start.exclusive && !self.is_leased() {
            return Err(failed(NO_LEASE.to_owned()));
        }
        let ward = self.spawn(start).map_err(failed)?;
        self.wards.insert(key, ward);
        Ok(())
    }

    fn spawn(&self, start: Start) -> Result<Ward, String> {
        let (key, exclusive) = (start.key, start.exclusive);
        let cgroups = self.settings.cgroups.as_ref();
        let cgroup = cgroups.map(|all| all.create(&start.name, key)).transpose()?;
        let no_process = |error| format!("the system starts no process: {error}");
        let mut child = self.spawn_tether(start, cgroup.as_ref()).map_err(no_process)?;
        let leader = i32::try_from(child.process.id()).ok().and_then(Pid::from_raw);
        let leader = leader.ok_or("the system starts no process: its number is none")?;
        let pipes = Pipes {
            stdout: child.process.stdout.take().map(Into::into),
            stderr: child.process.stderr.take().map(Into::into),
        };
        let lines = self.settings.lines.clone();
        let lines = (self.settings.output == OutputMode::Log).then_some(lines);
        let watched = self
            .await_outcome(key, child.outcome)
            .and_then(|()| Output::drain(key, pipes, lines));
        match watched {
            Ok(output) => Ok(Ward {
                leader,
                output,
                cgroup,
                outcome: None,
                kill_at: None,
                overdue: false,
                exclusive,
                lease_kill_at: None,
                status: None,
            }),
            Err(error) => {
                // It is reaped like an orphan.
                process::signal_group(leader, Signal::KILL);
                Err(no_process(error))
            }
        }
    }

    /// Must run on a thread that lives as long as the process: the tie to the parent is one to its thread.
    fn spawn_tether(&self, start: Start, cgroup: Option<&Cgroup>) -> io::Result<TetherProcess> {
        let (outcome, told) = io::pipe()?;
        let (stdout, stderr) = match self.settings.output {
            OutputMode::Log => (Stdio::piped(), Stdio::piped()),
            OutputMode::Discard => (Stdio::null(), Stdio::piped()),
            OutputMode::Inherit => {
                let own = io::stderr().as_fd().try_clone_to_owned()?;
                (Stdio::from(own), Stdio::inherit())
            }
        };
        let mut command = Command::new(OWN_PROGRAM);
        command.args(["tether", tether::REPORT]);
        if let Some(cgroup) = cgroup {
            for folder in cgroup.folders() {
                command.arg(tether::CGROUP).arg(folder);
            }
        }
        // What logs in at the message server is none of a stream's business.
        for (name, _) in std::env::vars_os() {
            if name.as_bytes().starts_with(NATS_VARIABLES) {
                command.env_remove(name);
            }
        }
        let process = command
            .args(["KILL", &std::process::id().to_string(), "--"])
            .arg(start.program)
            .args(start.args)
            .envs(start.env)
            .env(process::RUN_VARIABLE, self.marker(start.key))
            .stdin(told)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()?;
        Ok(TetherProcess {
            process,
            outcome: outcome.into(),
        })
    }

    /// The tether writes why it could not become the program, or closes the pipe by becoming it.
    fn await_outcome(&self, key: u64, pipe: OwnedFd) -> io::Result<()> {
        let pipe = Receiver::from_owned_fd(pipe)?;
        let outcomes = self.settings.outcomes.clone();
        tokio::spawn(async move {
            let mut text = Vec::new();
            let _ = pipe.take(MAX_TETHER_BYTES).read_to_end(&mut text).await;
            // The receiver is gone only when the guard ends.
            let _ = outcomes
                .send((key, String::from_utf8_lossy(&text).into_owned()))
                .await;
        });
        Ok(())
    }

    /// Takes in what became of a start.
    pub(super) fn outcome(&mut self, (key, problem): Outcome) -> Option<Report> {
        let ward = self.wards.get_mut(&key)?;
        if problem.is_empty() {
            ward.outcome = Some(Ok(()));
            let pid = ward.leader.as_raw_nonzero().get();
            return Some(Report::Started { key, pid });
        }
        ward.outcome = Some(Err(problem));
        None
    }

    /// Orders a command to end: SIGTERM now, SIGKILL after the grace. One that has ended needs no order.
    pub(super) fn stop(&mut self, key: u64, now: Instant, grace: Duration) {
        if let Some(ward) = self.wards.get_mut(&key) {
            ward.stop(now, grace);
        }
    }

    /// Orders all commands to end.
    pub(super) fn stop_all(&mut self, now: Instant, grace: Duration) {
        for ward in self.wards.values_mut() {
            ward.stop(now, grace);
        }
    }

    /// When to look again, if nothing happens before.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let ending = self.wards.values().any(|ward| ward.status.is_some());
        let poll = ending.then(|| now + process::POLL);
        self.wards
            .values()
            .filter_map(|ward| ward.kill_at)
            .chain(poll)
            .chain(self.next_lapse(now))
            .min()
    }

    /// Looks after all commands and reports those of which nothing is left.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<Report> {
        self.lapse();
        for ward in self.wards.values_mut() {
            ward.look_after(now);
        }
        while let Some((pid, status)) = process::reap_any() {
            // Mostly an orphan; a leader that ended since the look above at the earliest.
            let of_leader = |ward: &&mut Ward| ward.leader == pid && ward.status.is_none();
            if let Some(ward) = self.wards.values_mut().find(of_leader) {
                process::signal_group(pid, Signal::KILL);
                ward.ended(status);
            }
        }
        let gone: Vec<u64> = self
            .wards
            .iter()
            .filter(|(_, ward)| ward.is_gone())
            .map(|(key, _)| *key)
            .collect();
        if gone.is_empty() || self.next_look.is_some_and(|at| now < at) {
            return Vec::new();
        }
        let escaped = self.kill_escaped(&gone);
        self.next_look = Some(Instant::now() + LOOK_GAP);
        gone.into_iter()
            .filter(|key| !escaped.contains(key))
            .filter_map(|key| Some(self.wards.remove(&key)?.report(key)))
            .collect()
    }

    /// Kills what left its group and lost its parent, for the given commands; which of them had such processes. An
    /// orphan that shows no mark at all may be of any of them: no exclusive one is over while there is one.
    fn kill_escaped(&self, keys: &[u64]) -> BTreeSet<u64> {
        let markers: BTreeMap<String, u64> = keys.iter().map(|key| (self.marker(*key), *key)).collect();
        let is_exclusive = |key: &u64| self.wards.get(key).is_some_and(|ward| ward.exclusive);
        let exclusive: Vec<u64> = keys.iter().copied().filter(is_exclusive).collect();
        let alive = self.wards.values().filter(|ward| ward.status.is_none());
        let leaders: HashSet<Pid> = alive.map(|ward| ward.leader).collect();
        let mut escaped = BTreeSet::new();
        for child in process::children() {
            if leaders.contains(&child) {
                continue;
            }
            let owners: Vec<u64> = match process::run_marker(child) {
                Ok(Some(marker)) => markers.get(&marker).copied().into_iter().collect(),
                Ok(None) => exclusive.clone(),
                Err(_) => Vec::new(),
            };
            if !owners.is_empty() {
                process::kill_orphan(child);
                escaped.extend(owners);
            }
        }
        escaped
    }

    fn marker(&self, key: u64) -> String {
        format!("{}-{key}", self.settings.life)
    }
}

impl Ward {
    fn stop(&mut self, now: Instant, grace: Duration) {
        if self.status.is_some() {
            return;
        }
        let kill_at = now + grace;
        match self.kill_at {
            // A second order may shorten the grace, not extend it.
            Some(earlier) => self.kill_at = Some(earlier.min(kill_at)),
            None if self.overdue => {}
            None => {
                process::signal_group(self.leader, Signal::TERM);
                self.kill_at = Some(kill_at);
            }
        }
    }

    fn look_after(&mut self, now: Instant) {
        if self.status.is_some() {
            return;
        }
        if process::has_ended(self.leader) {
            // Before the leader is reaped: afterwards its number could be somebody else's. No member of the group
            // can fork its way out of one signal to all of them.
            process::signal_group(self.leader, Signal::KILL);
            if let Some(status) = process::reap(self.leader) {
                self.ended(status);
            }
        } else if self.is_due(now) {
            process::signal_group(self.leader, Signal::KILL);
            self.kill_at = None;
            self.overdue = true;
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        self.status = Some(status);
        self.kill_at = None;
    }

    fn is_gone(&self) -> bool {
        self.status.is_some()
            && self.outcome.is_some()
            && process::group_is_empty(self.leader)
            && self.cgroup.as_ref().is_none_or(Cgroup::clear)
    }

    fn report(self, key: u64) -> Report {
        let out_of_memory = self.cgroup.as_ref().and_then(Cgroup::out_of_memory);
        if let Some(Err(reason)) = self.outcome {
            return Report::Failed { key, reason };
        }
        let mut status = self.status.map(process::status_text).unwrap_or_default();
        let killed = self.status.and_then(|status| status.signal()) == Some(Signal::KILL.as_raw());
        if self.lease_kill_at.is_some() {
            status.insert_str(0, "its worker's lease ended: ");
        } else if self.overdue {
            status.push_str(": it did not end within its stop grace");
        } else if let Some(problem) = out_of_memory {
            status = if killed {
                problem
            } else {
                format!("{problem}; {status}")
            };
        } else if killed {
            status.push_str(", not by the agent; if memory ran out, the kernel's log says so");
        }
        let last = self.output.last_words();
        Report::Exited {
            key,
            status,
            stderr: last.stderr,
            dropped: last.dropped,
        }
    }
}
