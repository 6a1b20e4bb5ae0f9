//! What one command writes: always drained, so that the command never blocks on it. The end of its stderr is kept for
//! the reason of a failure; its lines are passed on, so many a second, for the agent's log.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::text::{self, RawLine, Splitter, Tail};
use crate::wire::{Fd, Report};

/// How much is read at a time, in bytes.
const CHUNK_BYTES: usize = 4 * 1024;
/// Most reads before others get their turn. A pipe holds 64 KiB.
const MAX_READS: usize = 16;
/// Lines of one command that are passed on in each [`WINDOW`].
const MAX_LINES: u32 = 20;
/// Lines that it may save up for a burst: what a program says of itself when it starts should be read whole.
const MAX_BURST: u32 = 200;
/// After so long more lines are passed on.
const WINDOW: Duration = Duration::from_secs(1);

/// The pipes of a command; none where its output goes elsewhere.
#[derive(Default)]
pub(super) struct Pipes {
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// Drains pipes in the background as long as it lives.
pub(super) struct Output {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What is known when a command has ended.
pub(super) struct LastWords {
    /// The end of its stderr, as one line.
    pub(super) stderr: String,
    /// Lines that were not passed on and not told of yet.
    pub(super) dropped: u64,
}

struct Shared {
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
    state: Mutex<State>,
}

struct State {
    key: u64,
    tail: Tail,
    stdout: Splitter,
    stderr: Splitter,
    meter: Meter,
    lines: Option<mpsc::Sender<Report>>,
}

/// Counts lines, so that no command can flood the log.
struct Meter {
    until: Option<Instant>,
    /// Lines that may be passed on now.
    left: u32,
    dropped: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            until: None,
            left: MAX_BURST,
            dropped: 0,
        }
    }
}

impl Output {
    /// `lines` is where lines go to, if anywhere.
    pub(super) fn drain(key: u64, pipes: Pipes, lines: Option<mpsc::Sender<Report>>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            stdout: pipes.stdout.map(Receiver::from_owned_fd).transpose()?,
            stderr: pipes.stderr.map(Receiver::from_owned_fd).transpose()?,
            state: Mutex::new(State {
                key,
                tail: Tail::default(),
                stdout: Splitter::default(),
                stderr: Splitter::default(),
                meter: Meter::default(),
                lines,
            }),
        });
        let task = tokio::spawn(drain(shared.clone()));
        Ok(Self { shared, task })
    }

    /// To be asked for when the writers are gone: what they left in the pipes counts.
    pub(super) fn last_words(&self) -> LastWords {
        self.shared.read(Fd::Stdout);
        self.shared.read(Fd::Stderr);
        let mut state = self.shared.state();
        for fd in [Fd::Stdout, Fd::Stderr] {
            if let Some(line) = state.splitter(fd).rest() {
                state.pass(fd, &line, Instant::now());
            }
        }
        LastWords {
            stderr: state.tail.text(),
            dropped: state.meter.dropped,
        }
    }
}

impl Drop for Output {
    /// A process that escaped may hold the other ends for ever.
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn drain(shared: Arc<Shared>) {
    let (mut stdout, mut stderr) = (shared.stdout.is_some(), shared.stderr.is_some());
    loop {
        let due = shared.state().meter.due();
        tokio::select! {
            () = readable(shared.stdout.as_ref()), if stdout => stdout = shared.read(Fd::Stdout),
            () = readable(shared.stderr.as_ref()), if stderr => stderr = shared.read(Fd::Stderr),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                shared.state().tell_dropped(Instant::now());
            }
            else => return,
        }
        tokio::task::yield_now().await;
    }
}

/// Returns on an error too: the read that follows meets it again.
async fn readable(pipe: Option<&Receiver>) {
    if let Some(pipe) = pipe {
        let _ = pipe.readable().await;
    }
}

