//! The beginning of a guard: the lock that says "something of this worker may still run", then the limits.

use std::fs::{File, TryLockError};
use std::time::Duration;

use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::{Instant, sleep};

use super::cgroup::Cgroups;
use crate::wire::{Hello, LineReader, Order, Outbox, Report};

/// Between two attempts.
const ATTEMPT_GAP: Duration = Duration::from_millis(50);

/// Takes the lock, prepares what limits commands, and says so; none if there will be no guard: the agent is gone, or
/// was told why.
pub(super) async fn take(
    hello: &Hello,
    input: &mut LineReader<Receiver>,
    output: &mut Outbox<Sender>,
) -> Option<(File, Option<Cgroups>)> {
    let mut taken = None;
    tokio::select! {
        result = wait(hello, output) => {
            // Only now: cgroups of the worker's former life are removed on the way.
            let prepared = match result {
                Ok(file) => limits(hello, output).await.map(|cgroups| (file, cgroups)),
                Err(reason) => Err(reason),
            };
            let report = match prepared {
                Ok(both) => {
                    taken = Some(both);
                    Report::Ready
                }
                Err(reason) => Report::Refused { reason },
            };
            tell(output, &report).await;
        }
        // Nothing is ordered before the guard is ready: this is the agent's end.
        _ = input.next::<Order>() => {}
    }
    taken
}

/// What limits commands, if that is wanted; where it cannot be had, a reason to refuse or to warn.
async fn limits(hello: &Hello, output: &mut Outbox<Sender>) -> Result<Option<Cgroups>, String> {
    if hello.limits.is_empty() {
        return Ok(None);
    }
    match Cgroups::prepare(&hello.worker, hello.limits) {
        Ok(cgroups) => Ok(Some(cgroups)),
        Err(problem) if hello.limits.required => Err(format!("commands cannot be limited: {problem}")),
        Err(problem) => {
            let reason = format!("commands run without limits: {problem}");
            tell(output, &Report::Warning { reason }).await;
            Ok(None)
        }
    }
}

async fn wait(hello: &Hello, output: &mut Outbox<Sender>) -> Result<File, String> {
    let path = hello.lock.display();
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&hello.lock)
        .map_err(|error| format!("{path}: {error}; give a state folder that this user may write"))?;
    let patience = Duration::from_millis(hello.lock_wait_ms);
    let start = Instant::now();
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() >= patience => {
                return Err(format!(
                    "{path}: still locked after {} s: another agent uses this state folder, or the streams of a former \
                     one do not end; stop it, or give another state folder",
                    patience.as_secs()
                ));
            }
            Err(TryLockError::WouldBlock) if !told => {
                told = true;
                let reason =
                    format!("{path} is locked: the streams of this worker's former life are being ended");
                tell(output, &Report::Waiting { reason }).await;
            }
            Err(TryLockError::WouldBlock) => sleep(ATTEMPT_GAP).await,
            Err(TryLockError::Error(error)) => return Err(format!("{path}: cannot be locked: {error}")),
        }
    }
}

/// Says something at once. If the agent is gone, the end of the input tells that.
async fn tell(output: &mut Outbox<Sender>, report: &Report) {
    let _ = output.push(report);
    while !output.is_empty() && output.write_some().await.is_ok() {}
}
