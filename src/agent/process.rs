//! Processes as the kernel shows them: groups, children, reaping. No judgement, only calls.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Signal, WaitId, WaitIdOptions, WaitOptions, getrlimit, setrlimit};

/// Set in the environment of every command to a value of its own. A process that has left its group and lost its
/// parent is still recognized by it.
pub(crate) const RUN_VARIABLE: &str = "STREAMKEEPER_RUN";
/// Between two looks at processes that are being killed.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Two pipes per command: with the usual soft limit of 1,024 open files a guard would end at some 500 commands. Where
/// it may not be raised, a start that goes beyond it fails and says so.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Makes this process the parent of every descendant that loses its own.
pub(crate) fn become_subreaper() -> rustix::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Signals a whole group. One that is gone is as good as signalled.
pub(crate) fn signal_group(leader: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(leader, signal);
}

/// Whether no process of the group is left, zombies included.
pub(crate) fn group_is_empty(leader: Pid) -> bool {
    rustix::process::test_kill_process_group(leader) == Err(Errno::SRCH)
}

/// Whether a child has ended. It stays a zombie: its number, and so its group's, cannot be given away meanwhile.
pub(crate) fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(rustix::process::waitid(WaitId::Pid(child), options), Ok(Some(_)))
}

/// Reaps one child, if it has ended.
pub(crate) fn reap(child: Pid) -> Option<ExitStatus> {
    let (_, status) = rustix::process::waitpid(Some(child), WaitOptions::NOHANG).ok()??;
    Some(ExitStatus::from_raw(status.as_raw()))
}

/// Reaps any child that has ended.
pub(crate) fn reap_any() -> Option<(Pid, ExitStatus)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok()??;
    Some((pid, ExitStatus::from_raw(status.as_raw())))
}

/// The children of this process. Not every kernel lists them, so this looks at all processes.
pub(crate) fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| parent(*pid).as_deref() == Some(&own))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; after it come the state and the parent.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1).map(str::to_owned)
}

/// The value of [`RUN_VARIABLE`] in the environment that a process was started with.
pub(crate) fn run_marker(pid: Pid) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    let value = environment.split(|byte| *byte == 0).find_map(|entry| {
        entry
            .strip_prefix(RUN_VARIABLE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
    })?;
    String::from_utf8(value.to_vec()).ok()
}

/// Kills an orphan, with the group that it leads.
pub(crate) fn kill_orphan(pid: Pid) {
    if rustix::process::getpgid(Some(pid)) == Ok(pid) {
        signal_group(pid, Signal::KILL);
    }
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

/// Kills and reaps children until none is left but the spared ones. Whoever loses its parent on the way becomes a
/// child of this subreaper, and is found in the next round.
///
/// Ends only when it is true: a process that cannot be killed (it hangs in the kernel) is waited for.
pub(crate) async fn kill_children(spared: &HashSet<Pid>) {
    loop {
        let mut found = false;
        for child in children().into_iter().filter(|child| !spared.contains(child)) {
            found = true;
            kill_orphan(child);
            let _ = reap(child);
        }
        if !found {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// `exit status 1`, `killed by signal 9 (SIGKILL)`.
pub(crate) fn status_text(status: ExitStatus) -> String {
    let text = status.to_string().replacen(": ", " ", 1);
    if status.signal().is_some() {
        format!("killed by {text}")
    } else {
        text
    }
}
