//! A server that outlived its orchestrator: it is taken over where it is the one that we would start, so that no worker
//! loses its connection, and ended otherwise, because two servers would write the same store.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::time::Instant;

use super::config::{ORCHESTRATOR, PID_FILE, runs};
use super::files::failed;
use super::launch::Launcher;
use super::process::Running;
use super::{ManagedError, STOP_TIMEOUT};

/// How often it is looked whether the server has ended. It is not our child, so nobody tells us.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A server that does not answer within this time is ended.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes over the server that an earlier run left. None where there is none; one that is not as we would start it has been
/// ended then.
pub(super) async fn take_over(launcher: &mut Launcher) -> Result<Option<Running>, ManagedError> {
    let Some(server) = survivor(&launcher.folder) else {
        return Ok(None);
    };
    let pid = server.as_raw_nonzero().get();
    match adopt(launcher, server).await {
        Ok(running) => {
            tracing::info!(
                pid,
                port = launcher.port,
                "nats-server of an earlier run goes on; workers keep their connections"
            );
            Ok(Some(running))
        }
        Err(reason) => {
            tracing::warn!(
                pid,
                reason,
                "nats-server of an earlier run is still there and is ended"
            );
            terminate(launcher, server).await?;
            Ok(None)
        }
    }
}

/// The server whose process id the folder names, if it still runs and is ours.
fn survivor(folder: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(folder.join(PID_FILE)).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    is_ours(pid, folder).then_some(pid)
}

async fn adopt(launcher: &mut Launcher, server: Pid) -> Result<Running, String> {
    let words = launcher.words();
    let keeper = if launcher.linger.is_empty() {
        server
    } else {
        parent(server).ok_or("nobody looks after it")?
    };
    // From here on the number is known to be this process's: whoever it names later, the handle does not.
    let handle = open(keeper)?;
    if command_line(keeper) != words {
        return Err("it was started in another way".to_owned());
    }
    let program = std::fs::canonicalize(&launcher.program).ok();
    if program.is_none() || std::fs::read_link(format!("/proc/{}/exe", number(server))).ok() != program {
        return Err("its program has been replaced".to_owned());
    }
    let port = launcher.listening().ok_or("it does not listen")?;
    if !launcher.is_configured(port) {
        return Err("its configuration is another one".to_owned());
    }
    answers(launcher, port).await?;
    let running = Running::adopt(handle).map_err(|error| error.to_string())?;
    launcher.port = port;
    Ok(running)
}

fn open(pid: Pid) -> Result<OwnedFd, String> {
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| format!("it cannot be watched: {error}"))
}

/// Whether it lets us in.
async fn answers(launcher: &Launcher, port: u16) -> Result<(), String> {
    let password = launcher.credentials.orchestrator.clone();
    let options = async_nats::ConnectOptions::with_user_and_password(ORCHESTRATOR.to_owned(), password);
    let connected = options.connect(format!("nats://127.0.0.1:{port}"));
    match tokio::time::timeout(ANSWER_TIMEOUT, connected).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("it does not let us in: {error}")),
        Err(_) => Err(format!("it does not answer within {ANSWER_TIMEOUT:?}")),
    }
}

async fn terminate(launcher: &Launcher, pid: Pid) -> Result<(), ManagedError> {
    let (folder, path) = (&launcher.folder, launcher.folder.join(PID_FILE));
    for signal in [Signal::TERM, Signal::KILL] {
        if !is_ours(pid, folder) {
            return Ok(());
        }
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(failed(&path, "stop the server that it names")(error.into())),
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while is_ours(pid, folder) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    if is_ours(pid, folder) {
        let stuck = std::io::Error::other("it survives SIGKILL");
        return Err(failed(&path, "stop the server that it names")(stuck));
    }
    Ok(())
}

/// Whether the process runs with our configuration file. Process ids are used again, so the number proves nothing; a
/// process that has ended, reaped or not, has no command line.
fn is_ours(pid: Pid, folder: &Path) -> bool {
    runs(&command_line(pid), folder)
}

fn command_line(pid: Pid) -> Vec<OsString> {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", number(pid))).unwrap_or_default();
    let words = bytes
        .strip_suffix(&[0])
        .unwrap_or(&bytes)
        .split(|byte| *byte == 0);
    words.map(|word| OsStr::from_bytes(word).to_owned()).collect()
}

fn parent(pid: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", number(pid))).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Pid::from_raw(parent.trim().parse().ok()?)
}

const fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
