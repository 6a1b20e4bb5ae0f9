//! A child process of a test: its output goes to a file, and it ends with the test, however the test ends.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

const TAIL_LINES: usize = 40;

/// A running child with its log.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `program` with both outputs appended to `log`. It is killed when the calling thread ends: a test that is
    /// killed itself leaves nothing behind.
    ///
    /// # Panics
    /// Panics where the program cannot be started.
    pub fn spawn(name: &str, program: &Path, log: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        prepare(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(append(log))
            .stderr(append(log));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {}: {error}", program.display()));
        Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// Panics where the process is gone and was waited for.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
    }

    /// Kills with SIGKILL and waits for the end.
    pub fn kill9(&mut self) {
        // Both fail only where the process has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The exit status, where the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// Panics with the tail of the log where the process goes on.
    pub async fn wait(&mut self) -> ExitStatus {
        let ended = wait::until(wait::GENEROUS, async || {
            self.ended().ok_or_else(|| "it is running".to_owned())
        })
        .await;
        ended.unwrap_or_else(|reason| panic!("{} did not end: {reason}\n{}", self.name, self.tail()))
    }

    /// The last lines of the log, under a heading that names the process.
    pub fn tail(&self) -> String {
        tail(&self.name, &self.log)
    }

    /// Everything that the process has written.
    pub fn output(&self) -> String {
        read(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The last lines of a log, under a heading.
pub fn tail(name: &str, log: &Path) -> String {
    let text = read(log);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    format!("--- {name}: end of the log\n{}\n", lines[from..].join("\n"))
}

fn read(log: &Path) -> String {
    std::fs::read(log).map_or_else(
        |error| format!("{}: {error}", log.display()),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

fn append(log: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap_or_else(|error| panic!("{}: {error}", log.display()))
}

/// Finds a program on PATH and in the folders of system programs, which are often not on a user's PATH.
///
/// # Panics
/// Panics where it is not installed.
pub fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run `make setup`"))
}
