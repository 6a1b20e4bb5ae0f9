//! The server as a child process.

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::{oneshot, watch};

/// A child that runs, or has ended. Dropping it kills the child.
#[derive(Debug)]
pub(super) struct Running {
    pid: Pid,
    /// Whether the child is reaped: from then on its number may belong to somebody else.
    reaped: Arc<Mutex<bool>>,
    status: watch::Receiver<Option<String>>,
}

impl Running {
    /// Starts a child from a thread of its own, which then waits for it: a tethered child dies with the thread that
    /// started it, and threads of a runtime come and go.
    pub(super) async fn spawn(command: Command) -> io::Result<Self> {
        let (started_tx, started) = oneshot::channel();
        let (status_tx, status) = watch::channel(None);
        let reaped = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&reaped);
        let thread = std::thread::Builder::new().name("nats-server".to_owned());
        thread.spawn(move || host(command, started_tx, &status_tx, &flag))?;
        let gone = || io::Error::other("the thread that starts it ended");
        let pid = started.await.map_err(|_| gone())??;
        Ok(Self { pid, reaped, status })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for the end, and says how it was.
    pub(super) async fn ended(&mut self) -> String {
        let status = self.status.wait_for(Option::is_some).await;
        let text = status.ok().and_then(|status| status.clone());
        text.unwrap_or_else(|| "nobody knows how".to_owned())
    }

    /// SIGTERM, and SIGKILL for who does not end in time.
    pub(super) async fn end(&mut self, timeout: Duration) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(timeout, self.ended()).await.is_err() {
            tracing::warn!("nats-server did not end within {timeout:?} and is killed");
            self.signal(Signal::KILL);
            self.ended().await;
        }
    }

    fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped && let Err(error) = kill_process(self.pid, signal) {
            tracing::warn!("cannot signal nats-server: {error}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The thread: starts the child, waits until it ends, reaps it.
fn host(
    mut command: Command,
    started: oneshot::Sender<io::Result<Pid>>,
    status: &watch::Sender<Option<String>>,
    reaped: &Mutex<bool>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let pid = Pid::from_child(&child);
    if started.send(Ok(pid)).is_err() {
        // Whoever wanted it is gone already.
        let _ = child.kill();
    }
    // The number stays the child's until it is reaped, which happens under the lock that senders of signals hold.
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
    let ended = {
        let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
        *reaped = true;
        child.wait()
    };
    let text = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
    status.send_replace(Some(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENEROUS: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn the_end_is_told() {
        let mut child = Running::spawn(shell("exit 3")).await.unwrap();
        assert_eq!(child.ended().await, "exit status: 3");
        child.end(GENEROUS).await;
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed() {
        let ready = tempfile::NamedTempFile::new().unwrap();
        let script = format!(
            "trap '' TERM; echo up > {}; while :; do sleep 1; done",
            ready.path().display()
        );
        let mut child = Running::spawn(shell(&script)).await.unwrap();
        while std::fs::read(ready.path()).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.end(Duration::from_millis(100)).await;
        assert_eq!(child.ended().await, "signal: 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn a_dropped_child_is_killed() {
        let child = Running::spawn(shell("exec sleep 1000")).await.unwrap();
        let mut status = child.status.clone();
        drop(child);
        let ended = tokio::time::timeout(GENEROUS, status.wait_for(Option::is_some));
        assert_eq!(
            ended.await.unwrap().unwrap().as_deref(),
            Some("signal: 9 (SIGKILL)")
        );
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let error = Running::spawn(Command::new("/no/such/program"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
