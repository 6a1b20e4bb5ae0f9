//! The hidden verb `tether`: becomes another program that is killed when its parent dies.
//!
//! The kernel's parent death signal has to be asked for by the child itself, between fork and exec. Without unsafe
//! code that takes a program of its own: this one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::process::Signal;

/// Before the signal: tell the outcome on stdin, a pipe (nothing: the program runs), and give the program none.
pub(crate) const REPORT: &str = "--report";
/// After that, with a folder, once or twice: join this cgroup first.
pub(crate) const CGROUP: &str = "--cgroup";
const USAGE: &str = "usage: tether [--report] [--cgroup DIR]… SIGNAL PARENT_PID -- PROGRAM ARGS…, \
                     with SIGNAL one of KILL, TERM, INT, HUP, QUIT";
const EXIT_USAGE: u8 = 2;
/// As shells have it: there, but not to be executed.
const EXIT_REFUSED: u8 = 126;
/// As shells have it: not found.
const EXIT_NOT_FOUND: u8 = 127;

/// Runs `tether [--report] [--cgroup DIR]… SIGNAL PARENT_PID -- PROGRAM ARGS…`, without the verb itself.
///
/// The process becomes PROGRAM. It gets SIGNAL when its parent ends: the *thread* that started it, so it has to be
/// started by a thread that lives as long as it shall. If the parent is not PARENT_PID (any more), nothing is run. The
/// system drops the tie for programs that change their user (setuid). Returns only when the program was not run:
/// 127 if it was not found, 126 if it was refused, 2 for wrong arguments, each with one line on stderr.
pub fn tether_main(args: Vec<OsString>) -> ExitCode {
    let problem = match Tether::parse(args) {
        Ok(tether) => tether.become_program(),
        Err(problem) => problem,
    };
    let _ = match problem.told {
        Some(report) => File::from(report).write_all(problem.text.as_bytes()),
        None => writeln!(io::stderr(), "{}", problem.text),
    };
    ExitCode::from(problem.code)
}

struct Problem {
    code: u8,
    text: String,
    /// Where to tell it; stderr if nowhere else.
    told: Option<OwnedFd>,
}

impl Problem {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            told: None,
        }
    }
}

struct Tether {
    report: bool,
    cgroups: Vec<PathBuf>,
    signal: Signal,
    parent: i32,
    program: OsString,
    args: Vec<OsString>,
}

impl Tether {
    fn parse(args: Vec<OsString>) -> Result<Self, Problem> {
        let usage = || Problem::new(EXIT_USAGE, USAGE);
        let mut args = args.into_iter().peekable();
        let report = args.next_if(|arg| arg == REPORT).is_some();
        let mut cgroups = Vec::new();
        while args.next_if(|arg| arg == CGROUP).is_some() {
            cgroups.push(args.next().ok_or_else(usage)?.into());
        }
        let signal = args.next().as_deref().and_then(|name| signal(name.to_str()?));
        let parent = args.next().and_then(|pid| pid.to_str()?.parse().ok());
        // Argument parsers in front of this may have taken the separator.
        let _ = args.next_if(|arg| arg == "--");
        Ok(Self {
            report,
            cgroups,
            signal: signal.ok_or_else(usage)?,
            parent: parent.ok_or_else(usage)?,
            program: args.next().ok_or_else(usage)?,
            args: args.collect(),
        })
    }

    fn become_program(self) -> Problem {
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(self.signal)) {
            return Problem::new(
                EXIT_REFUSED,
                format!("tether: the system refuses the tie to the parent: {error}"),
            );
        }
        // Asked only now: a parent that died before the tie was there would never be noticed.
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        if parent != Some(self.parent) {
            return Problem::new(EXIT_REFUSED, format!("tether: parent {} is gone", self.parent));
        }
        let told = match self.report.then(take_stdin).transpose() {
            Ok(told) => told,
            Err(error) => return Problem::new(EXIT_REFUSED, format!("tether: stdin: {error}")),
        };
        for folder in &self.cgroups {
            let Err(error) = std::fs::write(folder.join("cgroup.procs"), "0") else {
                continue;
            };
            let text = format!(
                "cgroup {}: cannot be joined: {error}; start the agent again, or without limits",
                folder.display()
            );
            let code = EXIT_REFUSED;
            return Problem { code, text, told };
        }
        let error = Command::new(&self.program).args(&self.args).exec();
        let (code, text) = explain(&self.program, &error);
        Problem { code, text, told }
    }
}

fn signal(name: &str) -> Option<Signal> {
    match name {
        "KILL" => Some(Signal::KILL),
        "TERM" => Some(Signal::TERM),
        "INT" => Some(Signal::INT),
        "HUP" => Some(Signal::HUP),
        "QUIT" => Some(Signal::QUIT),
        _ => None,
    }
}

/// Keeps stdin for the report, where a successful exec closes it, and puts `/dev/null` in its place.
fn take_stdin() -> io::Result<OwnedFd> {
    let kept = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(kept)
}

fn explain(program: &OsString, error: &io::Error) -> (u8, String) {
    let name = program.to_string_lossy();
    match error.kind() {
        ErrorKind::NotFound if !name.contains('/') => (
            EXIT_NOT_FOUND,
            format!("{name}: not found; install it, or write its full path in the command"),
        ),
        ErrorKind::NotFound if Path::new(program).exists() => (
            EXIT_NOT_FOUND,
            format!(
                "{name}: its interpreter is not found; install what its first line (or its loader) names"
            ),
        ),
        ErrorKind::NotFound => (
            EXIT_NOT_FOUND,
            format!("{name}: not found; correct the path in the command"),
        ),
        ErrorKind::PermissionDenied => (
            EXIT_REFUSED,
            format!("{name}: may not be executed; it must be a file with the right to execute (chmod +x)"),
        ),
        _ => (EXIT_REFUSED, format!("{name}: cannot be executed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Tether> {
        Tether::parse(text.split_whitespace().map(OsString::from).collect()).ok()
    }

    #[test]
    fn arguments() {
        let tether = parsed("--report KILL 7 -- prog -x -- y").unwrap();
        assert!(tether.report && tether.parent == 7 && tether.signal == Signal::KILL);
        assert_eq!(
            (tether.program, tether.args),
            ("prog".into(), vec!["-x".into(), "--".into(), "y".into()])
        );
        assert!(!parsed("TERM 7 prog").unwrap().report);
        let limited = parsed("--report --cgroup /c/x KILL 7 -- prog").unwrap();
        assert_eq!(limited.cgroups, [PathBuf::from("/c/x")]);
        assert_eq!(
            parsed("--cgroup /c --cgroup /d TERM 7 prog").unwrap().cgroups,
            [PathBuf::from("/c"), PathBuf::from("/d")]
        );
        for bad in [
            "",
            "KILL",
            "--cgroup",
            "--cgroup KILL 7 prog",
            "--cgroup /c --cgroup",
            "KILL x -- p",
            "NOISE 7 -- p",
            "KILL 7",
            "KILL 7 --",
        ] {
            assert!(parsed(bad).is_none(), "{bad}");
        }
    }
}
