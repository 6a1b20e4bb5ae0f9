//! The hidden verb `guard`: the process that starts the agent's commands and outlives the agent, until nothing of them
//! is left.
//!
//! It is the parent of every command and the subreaper of all that they start, so it alone can prove that a stream
//! has ended. It holds a lock as long as something may run: the guard of the worker's next life waits for it. When
//! the agent dies, in whatever way, the guard's stdin closes: the guard ends everything, and then tells the leader
//! that the session is gone, so that its streams are placed anew without waiting for a time-out.

mod cgroup;
mod lease;
mod lock;
mod output;
mod ward;

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use streamkeeper_worker::{ConnectSource, Lease, Millis, send_farewell};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::process;
use crate::wire::{Hello, LineReader, Order, Outbox, Report};
use cgroup::Cgroups;
use ward::{Outcome, WardSettings, Wards};

/// Starts whose outcome is not taken in yet.
const MAX_OUTCOMES: usize = 64;
/// Lines of output that wait for the agent, of all commands.
const MAX_LINES: usize = 1024;
/// Longest time without a look at the commands while they are being ended.
const MAX_NAP: Duration = Duration::from_secs(1);
const EXIT_USAGE: u8 = 2;

/// Runs the guard of one agent; for the hidden verb `guard`, which only an agent calls.
///
/// Must be called on the main thread: the commands are tied to the life of the thread that starts them.
pub fn guard_main() -> ExitCode {
    process::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.and_then(|runtime| {
        let result = runtime.block_on(guard());
        // A look-up of a host name must not hold the process.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "guard: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Why the guard ends.
#[derive(PartialEq, Eq)]
enum End {
    /// The agent said so.
    Ordered,
    /// The agent is gone.
    AgentGone,
}

async fn guard() -> io::Result<()> {
    let _ignored = ignore_signals()?;
    process::become_subreaper()?;
    let not_a_pipe = |error| {
        io::Error::other(format!(
            "stdin and stdout must be an agent's pipes; run an agent instead: {error}"
        ))
    };
    let mut input = LineReader::new(
        Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?).map_err(not_a_pipe)?,
    );
    let mut output =
        Outbox::new(Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?).map_err(not_a_pipe)?);
    let Some(Order::Hello(hello)) = input.next().await? else {
        return Ok(());
    };
    let Some((lock, cgroups)) = lock::take(&hello, &mut input, &mut output).await else {
        return Ok(());
    };
    let grace = Duration::from_millis(hello.grace_ms);
    let mut keeper = Keeper::new(&hello, cgroups, input, output)?;
    let end = keeper.serve().await;
    keeper.wind_down(grace).await;
    drop(lock);
    if end == End::AgentGone {
        // Nobody is left to be told of a failure; the leader's time-outs stand in for the message.
        let _ = send_farewell(&ConnectSource::from(hello.connect.clone()), &hello.identity()).await;
    }
    Ok(())
}

/// The guard's end is the agent's end: what is meant for the agent must not take the guard along. The signals are
/// caught, not ignored, because ignored ones would be ignored by the commands too.
fn ignore_signals() -> io::Result<Vec<Signal>> {
    [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ]
    .map(signal)
    .into_iter()
    .collect()
}

/// The guard at work.
struct Keeper {
    input: LineReader<Receiver>,
    output: Outbox<Sender>,
    outcomes: mpsc::Receiver<Outcome>,
    lines: mpsc::Receiver<Report>,
    child_ended: Signal,
    wards: Wards,
}

impl Keeper {
    fn new(
        hello: &Hello,
        cgroups: Option<Cgroups>,
        input: LineReader<Receiver>,
        output: Outbox<Sender>,
    ) -> io::Result<Self> {
        let (outcome_sender, outcomes) = mpsc::channel(MAX_OUTCOMES);
        let (line_sender, lines) = mpsc::channel(MAX_LINES);
        Ok(Self {
            input,
            output,
            outcomes,
            lines,
            child_ended: signal(SignalKind::child())?,
            wards: Wards::new(WardSettings {
                life: format!("{}-{}", hello.session, std::process::id()),
                output: hello.output,
                cgroups,
                outcomes: outcome_sender,
                lines: line_sender,
            }),
        })
    }

    async fn serve(&mut self) -> End {
        loop {
            let deadline = self.wards.next_deadline(Instant::now());
            tokio::select! {
                order = self.input.next(), if !self.output.is_full() => match order {
                    Ok(Some(order)) => if self.obey(order) { return End::Ordered },
                    // An agent that sends what no agent sends is as good as gone.
                    Ok(None) | Err(_) => return End::AgentGone,
                },
                result = self.output.write_some(), if !self.output.is_empty() => if result.is_err() {
                    return End::AgentGone;
                },
                Some(outcome) = self.outcomes.recv() => {
                    let started = self.wards.outcome(outcome);
                    self.tell(started);
                    self.sweep();
                }
                // An agent that is slow to read costs lines: they wait in their queue, which takes no more then.
                Some(line) = self.lines.recv(), if !self.output.is_crowded() => self.tell([line]),
                _ = self.child_ended.recv() => self.sweep(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.sweep(),
            }
        }
    }

    /// Whether the order was to end.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Start(start) => {
                let failed = self.wards.start(start).err();
                self.tell(failed);
            }
            Order::Stop { key, grace_ms } => {
                self.wards
                    .stop(key, Instant::now(), Duration::from_millis(grace_ms));
            }
            Order::Lease {
                stop_at_ms,
                kill_at_ms,
            } => {
                self.wards.renew(Lease {
                    stop_at: Millis(stop_at_ms),
                    kill_at: Millis(kill_at_ms),
                });
            }
            Order::End => return true,
            Order::Hello(_) => {}
        }
        false
    }

    fn sweep(&mut self) {
        let reports = self.wards.sweep(Instant::now());
        if !reports.is_empty() {
            // What a command wrote comes before its end.
            while let Ok(line) = self.lines.try_recv() {
                self.tell([line]);
            }
        }
        self.tell(reports);
    }

    fn tell(&mut self, reports: impl IntoIterator<Item = Report>) {
        for report in reports {
            // Reports are short: none is refused.
            let _ = self.output.push(&report);
        }
    }

    /// Ends and reaps everything, what escaped included.
    async fn wind_down(&mut self, grace: Duration) {
        self.wards.stop_all(Instant::now(), grace);
        while !self.wards.is_empty() {
            let now = Instant::now();
            let deadline = self.wards.next_deadline(now).unwrap_or(now + MAX_NAP);
            tokio::select! {
                Some(outcome) = self.outcomes.recv() => drop(self.wards.outcome(outcome)),
                _ = self.child_ended.recv() => {}
                () = sleep_until(deadline.min(now + MAX_NAP)) => {}
            }
            self.wards.sweep(Instant::now());
        }
        process::kill_children(&HashSet::new()).await;
    }
}
