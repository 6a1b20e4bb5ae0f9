//! The newest lines of every stream, for whoever asks to see them.
//!
//! Writers never wait: what has no room pushes the oldest lines out. Every line has a number, and those that were lost
//! have theirs too, so that a reader sees by the gap how many it has missed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use streamkeeper_protocol::limit::{MAX_LOG_LINE_BYTES, MAX_LOG_LINES};
use streamkeeper_protocol::{LogLine, LogRequest, SessionId, StreamId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Most lines that are kept of one stream.
const MAX_LINES: usize = MAX_LOG_LINES;
/// Most bytes that are kept of one stream.
const MAX_STREAM_BYTES: usize = 128 * 1024;
/// Most bytes that are kept of all streams: where there are many, each has less.
const MAX_TOTAL_BYTES: usize = 64 * 1024 * 1024;
/// Streams that were here before and whose lines are still kept.
const MAX_FORMER: usize = 256;
/// What a line takes besides its text, in bytes.
const LINE_BYTES: usize = 64;

/// The lines of all streams of a worker. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogBook {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pages: Mutex<Pages>,
    /// A stream was written about for the first time.
    opened: Notify,
}

#[derive(Debug)]
struct Pages {
    logs: HashMap<StreamId, Arc<StreamLog>>,
    /// Streams that do not run, the one that ended first at the front.
    former: VecDeque<StreamId>,
    /// Bytes for each stream.
    room: usize,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            logs: HashMap::new(),
            former: VecDeque::new(),
            room: MAX_STREAM_BYTES,
        }
    }
}

/// The lines of one stream.
#[derive(Debug)]
pub(crate) struct StreamLog {
    ring: Mutex<Ring>,
    written: Notify,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The number to go on with.
    pub(crate) next: u64,
    pub(crate) lines: Vec<LogLine>,
}

impl LogBook {
    /// The lines of a stream that starts; those of its former runs are among them.
    pub(crate) fn open(&self, stream: &StreamId) -> Arc<StreamLog> {
        let mut pages = self.pages();
        pages.former.retain(|former| former != stream);
        if let Some(log) = pages.logs.get(stream) {
            return log.clone();
        }
        let streams = pages.logs.len() + 1;
        pages.set_room(streams);
        let log = Arc::new(StreamLog::new(pages.room));
        pages.logs.insert(stream.clone(), log.clone());
        drop(pages);
        self.shared.opened.notify_waiters();
        log
    }

    /// The stream has ended: its lines are kept until many others have ended after it.
    pub(crate) fn close(&self, stream: &StreamId) {
        let mut pages = self.pages();
        pages.former.push_back(stream.clone());
        while pages.former.len() > MAX_FORMER {
            if let Some(oldest) = pages.former.pop_front() {
                pages.logs.remove(&oldest);
            }
        }
        let streams = pages.logs.len();
        pages.set_room(streams);
    }

    /// What the request asks for; `session` is the worker's, and the lines have at most so many `bytes`.
    pub(crate) async fn read(&self, request: &LogRequest, session: SessionId, bytes: usize) -> Excerpt {
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms.into());
        let from = request.from.filter(|_| request.session == Some(session));
        loop {
            // Listens before it looks: what comes in between is not missed.
            let mut opened = std::pin::pin!(self.shared.opened.notified());
            opened.as_mut().enable();
            let log = self.pages().logs.get(&request.stream).cloned();
            let Some(log) = log else {
                let empty = Excerpt {
                    next: 1,
                    lines: Vec::new(),
                };
                if from.is_none() || timeout_at(deadline, opened).await.is_err() {
                    return empty;
                }
                continue;
            };
            let mut written = std::pin::pin!(log.written.notified());
            written.as_mut().enable();
            let excerpt = log.ring().read(from, request.lines as usize, bytes);
            // Lines that were lost are news as well.
            let is_news = from.is_none_or(|from| excerpt.next != from);
            if is_news || timeout_at(deadline, written).await.is_err() {
                return excerpt;
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.shared.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Shares the whole room among so many streams. By powers of two, so that it seldom changes.
    fn set_room(&mut self, streams: usize) {
        let room = MAX_STREAM_BYTES.min(MAX_TOTAL_BYTES / streams.max(1).next_power_of_two());
        if room == self.room {
            return;
        }
        self.room = room;
        for log in self.logs.values() {
            log.ring().set_room(room);
        }
    }
}

impl StreamLog {
    fn new(room: usize) -> Self {
        Self {
            ring: Mutex::new(Ring::new(room)),
            written: Notify::new(),
        }
    }

    /// Takes a line; its number is given here.
    pub(crate) fn write(&self, line: LogLine) {
        self.ring().push(line);
        self.written.notify_waiters();
    }

    /// Counts lines that are lost.
    pub(crate) fn skip(&self, lines: u64) {
        if lines > 0 {
            self.ring().skip(lines);
            self.written.notify_waiters();
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest lines, bounded.
#[derive(Debug)]
struct Ring {
    lines: VecDeque<LogLine>,
    bytes: usize,
    room: usize,
    /// The number of the next line.
    next: u64,
}

impl Ring {
    const fn new(room: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            room,
            next: 1,
        }
    }

    fn push(&mut self, mut line: LogLine) {
        line.number = self.next;
        line.text = plain(&line.text);
        self.next = self.next.saturating_add(1);
        self.bytes += size(&line);
        self.lines.push_back(line);
        self.trim();
    }

    const fn skip(&mut self, lines: u64) {
        self.next = self.next.saturating_add(lines);
    }

    fn set_room(&mut self, room: usize) {
        self.room = room;
        self.trim();
    }

    fn trim(&mut self) {
        while self.bytes > self.room || self.lines.len() > MAX_LINES {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= size(&oldest);
        }
    }

    /// At most so many `lines` and `bytes`: the oldest ones from a number on, or the newest ones.
    fn read(&self, from: Option<u64>, lines: usize, bytes: usize) -> Excerpt {
        let mut left = bytes;
        let mut fits = |line: &&LogLine| {
            let room = left.checked_sub(size(line));
            left = room.unwrap_or(0);
            room.is_some()
        };
        // Who has come farther than this stream has counted other lines.
        match from.filter(|from| *from <= self.next) {
            Some(from) => {
                let start = self.lines.partition_point(|line| line.number < from);
                let wanted = self.lines.range(start..).take(lines);
                let found: Vec<LogLine> = wanted.take_while(&mut fits).cloned().collect();
                let rest = self.lines.len() - start - found.len();
                let next = match found.last() {
                    Some(last) if rest > 0 => last.number + 1,
                    Some(_) | None => self.next,
                };
                Excerpt { next, lines: found }
            }
            None => {
                let newest = self.lines.iter().rev().take(lines);
                let mut found: Vec<LogLine> = newest.take_while(&mut fits).cloned().collect();
                found.reverse();
                Excerpt {
                    next: self.next,
                    lines: found,
                }
            }
        }
    }
}

const fn size(line: &LogLine) -> usize {
    LINE_BYTES + line.text.len()
}

/// `text` cut to the wire's limit and without control characters.
fn plain(text: &str) -> String {
    const CUT: &str = "…";
    let mut plain = text.replace(char::is_control, " ");
    if plain.len() > MAX_LOG_LINE_BYTES {
        let mut end = MAX_LOG_LINE_BYTES - CUT.len();
        while !plain.is_char_boundary(end) {
            end -= 1;
        }
        plain.truncate(end);
        plain.push_str(CUT);
    }
    plain
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
