//! The hidden verb `linger`: runs the server for as long as an orchestrator runs, and some time longer.
//!
//! An orchestrator that is killed takes its server along if that is its child, and every worker loses its connection
//! though nothing is wrong with it. One that nobody ends would stay for ever. So this process stands between the two: it
//! looks whether anybody holds the lock that says that an orchestrator runs the server, and ends it once nobody has
//! held it for the given time. A successor takes the lock, and needs to say nothing.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::STOP_TIMEOUT;

/// How often it is looked whether the lock is held.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const USAGE: &str = "usage: linger LOCK_FILE MILLISECONDS -- PROGRAM ARGS…";
const EXIT_USAGE: u8 = 2;
const EXIT_FAILED: u8 = 1;
/// As shells have it, for a program that a signal ended: this and the signal's number.
const EXIT_SIGNAL: u8 = 128;

/// Runs `linger LOCK_FILE MILLISECONDS -- PROGRAM ARGS…`, without the verb itself: PROGRAM ends with this process,
/// on SIGTERM, and when nobody has held the lock on LOCK_FILE for so long. `tether` is the command that ties a child to
/// its parent (`PROGRAM tether`). To be called on the main thread.
#[must_use]
pub fn linger_main(args: Vec<OsString>, tether: &[OsString]) -> ExitCode {
    let Some(linger) = Linger::parse(args) else {
        return complain(USAGE, EXIT_USAGE);
    };
    // On this very thread, which lives as long as the process: the tether holds to the thread that starts a child.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(linger.run(tether))) {
        Ok(status) => {
            // Into the file that is quoted where the server did not come up.
            let _ = writeln!(io::stderr(), "{}: {status}", linger.program.display());
            exit_code(status)
        }
        Err(error) => complain(&format!("{}: {error}", linger.program.display()), EXIT_FAILED),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "linger: {text}");
    ExitCode::from(code)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let number = |code: i32| u8::try_from(code).ok();
    let code = status.code().and_then(number);
    let signal = status
        .signal()
        .and_then(number)
        .map(|signal| EXIT_SIGNAL.saturating_add(signal));
    ExitCode::from(code.or(signal).unwrap_or(EXIT_FAILED))
}

struct Linger {
    lock: PathBuf,
    time: Duration,
    program: PathBuf,
    args: Vec<OsString>,
}

impl Linger {
    fn parse(args: Vec<OsString>) -> Option<Self> {
        let mut args = args.into_iter();
        let lock = args.next()?.into();
        let time = Duration::from_millis(args.next()?.to_str()?.parse().ok()?);
        let separated = args.next()? == "--";
        Some(Self {
            lock,
            time,
            program: args.next().filter(|_| separated)?.into(),
            args: args.collect(),
        })
    }

    async fn run(&self, tether: &[OsString]) -> io::Result<ExitStatus> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut child = self.start(tether)?;
        tokio::select! {
            status = child.wait() => status,
            _ = terminate.recv() => end(&mut child).await,
            () = abandoned(&self.lock, self.time) => end(&mut child).await,
        }
    }

    fn start(&self, tether: &[OsString]) -> io::Result<Child> {
        let mut words = tether.to_vec();
        if !words.is_empty() {
            let own = std::process::id().to_string();
            words.extend(["KILL".into(), own.into(), "--".into()]);
        }
        words.push(self.program.clone().into());
        words.extend_from_slice(&self.args);
        let program = words.remove(0);
        Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
    }
}

/// SIGTERM, and SIGKILL for who does not end in time.
async fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It is not reaped yet, so the number is its own.
        kill_process(pid, Signal::TERM)?;
    }
    if let Ok(status) = tokio::time::timeout(STOP_TIMEOUT, child.wait()).await {
        return status;
    }
    child.start_kill()?;
    child.wait().await
}

/// Ends when nobody has held the lock for so long.
async fn abandoned(lock: &Path, time: Duration) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut held = Instant::now();
    loop {
        looks.tick().await;
        match is_held(lock) {
            Ok(true) => held = Instant::now(),
            Ok(false) if held.elapsed() < time => {}
            // A folder that is gone has no successor.
            Ok(false) | Err(_) => return,
        }
    }
}

/// Whether somebody holds the lock. For that it is taken for a moment: whoever comes just then has to try again.
fn is_held(lock: &Path) -> io::Result<bool> {
    match File::open(lock)?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENEROUS: Duration = Duration::from_secs(30);

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn linger(lock: &Path, time: Duration, program: &str) -> Linger {
        let mut args = words(program);
        Linger {
            lock: lock.to_owned(),
            time,
            program: args.remove(0).into(),
            args,
        }
    }

    #[test]
    fn arguments() {
        let linger = Linger::parse(words("/data/lock 1500 -- server -c file")).unwrap();
        assert_eq!(linger.time, Duration::from_millis(1_500));
        assert_eq!(
            (linger.lock, linger.program, linger.args),
            ("/data/lock".into(), "server".into(), words("-c file"))
        );
        for bad in [
            "",
            "/lock",
            "/lock x -- p",
            "/lock 1 p",
            "/lock 1 p -- q",
            "/lock 1 --",
        ] {
            assert!(Linger::parse(words(bad)).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_program_goes_on_while_the_lock_is_held_and_ends_when_it_is_free_for_long() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = File::open(file.path()).unwrap();
        held.lock().unwrap();
        let linger = linger(file.path(), Duration::from_millis(1), "sleep 1000");
        let mut run = Box::pin(linger.run(&[]));
        // Some looks long.
        let early = tokio::time::timeout(LOOK_EVERY * 4, &mut run).await;
        assert!(early.is_err(), "it ended while the lock was held: {early:?}");
        drop(held);
        let status = tokio::time::timeout(GENEROUS, run).await.unwrap().unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_anew_with_each_holder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let time = Duration::from_secs(30);
        let mut abandoned = Box::pin(abandoned(file.path(), time));
        let mut passes = async |time| tokio::time::timeout(time, &mut abandoned).await.is_ok();
        assert!(!passes(time - LOOK_EVERY * 2).await);
        let successor = File::open(file.path()).unwrap();
        successor.lock().unwrap();
        assert!(!passes(time * 10).await);
        drop(successor);
        assert!(!passes(time - LOOK_EVERY * 2).await);
        assert!(passes(LOOK_EVERY * 4).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_gone_is_not_waited_for() {
        let start = Instant::now();
        abandoned(Path::new("/no/such/lock"), GENEROUS).await;
        assert!(start.elapsed() < GENEROUS);
    }
}
