//! A server that a crashed predecessor left behind is ended before a new one starts: both would write the same store.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::ManagedError;
use super::config::{PID_FILE, runs};
use super::files::failed;

/// How often it is looked whether the server has ended. It is not our child, so nobody tells us.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Ends the server whose process id the folder names, if it still runs and is ours.
pub(super) async fn terminate(folder: &Path, timeout: Duration) -> Result<(), ManagedError> {
    let path = folder.join(PID_FILE);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    for signal in [Signal::TERM, Signal::KILL] {
        if !is_ours(pid, folder) {
            return Ok(());
        }
        tracing::warn!(
            pid = pid.as_raw_nonzero().get(),
            "nats-server of an earlier run is still there and gets {signal:?}"
        );
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(failed(&path, "stop the server that it names")(error.into())),
        }
        let deadline = Instant::now() + timeout;
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
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    cmdline.is_ok_and(|cmdline| runs(&cmdline, folder))
}
