//! The task that owns the guard process: passes orders and reports on, and replaces a guard that died.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use streamkeeper_worker::Lease;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use crate::client::{GuardError, GuardSettings, Launch, RunEvent};
use crate::process;
use crate::watched::Watched;
use crate::wire::{Hello, LineReader, Order, Outbox, Report, Start};

/// How long a guard waits for the one before it, at least.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// What a guard may take beyond the times that it was given.
const MARGIN: Duration = Duration::from_secs(10);
/// Between two looks for runs that nobody waits for any more.
const TICK: Duration = Duration::from_millis(500);
/// Delay before the second attempt to replace a guard; it doubles up to the longest one.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Longest delay between two attempts to replace a guard.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What is asked of the supervisor.
pub(crate) enum Request {
    Launch { key: u64, launch: Launch, run: Watched },
    Stop { key: u64, grace: Duration },
    End { done: oneshot::Sender<()> },
}

pub(crate) struct Supervisor {
    settings: GuardSettings,
    /// Children that this process had before its first guard: they are none of ours.
    spared: HashSet<Pid>,
    requests: mpsc::Receiver<Request>,
    leases: watch::Receiver<Option<Lease>>,
    runs: HashMap<u64, Watched>,
    guard: Process,
}

/// A guard that is ready.
struct Process {
    child: Child,
    orders: Outbox<ChildStdin>,
    reports: LineReader<ChildStdout>,
}

/// Why a guard is not attended to any more.
enum Parting {
    /// It was asked for; by nobody in particular if the last handle is gone.
    End(Option<oneshot::Sender<()>>),
    Lost(String),
}

impl Supervisor {
    pub(crate) async fn start(
        settings: GuardSettings,
        requests: mpsc::Receiver<Request>,
        leases: watch::Receiver<Option<Lease>>,
    ) -> Result<Self, GuardError> {
        process::become_subreaper().map_err(|error| GuardError::Spawn {
            program: settings.program.clone(),
            source: error.into(),
        })?;
        let spared = process::children().into_iter().collect();
        let guard = Process::start(&settings).await?;
        Ok(Self {
            settings,
            spared,
            requests,
            leases,
            runs: HashMap::new(),
            guard,
        })
    }

    pub(crate) async fn run(mut self) {
        let done = loop {
            match self.attend().await {
                // The closed pipe tells the guard; it ends all commands and says farewell.
                Parting::End(None) => return,
                Parting::End(done) => {
                    self.end().await;
                    break done;
                }
                Parting::Lost(problem) => {
                    self.clear(&problem).await;
                    match self.replace().await {
                        Ok(guard) => {
                            self.guard = guard;
                            // This one was told no lease yet.
                            self.leases.mark_changed();
                        }
                        Err(done) => break done,
                    }
                }
            }
        };
        // First nobody can ask any more, then the one who asked for the end learns of it.
        drop(self.requests);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    async fn attend(&mut self) -> Parting {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = self.guard.reports.next() => match report {
                    Ok(Some(report)) => self.hear(report),
                    Ok(None) => return Parting::Lost("it ended".to_owned()),
                    Err(error) => return Parting::Lost(error.to_string()),
                },
                result = self.guard.orders.write_some(), if !self.guard.orders.is_empty() => {
                    if let Err(error) = result {
                        return Parting::Lost(error.to_string());
                    }
                }
                request = self.requests.recv(), if !self.guard.orders.is_full() => match request {
                    Some(Request::Launch { key, launch, run }) => self.launch(key, launch, run),
                    Some(Request::Stop { key, grace }) => self.stop(key, grace),
                    Some(Request::End { done }) => return Parting::End(Some(done)),
                    None => return Parting::End(None),
                },
                // A guard that takes no orders gets the newest lease when it does.
                Ok(()) = self.leases.changed(), if !self.guard.orders.is_full() => {
                    let lease = *self.leases.borrow_and_update();
                    self.tell(lease);
                }
                _ = tick.tick() => self.stop_abandoned(),
            }
        }
    }

    fn tell(&mut self, lease: Option<Lease>) {
        if let Some(Lease { stop_at, kill_at }) = lease {
            let order = Order::Lease {
                stop_at_ms: stop_at.0,
                kill_at_ms: kill_at.0,
            };
            // Such an order is short: it is never refused.
            let _ = self.guard.orders.push(&order);
        }
    }

    fn launch(&mut self, key: u64, launch: Launch, run: Watched) {
        // The lease goes before what needs it.
        if launch.exclusive && self.leases.has_changed().unwrap_or(true) {
            let lease = *self.leases.borrow_and_update();
            self.tell(lease);
        }
        let order = Order::Start(Start {
            key,
            name: launch.name,
            program: launch.program,
            args: launch.args,
            env: launch.env,
            exclusive: launch.exclusive,
        });
        match self.guard.orders.push(&order) {
            Ok(()) => drop(self.runs.insert(key, run)),
            Err(reason) => run.ended(reason),
        }
    }

    fn stop(&mut self, key: u64, grace: Duration) {
        let grace_ms = millis(grace);
        // Such an order is short: it is never refused.
        let _ = self.guard.orders.push(&Order::Stop { key, grace_ms });
    }

    /// A run that was dropped (its task was aborted) has nobody else to stop it. Until it has ended the order is
    /// repeated, which changes nothing.
    fn stop_abandoned(&mut self) {
        let abandoned = self.runs.iter().filter(|(_, run)| run.is_abandoned());
        for key in abandoned.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.stop(key, self.settings.stop_grace);
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Started { key, pid } => {
                if let Some(run) = self.runs.get(&key) {
                    run.started(pid);
                }
            }
            Report::Failed { key, reason } => self.ended(key, reason),
            Report::Line { key, fd, text } => {
                if let Some(run) = self.runs.get_mut(&key) {
                    run.line(RunEvent::Line { fd, text });
                }
            }
            Report::Dropped { key, lines } => self.dropped(key, lines),
            Report::Exited {
                key,
                status,
                stderr,
                dropped,
            } => {
                self.dropped(key, dropped);
                let reason = if stderr.is_empty() {
                    status
                } else {
                    format!("{status}: {stderr}")
                };
                self.ended(key, reason);
            }
            Report::Ready | Report::Waiting { .. } | Report::Warning { .. } | Report::Refused { .. } => {}
        }
    }

    fn dropped(&mut self, key: u64, lines: u64) {
        if let Some(run) = self.runs.get_mut(&key) {
            run.dropped(lines);
        }
    }

    fn ended(&mut self, key: u64, reason: String) {
        if let Some(run) = self.runs.remove(&key) {
            run.ended(reason);
        }
    }

    /// The guard is lost: makes sure that nothing of the streams is left, and says so.
    async fn clear(&mut self, problem: &str) {
        let _ = self.guard.child.start_kill();
        let status = match self.guard.child.wait().await {
            Ok(status) => process::status_text(status),
            Err(error) => error.to_string(),
        };
        tracing::error!(%status, problem, streams = self.runs.len(), "the guard is lost; its streams are started again");
        // The kernel killed the commands with their guard; what they had started became ours.
        process::kill_children(&self.spared).await;
        let reason = format!("the guard process was lost ({status}), and the stream was ended with it");
        for (_, run) in self.runs.drain() {
            run.ended(reason.clone());
        }
    }

    /// A new guard, or who asked for the end meanwhile.
    async fn replace(&mut self) -> Result<Process, Option<oneshot::Sender<()>>> {
        let mut delay = FIRST_DELAY;
        loop {
            let error = match Process::start(&self.settings).await {
                Ok(guard) => return Ok(guard),
                Err(error) => error,
            };
            let reason = chain(&error);
            tracing::error!(error = %reason, retry_in_ms = millis(delay), "no new guard");
            let retry_at = tokio::time::Instant::now() + delay;
            loop {
                tokio::select! {
                    () = sleep_until(retry_at) => break,
                    request = self.requests.recv() => match request {
                        Some(Request::Launch { run, .. }) => run.ended(reason.clone()),
                        // Nothing runs.
                        Some(Request::Stop { .. }) => {}
                        Some(Request::End { done }) => return Err(Some(done)),
                        None => return Err(None),
                    },
                }
            }
            delay = LONGEST_DELAY.min(delay * 2);
        }
    }

    async fn end(&mut self) {
        let ended = async {
            let _ = self.guard.orders.push(&Order::End);
            while !self.guard.orders.is_empty() && self.guard.orders.write_some().await.is_ok() {}
            self.guard.child.wait().await.is_ok()
        };
        let patience = self.settings.stop_grace + MARGIN;
        if timeout(patience, ended).await != Ok(true) {
            tracing::error!(
                patience_ms = millis(patience),
                "the guard does not end and is killed"
            );
            let _ = self.guard.child.kill().await;
            process::kill_children(&self.spared).await;
        }
    }
}

