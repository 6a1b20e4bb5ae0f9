//! The judge: a TCP server that the streams of a bench read from. It knows nothing of streamkeeper; it notes who reads
//! which stream, from when to when.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::reader::HEARD;
use super::tally::Visit;

/// Longest first line, in bytes.
const MAX_HELLO_BYTES: usize = 256;
/// Longest wait for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most visits that are kept; a bench that makes more is ended by the one who waits for it.
const MAX_VISITS: usize = 1_000_000;

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Judge {
    address: SocketAddr,
    log: Log,
    task: tokio::task::JoinHandle<()>,
}

/// The log, shared by all who write and read it.
#[derive(Debug, Clone)]
struct Log {
    start: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    visit: Visit,
    /// The connection, as long as it is open.
    open: Option<StdStream>,
}

impl Judge {
    /// Starts it on a free port of this machine.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let log = Log {
            start: Instant::now(),
            entries: Arc::default(),
        };
        let task = tokio::spawn(accept(listener, log.clone()));
        Ok(Self { address, log, task })
    }

    /// Where it is.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Now, on the clock of the log.
    pub(super) fn now_us(&self) -> u64 {
        self.log.now_us()
    }

    /// Everything noted, in the order in which it began.
    pub(super) fn visits(&self) -> Vec<Visit> {
        self.log.lock().iter().map(|entry| entry.visit.clone()).collect()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Begins a visit. The ends of others of the same stream may have come before and wait to be read: they are
    /// looked for first, so that an overlap that is noted was one.
    fn begin(&self, hello: &str, connection: StdStream) -> Option<u64> {
        let mut words = hello.split(' ');
        let (stream, worker, epoch) = (words.next()?, words.next()?, words.next()?);
        let mut entries = self.lock();
        let now = self.now_us();
        let others = entries.iter_mut().filter(|entry| entry.visit.stream == stream);
        for other in others {
            if other.open.as_ref().is_some_and(has_ended) {
                other.end(now);
            }
        }
        if entries.len() >= MAX_VISITS {
            return None;
        }
        let number = entries.last().map_or(1, |last| last.visit.number + 1);
        entries.push(Entry {
            visit: Visit {
                number,
                stream: stream.to_owned(),
                worker: worker.to_owned(),
                epoch: epoch.parse().ok()?,
                from_us: now,
                heard_us: None,
                to_us: None,
            },
            open: Some(connection),
        });
        Some(number)
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Entry, u64)) {
        let mut entries = self.lock();
        let now = self.now_us();
        // Sorted by number.
        if let Ok(index) = entries.binary_search_by_key(&number, |entry| entry.visit.number)
            && let Some(entry) = entries.get_mut(index)
        {
            change(entry, now);
        }
    }
}

impl Entry {
    fn end(&mut self, now_us: u64) {
        self.open = None;
        self.visit.to_us.get_or_insert(now_us);
    }
}

/// Whether the other side has closed it; what it sent before was read.
fn has_ended(connection: &StdStream) -> bool {
    match connection.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

async fn accept(listener: TcpListener, log: Log) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    let log = log.clone();
                    connections.spawn(async move {
                        // Readers that are killed are what this server expects.
                        let _ = attend(connection, &log).await;
                    });
                }
                // Too many open files: they may become fewer.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn attend(connection: TcpStream, log: &Log) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let connection = connection.into_std()?;
    let kept = connection.try_clone()?;
    let mut connection = TcpStream::from_std(connection)?;
    let hello = timeout(PATIENCE, read_hello(&mut connection)).await??;
    let number = log.begin(&hello, kept).ok_or(io::ErrorKind::InvalidData)?;
    let outcome = serve(&mut connection, log, number).await;
    log.change(number, Entry::end);
    outcome
}

async fn serve(connection: &mut TcpStream, log: &Log, number: u64) -> io::Result<()> {
    connection.write_all(b".").await?;
    let mut byte = [0];
    while connection.read(&mut byte).await? > 0 {
        if byte == [HEARD] {
            log.change(number, |entry, now| entry.visit.heard_us = Some(now));
        }
    }
    Ok(())
}

async fn read_hello(connection: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match connection.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            byte if line.len() < MAX_HELLO_BYTES => line.push(byte),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(judge: &Judge, worker: &str) -> TcpStream {
        let mut connection = TcpStream::connect(judge.address()).await.unwrap();
        let hello = format!("radio-1 {worker} 7\n");
        connection.write_all(hello.as_bytes()).await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'.');
        connection
    }

    async fn until(judge: &Judge, what: &str, holds: impl Fn(&[Visit]) -> bool) {
        for _ in 0..1_000 {
            if holds(&judge.visits()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} never came to be: {:?}", judge.visits());
    }

    #[tokio::test]
    async fn visits_are_noted_from_beginning_to_end() {
        let judge = Judge::start().await.unwrap();
        let mut first = read(&judge, "w-1").await;
        assert_eq!(judge.visits()[0].heard_us, None, "it has not said so yet");
        first.write_all(&[HEARD]).await.unwrap();
        until(&judge, "the first byte", |visits| visits[0].heard_us.is_some()).await;
        let second = read(&judge, "w-2").await;
        drop(first);
        until(&judge, "the end", |visits| visits[0].to_us.is_some()).await;
        let visits = judge.visits();
        assert_eq!((visits[0].worker.as_str(), visits[0].epoch), ("w-1", 7));
        assert!(visits[0].to_us.unwrap() >= visits[1].from_us);
        drop(second);
        until(&judge, "the other end", |visits| visits[0].to_us.is_some()).await;
    }

    #[tokio::test]
    async fn an_end_that_was_not_read_yet_is_seen_by_the_next_reader() {
        let judge = Judge::start().await.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mine = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let open = theirs.try_clone().unwrap();
        judge.log.begin("radio-1 w-1 7", theirs).unwrap();
        judge
            .log
            .begin("radio-1 w-2 8", open.try_clone().unwrap())
            .unwrap();
        assert!(judge.visits().iter().all(|visit| visit.to_us.is_none()));
        drop(mine);
        // Closing is passed on by the kernel before the call returns.
        judge.log.begin("radio-1 w-3 9", open).unwrap();
        let visits = judge.visits();
        assert!(visits[0].to_us.is_some() && visits[1].to_us.is_some());
        assert!(visits[0].to_us.unwrap() <= visits[2].from_us);
    }
}
