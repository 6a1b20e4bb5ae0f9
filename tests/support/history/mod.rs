//! What the witnesses wrote (`tests/witness/main.rs`): who ran which stream, under which epoch, from when to when.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};

pub use judge::{Trial, Verdict};

/// How the files of witnesses end.
const SUFFIX: &str = "history";

/// One life of a witness: a process that ran a stream. A process that was killed lived until its last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The worker.
    pub worker: String,
    /// The epoch.
    pub epoch: u64,
    /// The process.
    pub pid: u32,
    /// Its first line, in nanoseconds of CLOCK_BOOTTIME.
    pub begin: u64,
    /// Its last line so far.
    pub last: u64,
    /// It was asked to end, and did.
    pub ended: bool,
    /// The kernel saw another one of the same stream alive when it began.
    pub crowded: bool,
}

/// All lives, by stream, in the order in which they began.
#[derive(Debug, Default)]
pub struct History {
    lives: BTreeMap<String, Vec<Life>>,
    /// How much of each file is read.
    read: BTreeMap<PathBuf, u64>,
}

impl History {
    /// Reads what was written since the last time.
    ///
    /// # Errors
    /// In words, with the file and the line, where a file cannot be read or a line is none of a witness.
    pub fn read(&mut self, folder: &Path) -> Result<(), String> {
        let said = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let entries = std::fs::read_dir(folder).map_err(|error| said(folder, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| said(folder, &error))?.path();
            if path.extension().is_none_or(|suffix| suffix != SUFFIX) {
                continue;
            }
            let from = self.read.entry(path.clone()).or_default();
            let mut text = String::new();
            let mut file = File::open(&path).map_err(|error| said(&path, &error))?;
            file.seek(SeekFrom::Start(*from))
                .map_err(|error| said(&path, &error))?;
            file.read_to_string(&mut text)
                .map_err(|error| said(&path, &error))?;
            // A line that is being written is read the next time.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            *from += whole as u64;
            for line in text[..whole].lines() {
                self.take(line).map_err(|error| said(&path, &error))?;
            }
        }
        Ok(())
    }

    /// Takes one line in.
    ///
    /// # Errors
    /// In words, where it is none of a witness.
    pub fn take(&mut self, line: &str) -> Result<(), String> {
        let none = || format!("{line:?} is no line of a witness");
        let words: Vec<&str> = line.split(' ').collect();
        let [stream, epoch, worker, pid, at, event] = words[..] else {
            return Err(none());
        };
        let epoch: u64 = epoch.parse().map_err(|_| none())?;
        let pid: u32 = pid.parse().map_err(|_| none())?;
        let at: u64 = at.parse().map_err(|_| none())?;
        let lives = self.lives.entry(stream.to_owned()).or_default();
        if matches!(event, "begin" | "crowded") {
            let life = Life {
                worker: worker.to_owned(),
                epoch,
                pid,
                begin: at,
                last: at,
                ended: false,
                crowded: event == "crowded",
            };
            let place = lives.partition_point(|other| other.begin <= at);
            lives.insert(place, life);
            return Ok(());
        }
        let own = |life: &&mut Life| (life.worker.as_str(), life.epoch, life.pid) == (worker, epoch, pid);
        let life = lives.iter_mut().rev().find(own).ok_or_else(none)?;
        life.last = life.last.max(at);
        match event {
            "alive" => {}
            "end" => life.ended = true,
            _ => return Err(none()),
        }
        Ok(())
    }

    /// The lives of one stream, in the order in which they began.
    pub fn of(&self, stream: &str) -> &[Life] {
        self.lives.get(stream).map_or(&[], Vec::as_slice)
    }

    /// The lives of one stream that gave a sign within the last `fresh_ns` before `at`.
    pub fn living(&self, stream: &str, at: u64, fresh_ns: u64) -> Vec<&Life> {
        let lives = |life: &&Life| !life.ended && life.last.saturating_add(fresh_ns) >= at;
        self.of(stream).iter().filter(lives).collect()
    }

    /// How many lives there were.
    pub fn len(&self) -> usize {
        self.lives.values().map(Vec::len).sum()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }
}

/// Now, on the clock of the witnesses.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