impl Process {
    async fn start(settings: &GuardSettings) -> Result<Self, GuardError> {
        let lock_wait = LOCK_WAIT.max(settings.stop_grace + MARGIN);
        let mut guard = Self::spawn(settings)?;
        let hello = Order::Hello(Hello {
            worker: settings.identity.worker.clone(),
            session: settings.identity.session,
            boot_id: settings.identity.boot_id.clone(),
            connect: (&settings.connect).into(),
            grace_ms: millis(settings.stop_grace),
            lock: settings.lock.clone(),
            lock_wait_ms: millis(lock_wait),
            output: settings.output,
            limits: settings.limits,
        });
        let not_a_guard = |problem: String| GuardError::NotAGuard {
            program: settings.program.clone(),
            problem,
        };
        guard.orders.push(&hello).map_err(not_a_guard)?;
        let ready = timeout(lock_wait + MARGIN, async {
            while !guard.orders.is_empty() {
                guard
                    .orders
                    .write_some()
                    .await
                    .map_err(|error| not_a_guard(error.to_string()))?;
            }
            loop {
                match guard.reports.next().await {
                    Ok(Some(Report::Ready)) => return Ok(()),
                    Ok(Some(Report::Waiting { reason } | Report::Warning { reason })) => {
                        tracing::warn!("guard: {reason}");
                    }
                    Ok(Some(Report::Refused { reason })) => return Err(GuardError::Refused(reason)),
                    Ok(Some(_)) => {
                        return Err(not_a_guard("it reports streams before it is ready".to_owned()));
                    }
                    Ok(None) => return Err(not_a_guard("it ended at once".to_owned())),
                    Err(error) => return Err(not_a_guard(error.to_string())),
                }
            }
        });
        let result = ready
            .await
            .unwrap_or_else(|_| Err(not_a_guard("it is not ready in time".to_owned())));
        match result {
            Ok(()) => Ok(guard),
            Err(error) => {
                let _ = guard.child.kill().await;
                Err(error)
            }
        }
    }

    fn spawn(settings: &GuardSettings) -> Result<Self, GuardError> {
        let failed = |source| GuardError::Spawn {
            program: settings.program.clone(),
            source,
        };
        let mut child = Command::new(&settings.program)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C in the terminal is meant for the agent.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        match child.stdin.take().zip(child.stdout.take()) {
            Some((orders, reports)) => Ok(Self {
                child,
                orders: Outbox::new(orders),
                reports: LineReader::new(reports),
            }),
            None => Err(failed(std::io::ErrorKind::BrokenPipe.into())),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The error with its causes.
fn chain(error: &GuardError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
