//! The command of every stream in the fault suite: it writes down that it lives, and nothing else. A judge reads it later.
//!
//! `witness FOLDER` appends lines `STREAM EPOCH WORKER PID NANOSECONDS EVENT` to `FOLDER/STREAM.history`, on the machine's
//! CLOCK_BOOTTIME. It also holds a lock on that file: the kernel itself says when two of them live at once (`crowded`).

use std::error::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

/// Time between two signs of life.
const PERIOD: Duration = Duration::from_millis(50);
const NANOSECONDS: i64 = 1_000_000_000;

struct Witness {
    file: File,
    who: String,
    /// What a time namespace adds to the machine's clock.
    offset_ns: i64,
}

impl Witness {
    fn new(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let of = |name: &str| {
            std::env::var(format!("STREAMKEEPER_{name}")).map_err(|error| format!("{name}: {error}"))
        };
        let (stream, epoch, worker) = (of("STREAM")?, of("EPOCH")?, of("WORKER")?);
        let path = folder.join(format!("{stream}.history"));
        Ok(Self {
            file: OpenOptions::new().create(true).append(true).open(path)?,
            who: format!("{stream} {epoch} {worker} {}", std::process::id()),
            offset_ns: offset_ns(&std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default()),
        })
    }

    fn write(&mut self, event: &str) -> std::io::Result<()> {
        let now = clock_gettime(ClockId::Boottime);
        let now_ns = now.tv_sec * NANOSECONDS + now.tv_nsec - self.offset_ns;
        // One write per line: several witnesses append to one file.
        let line = format!("{} {now_ns} {event}\n", self.who);
        self.file.write_all(line.as_bytes())
    }
}

/// The line `boottime SECONDS NANOSECONDS`; 0 where there is none.
fn offset_ns(offsets: &str) -> i64 {
    let line = offsets.lines().find_map(|line| line.strip_prefix("boottime"));
    let mut numbers = line
        .unwrap_or_default()
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(0));
    let (seconds, rest): (i64, i64) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    seconds * NANOSECONDS + rest
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: witness FOLDER")?;
    let mut term = signal(SignalKind::terminate())?;
    let mut witness = Witness::new(Path::new(&folder))?;
    match witness.file.try_lock() {
        Ok(()) => witness.write("begin")?,
        Err(TryLockError::WouldBlock) => witness.write("crowded")?,
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = period.tick() => witness.write("alive")?,
        }
    }
    witness.write("end")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_namespace_is_taken_off() {
        assert_eq!(offset_ns(""), 0);
        assert_eq!(offset_ns("monotonic 7 0\nboottime -3 5\n"), -3 * NANOSECONDS + 5);
    }
}