impl Shared {
    /// Reads what is there; whether more may come.
    fn read(&self, fd: Fd) -> bool {
        let pipe = match fd {
            Fd::Stdout => &self.stdout,
            Fd::Stderr => &self.stderr,
        };
        let Some(pipe) = pipe else { return false };
        let mut chunk = [0; CHUNK_BYTES];
        for _ in 0..MAX_READS {
            match pipe.try_read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => self.state().take(fd, &chunk[..count], Instant::now()),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, fd: Fd, chunk: &[u8], now: Instant) {
        if fd == Fd::Stderr {
            self.tail.push(chunk);
        }
        if self.lines.is_none() {
            return;
        }
        let mut rest = chunk;
        while let Some(line) = self.splitter(fd).next(&mut rest) {
            self.pass(fd, &line, now);
        }
    }

    const fn splitter(&mut self, fd: Fd) -> &mut Splitter {
        match fd {
            Fd::Stdout => &mut self.stdout,
            Fd::Stderr => &mut self.stderr,
        }
    }

    /// Passes a line on, or counts it as dropped.
    fn pass(&mut self, fd: Fd, line: &RawLine, now: Instant) {
        if self.lines.is_none() || line.is_blank() {
            return;
        }
        if self.meter.is_over(now) {
            self.tell_dropped(now);
        }
        let key = self.key;
        if !self.meter.admits(now)
            || !self.send(|| Report::Line {
                key,
                fd,
                text: text::line(line),
            })
        {
            self.meter.dropped += 1;
        }
    }

    fn tell_dropped(&mut self, now: Instant) {
        let (key, lines) = (self.key, self.meter.dropped);
        if lines > 0 && self.send(|| Report::Dropped { key, lines }) {
            self.meter.dropped = 0;
        }
        // If there was no room, the next window is early enough.
        self.meter.begin(now);
    }

    /// Nobody waits for room here: a slow reader costs lines, not memory.
    fn send(&self, report: impl FnOnce() -> Report) -> bool {
        match self.lines.as_ref().map(mpsc::Sender::try_reserve) {
            Some(Ok(place)) => {
                place.send(report());
                true
            }
            Some(Err(_)) | None => false,
        }
    }
}

impl Meter {
    /// Whether the present window has ended, or none has begun.
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Begins a window, with what was saved up since the one before.
    fn begin(&mut self, now: Instant) {
        let windows = self.until.map_or(0, |until| {
            1 + now.saturating_duration_since(until).as_millis() / WINDOW.as_millis()
        });
        let saved = MAX_LINES.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX));
        self.left = self.left.saturating_add(saved).min(MAX_BURST);
        self.until = Some(now + WINDOW);
    }

    fn admits(&mut self, now: Instant) -> bool {
        if self.is_over(now) {
            self.begin(now);
        }
        let admits = self.left > 0;
        self.left -= u32::from(admits);
        admits
    }

    /// When to tell how many lines were dropped, if any were.
    fn due(&self) -> Option<Instant> {
        self.until.filter(|_| self.dropped > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(room: usize) -> (State, mpsc::Receiver<Report>) {
        let (sender, receiver) = mpsc::channel(room);
        let state = State {
            key: 7,
            tail: Tail::default(),
            stdout: Splitter::default(),
            stderr: Splitter::default(),
            meter: Meter::default(),
            lines: Some(sender),
        };
        (state, receiver)
    }

    fn said(receiver: &mut mpsc::Receiver<Report>) -> Vec<String> {
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|report| match report {
                Report::Line { key: 7, fd, text } => format!("{} {text}", fd.as_str()),
                Report::Dropped { key: 7, lines } => format!("dropped {lines}"),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_flood_is_cut_and_told_once_the_window_is_over() {
        let (mut state, mut receiver) = state(1_000);
        let now = Instant::now();
        for _ in 0..230 {
            state.take(Fd::Stdout, b"x\n", now);
        }
        assert_eq!(said(&mut receiver).len(), 200, "what it had saved up");
        assert_eq!(state.meter.due(), Some(now + WINDOW));
        state.take(Fd::Stderr, b"later\n", now + WINDOW);
        assert_eq!(said(&mut receiver), ["dropped 30", "stderr later"]);
        assert_eq!(state.meter.due(), None);
        // Without a further line it is told as well.
        for _ in 0..21 {
            state.take(Fd::Stdout, b"y\n", now + WINDOW);
        }
        assert_eq!(said(&mut receiver).len(), 19, "what the window gave");
        state.tell_dropped(now + 2 * WINDOW);
        assert_eq!(said(&mut receiver), ["dropped 2"]);
        // Silence saves up again, to a limit.
        for (silence, passes) in [(2, 80), (1_000, 200)] {
            let at = state.meter.until.unwrap() + silence * WINDOW;
            for _ in 0..500 {
                state.take(Fd::Stdout, b"z\n", at);
            }
            let lines = said(&mut receiver);
            assert_eq!(lines.iter().filter(|line| *line == "stdout z").count(), passes);
        }
    }

    #[test]
    fn lines_without_room_are_counted() {
        let (mut state, mut receiver) = state(2);
        let now = Instant::now();
        state.take(Fd::Stdout, b"1\n2\n3\n4\n", now);
        // Still no room: it stays counted, and is tried again later.
        state.tell_dropped(now + WINDOW);
        assert_eq!(state.meter.due(), Some(now + 2 * WINDOW));
        assert_eq!(said(&mut receiver), ["stdout 1", "stdout 2"]);
        state.tell_dropped(now + 2 * WINDOW);
        assert_eq!(said(&mut receiver), ["dropped 2"]);
    }

    #[test]
    fn the_outputs_do_not_mix_within_a_line() {
        let (mut state, mut receiver) = state(10);
        let now = Instant::now();
        for (fd, chunk) in [
            (Fd::Stdout, &b"out "[..]),
            (Fd::Stderr, b"err "),
            (Fd::Stdout, b"1\n\n  \n"),
            (Fd::Stderr, b"2\r"),
        ] {
            state.take(fd, chunk, now);
        }
        assert_eq!(said(&mut receiver), ["stdout out 1", "stderr err 2"]);
    }
}
