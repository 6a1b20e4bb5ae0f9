//! The server as a process: our child, or one that an earlier run left.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, pidfd_send_signal, waitid};
use tokio::sync::{oneshot, watch};

/// A process that runs, or has ended. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    status: watch::Receiver<Option<String>>,
}

/// How signals reach it and nobody else.
#[derive(Debug)]
enum Process {
    Child {
        pid: Pid,
        /// Whether the child is reaped: from then on its number may belong to somebody else.
        reaped: Arc<Mutex<bool>>,
    },
    /// Somebody else's child, by a handle that means this process for ever.
    Adopted(Arc<OwnedFd>),
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
        let process = Process::Child { pid, reaped };
        Ok(Self { process, status })
    }

    /// Takes over a process that is not our child, by its handle.
    pub(super) fn adopt(handle: OwnedFd) -> io::Result<Self> {
        let handle = Arc::new(handle);
        let (told, status) = watch::channel(None);
        let watched = Arc::clone(&handle);
        let thread = std::thread::Builder::new().name("nats-server".to_owned());
        thread.spawn(move || {
            // The handle becomes readable when the process ends.
            let mut handles = [PollFd::new(&*watched, PollFlags::IN)];
            let text = loop {
                match poll(&mut handles, None) {
                    Ok(_) => break "only its parent knows how".to_owned(),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => break format!("it cannot be watched any more: {error}"),
                }
            };
            told.send_replace(Some(text));
        })?;
        let process = Process::Adopted(handle);
        Ok(Self { process, status })
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
        let sent = match &self.process {
            Process::Child { pid, reaped } => {
                let reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
                if *reaped {
                    return;
                }
                kill_process(*pid, signal)
            }
            Process::Adopted(handle) => pidfd_send_signal(handle, signal),
        };
        match sent {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::warn!("cannot signal nats-server: {error}"),
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
    use rustix::process::{PidfdFlags, pidfd_open};

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
    async fn an_adopted_process_is_ended_as_a_child_is_and_its_end_is_told() {
        let mut parent = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let handle = pidfd_open(Pid::from_child(&parent), PidfdFlags::empty()).unwrap();
        let mut adopted = Running::adopt(handle).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), adopted.ended());
        assert!(early.await.is_err(), "it runs");
        adopted.end(GENEROUS).await;
        let status = parent.wait().unwrap();
        assert_eq!(status.to_string(), "signal: 15 (SIGTERM)");
        // Its number may be somebody else's by now.
        drop(adopted);
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let error = Running::spawn(Command::new("/no/such/program"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
