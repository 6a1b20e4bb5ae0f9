//! One process of the demo or of a bench: a child that cannot outlive this one, with its own log.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::failure::Failure;

/// How many lines of a log are shown.
const TAIL_LINES: usize = 20;
/// How many bytes of a log are read for that.
const TAIL_BYTES: u64 = 16 * 1024;
/// Longest wait for an orderly end.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// A child process: this same program, or one that it needs.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// None for this one.
    program: Option<OsString>,
    args: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
    /// Since when it is known to have ended.
    down: Option<Instant>,
}

impl Part {
    pub(crate) fn new(name: &str, args: Vec<OsString>, logs: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: None,
            args,
            log: logs.join(format!("{name}.log")),
            child: None,
            down: None,
        }
    }

    /// Another program.
    pub(crate) fn of(name: &str, program: OsString, args: Vec<OsString>, logs: &Path) -> Self {
        Self {
            program: Some(program),
            ..Self::new(name, args, logs)
        }
    }

    /// Starts it. Must be called on the main thread: the tether holds to the thread that starts a child.
    pub(crate) fn start(&mut self) -> Result<u32, Failure> {
        let log = || OpenOptions::new().create(true).append(true).open(&self.log);
        let failed =
            |error: std::io::Error| Failure::failed(format!("{}: cannot be started: {error}", self.name));
        let mut command = own_program()?;
        let program = self.program.clone().map_or_else(crate::program, Ok)?;
        command
            .args(["tether", "KILL", &std::process::id().to_string(), "--"])
            .arg(program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log().map_err(failed)?)
            .stderr(log().map_err(failed)?)
            // Ctrl-C is for this process, which then ends everything in order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        self.child = Some(child);
        self.down = None;
        Ok(pid)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// How it ended, if it did though it should run.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// For how long it has been down; zero at the first time.
    pub(crate) fn down_for(&mut self) -> Duration {
        match self.down {
            Some(since) => since.elapsed(),
            None => {
                self.down = Some(Instant::now());
                Duration::ZERO
            }
        }
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .await
                .map_err(|error| Failure::failed(format!("{}: cannot be killed: {error}", self.name)))?;
        }
        Ok(())
    }

    /// Asks for an orderly end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits for the orderly end, and ends it where it does not come.
    pub(crate) async fn join(&mut self) {
        if let Some(mut child) = self.child.take()
            && tokio::time::timeout(STOP_GRACE, child.wait()).await.is_err()
        {
            // Its death is what is wanted; that it is dead already is no failure.
            let _ = child.kill().await;
        }
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        let text = read_end(&self.log).unwrap_or_else(|error| format!("cannot be read: {error}"));
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.len().saturating_sub(TAIL_LINES);
        let shown: Vec<String> = lines
            .iter()
            .skip(start)
            .map(|line| format!("  | {line}"))
            .collect();
        format!("{}, the end:\n{}", self.log.display(), shown.join("\n"))
    }
}

/// This program, without the settings of this shell: demo and benches are the same wherever they run.
pub(crate) fn own_program() -> Result<Command, Failure> {
    let mut command = Command::new(crate::program()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STREAMKEEPER_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

fn read_end(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::new("serve", Vec::new(), folder.path());
        assert!(part.tail().contains("cannot be read"));
        let lines: Vec<String> = (0..50_000).map(|line| format!("line {line}")).collect();
        std::fs::write(&part.log, lines.join("\n")).unwrap();
        let tail = part.tail();
        assert_eq!(tail.lines().count(), TAIL_LINES + 1);
        assert!(tail.ends_with("  | line 49999"), "{tail}");
    }
}
