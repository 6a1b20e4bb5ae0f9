//! The stderr of one command: always drained, so that the command never blocks on it, and only its end is kept.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use crate::text::Tail;

/// How much is read at a time, in bytes.
const CHUNK_BYTES: usize = 4 * 1024;
/// Most reads before others get their turn. A pipe holds 64 KiB.
const MAX_READS: usize = 16;

/// Drains a pipe in the background as long as it lives.
pub(super) struct Stderr {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    pipe: Receiver,
    tail: Mutex<Tail>,
}

impl Stderr {
    pub(super) fn drain(pipe: OwnedFd) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            pipe: Receiver::from_owned_fd(pipe)?,
            tail: Mutex::default(),
        });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                while shared.pipe.readable().await.is_ok() && shared.read() {
                    tokio::task::yield_now().await;
                }
            }
        });
        Ok(Self { shared, task })
    }

    /// What was written last. To be asked for when the writers are gone: what they left in the pipe counts.
    pub(super) fn text(&self) -> String {
        self.shared.read();
        self.shared
            .tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text()
    }
}

impl Drop for Stderr {
    /// A process that escaped may hold the other end for ever.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Reads what is there; whether more may come.
    fn read(&self) -> bool {
        let mut chunk = [0; CHUNK_BYTES];
        for _ in 0..MAX_READS {
            match self.pipe.try_read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => self
                    .tail
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(&chunk[..count]),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}
