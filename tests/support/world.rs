//! One test's own world: a folder, a mark on every process, and an end for all of them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::database::{DatabaseKind, Fresh};
use crate::marks::{self, Found, MARK};
use crate::process::{Process, tail};
use crate::program::program;
use crate::wait;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The folder and the processes of one test. Declare it first, so that it is dropped last: it then kills what is left,
/// and after a failure prints the end of every log.
#[derive(Debug)]
pub struct World {
    mark: String,
    folder: TempDir,
    /// Where orchestrators keep their streams; none: in their data folders.
    database: Option<Fresh>,
}

/// What a command of the program said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// Panics with everything that was said where it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Checks the exit code and that standard error holds every one of `texts`.
    ///
    /// # Panics
    /// Panics with everything that was said where it is otherwise.
    #[track_caller]
    pub fn expect(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "standard error lacks {text:?}: {self:?}"
            );
        }
    }
}

impl World {
    /// An empty world; builds the program where that is not done.
    ///
    /// # Panics
    /// Panics where there is no temporary folder, or the program does not build.
    pub fn new(name: &str) -> Self {
        program();
        Self::bare(name)
    }

    /// An empty world whose orchestrators keep their streams in a database of this kind.
    ///
    /// # Panics
    /// Panics as [`World::new`] does, and where PostgreSQL is wanted and cannot be started.
    pub fn on(kind: DatabaseKind, name: &str) -> Self {
        let mut world = Self::new(name);
        if kind == DatabaseKind::Postgresql {
            // Every world has another number.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            world.database = Some(Fresh::new(&format!("world_{number}")));
        }
        world
    }

    /// An empty world for a test that does not run the program.
    ///
    /// # Panics
    /// Panics where there is no temporary folder.
    pub fn bare(name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            mark: format!("{}-{number}-{name}/", std::process::id()),
            folder: TempDir::with_prefix(format!("streamkeeper-{name}-")).expect("a temporary folder"),
            database: None,
        }
    }

    /// The folder of this test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database of its orchestrators, where that is not the file in the data folder.
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(Fresh::url)
    }

    /// Where a process of this name writes its log.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.log"))
    }

    /// Writes a file into the folder.
    ///
    /// # Panics
    /// Panics where it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder().join(name);
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        file
    }

    /// Starts a program whose descendants are found by `name`.
    pub fn spawn(
        &self,
        name: &str,
        program: &Path,
        prepare: impl FnOnce(&mut std::process::Command),
    ) -> Process {
        let mark = self.mark_of(name);
        Process::spawn(name, program, &self.log(name), |command| {
            command.env(MARK, mark);
            prepare(command);
        })
    }

    /// Living processes that were started as `name`, and their descendants.
    pub fn living(&self, name: &str) -> Vec<Found> {
        marks::marked(&self.mark_of(name))
    }

    /// Waits until nothing that was started as `name` lives.
    ///
    /// # Panics
    /// Panics with the list where something stays.
    pub async fn gone(&self, name: &str) {
        let gone = wait::until(wait::GENEROUS, async || {
            let left = self.living(name);
            let list: Vec<String> = left.iter().map(ToString::to_string).collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(list.join("\n"))
            }
        });
        if let Err(left) = gone.await {
            panic!("{name} left processes behind: {left}");
        }
    }

    /// Runs one command of the program to its end.
    ///
    /// # Panics
    /// Panics where it does not end.
    pub async fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, &[]).await
    }

    /// Runs one command of the program with variables in its environment.
    ///
    /// # Panics
    /// Panics where it does not end.
    pub async fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Said {
        let child = tokio::process::Command::new(program())
            .args(args)
            .envs(variables.iter().copied())
            .env(MARK, self.mark_of("command"))
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(wait::GENEROUS, child)
            .await
            .unwrap_or_else(|_| panic!("streamkeeper {args:?} does not end"))
            .expect("the program starts");
        Said {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn mark_of(&self, name: &str) -> String {
        format!("{}{name}/", self.mark)
    }

    fn logs(&self) -> Vec<PathBuf> {
        let mut logs = Vec::new();
        let mut folders = vec![self.folder().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == "log") {
                    logs.push(path);
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        logs.sort();
        logs
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in self.logs() {
                let name = log.file_stem().unwrap_or_default().to_string_lossy();
                eprintln!("{}", tail(&name, &log));
            }
        }
        for process in marks::marked(&self.mark) {
            if let Some(pid) = Pid::from_raw(process.pid) {
                // It may have ended just now, which is what is wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn even_processes_that_fled_end_with_their_world() {
        let world = World::bare("fled");
        let mark = world.mark.clone();
        let mut parent = world.spawn("parent", Path::new("/bin/sh"), |command| {
            command.args(["-c", "setsid sleep 100000 & setsid sleep 100000 & wait"]);
        });
        let sleepers = || {
            marks::marked(&mark)
                .into_iter()
                // The shell names them in its own command line, and is none of them.
                .filter(|found| found.command.starts_with("sleep 100000"))
        };
        let both = wait::until(wait::GENEROUS, async || match sleepers().count() {
            2.. => Ok(()),
            fewer => Err(format!("{fewer} processes")),
        });
        both.await.unwrap();
        parent.kill9();
        assert_eq!(world.living("parent").len(), 2, "they fled");
        assert_eq!(world.living("other"), []);
        drop(world);
        let gone = wait::until(wait::GENEROUS, async || match sleepers().count() {
            0 => Ok(()),
            some => Err(format!("{some} processes")),
        });
        gone.await.unwrap();
    }
}
