//! Finding every process that a test has started, however far down: each inherits an environment variable, and
//! Linux shows it in `/proc`.

use std::fmt;

/// The variable that marks a process and all its descendants.
pub const MARK: &str = "SK_TEST_MARK";

/// A process that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Its id.
    pub pid: i32,
    /// Its command line.
    pub command: String,
    environment: Vec<String>,
}

impl Found {
    /// The value of a variable that the process was started with.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let entry = |entry: &String| entry.split_once('=').is_some_and(|(key, _)| key == name);
        let entry = self.environment.iter().find(|e| entry(e))?;
        entry.split_once('=').map(|(_, value)| value)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.command)
    }
}

/// Living processes whose mark begins with `prefix`, sorted by id.
pub fn marked(prefix: &str) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<Found> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .filter(|process| {
            process
                .variable(MARK)
                .is_some_and(|mark| mark.starts_with(prefix))
        })
        .collect();
    found.sort();
    found
}

/// None for processes that are gone, zombies (their environment is empty), or somebody else's.
fn read(pid: i32) -> Option<Found> {
    let environment = split(&std::fs::read(format!("/proc/{pid}/environ")).ok()?);
    let command = split(&std::fs::read(format!("/proc/{pid}/cmdline")).ok()?).join(" ");
    Some(Found {
        pid,
        command,
        environment,
    })
}

fn split(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}
