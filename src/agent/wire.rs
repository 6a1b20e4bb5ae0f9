//! What agent and guard say to each other: JSON, one message a line, over the guard's stdin and stdout.
//!
//! Both sides read and write without ever waiting for the other: what cannot be written yet stays in a bounded
//! [`Outbox`], and a side that waited in a write while the other did the same would hang both.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use streamkeeper_worker::{Access, ConnectSource, Identity, LogFd, Naming, SessionId, WorkerId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::settings::{Limits, OutputMode};

/// Longest message, in bytes. A system gives a program about two megabytes for its arguments.
const MAX_LINE_BYTES: usize = 1024 * 1024;
/// An outbox with more than so many bytes takes nothing new that its owner can put off.
const FULL_BYTES: usize = 1024 * 1024;
/// An outbox with more than so many bytes takes no lines of output.
const CROWDED_BYTES: usize = 256 * 1024;
/// How much is read at a time, in bytes.
const READ_BYTES: usize = 4 * 1024;

/// Agent → guard.
#[derive(Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// The first message.
    Hello(Hello),
    /// Starts a command.
    Start(Start),
    /// Ends a command: SIGTERM, after the grace SIGKILL.
    Stop { key: u64, grace_ms: u64 },
    /// Until when exclusive commands may run; it holds until the next one.
    Lease { stop_at_ms: u64, kill_at_ms: u64 },
    /// The agent ends in order and says farewell itself.
    End,
}

/// Who the agent is.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) worker: WorkerId,
    pub(crate) session: SessionId,
    pub(crate) boot_id: String,
    pub(crate) connect: Connect,
    /// For the streams that run when the agent is gone.
    pub(crate) grace_ms: u64,
    /// The lock that says: something of this worker may still run.
    pub(crate) lock: PathBuf,
    pub(crate) lock_wait_ms: u64,
    /// Where the output of commands goes.
    #[serde(default)]
    pub(crate) output: OutputMode,
    /// What each command may use.
    #[serde(default)]
    pub(crate) limits: Limits,
}

impl Hello {
    /// For the farewell.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            worker: self.worker.clone(),
            session: self.session,
            boot_id: self.boot_id.clone(),
        }
    }
}

/// The SDK's [`ConnectSource`], as it is sent. It may hold a password, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Connect {
    Urls(Box<Servers>),
    File(PathBuf),
}

/// Servers that somebody else runs.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Servers {
    urls: Vec<String>,
    prefix: String,
    #[serde(default, with = "AccessWire")]
    access: Access,
}

/// The SDK's [`Access`], as it is sent. It may hold a password, so it has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Access")]
struct AccessWire {
    user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    credentials_file: Option<PathBuf>,
    nkey_seed_file: Option<PathBuf>,
    tls_ca_file: Option<PathBuf>,
    tls_cert_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    naming: Naming,
}

impl From<&ConnectSource> for Connect {
    fn from(source: &ConnectSource) -> Self {
        match source.clone() {
            ConnectSource::Urls { urls, prefix, access } => Self::Urls(Box::new(Servers {
                urls,
                prefix,
                access: *access,
            })),
            ConnectSource::File(path) => Self::File(path),
        }
    }
}

impl From<Connect> for ConnectSource {
    fn from(connect: Connect) -> Self {
        match connect {
            Connect::Urls(servers) => Self::Urls {
                urls: servers.urls,
                prefix: servers.prefix,
                access: Box::new(servers.access),
            },
            Connect::File(path) => Self::File(path),
        }
    }
}

/// A command, its key never used before.
#[derive(Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) key: u64,
    /// For people who look at the system: part of the name of its cgroup.
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// Whether it ends with the lease.
    #[serde(default)]
    pub(crate) exclusive: bool,
}

/// Guard → agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The lock is held by somebody else; the guard goes on trying.
    Waiting { reason: String },
    /// Something that was asked for is not to be had; the guard goes on without.
    Warning { reason: String },
    /// The lock is held: commands may be started.
    Ready,
    /// There will be no guard.
    Refused { reason: String },
    /// The command runs.
    Started { key: u64, pid: i32 },
    /// The command could not be started.
    Failed { key: u64, reason: String },
    /// The command ended, and so did everything that it had started.
    Exited {
        key: u64,
        status: String,
        stderr: String,
        /// Lines of output that were dropped since that was last told.
        #[serde(default)]
        dropped: u64,
    },
    /// The command wrote a line.
    Line { key: u64, fd: Fd, text: String },
    /// The command wrote more lines than are passed on.
    Dropped { key: u64, lines: u64 },
}

/// An output of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fd {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<Fd> for LogFd {
    fn from(fd: Fd) -> Self {
        match fd {
            Fd::Stdout => Self::Stdout,
            Fd::Stderr => Self::Stderr,
        }
    }
}

impl Fd {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Reads messages.
pub(crate) struct LineReader<R> {
    input: R,
    buffer: Vec<u8>,
    scanned: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(crate) const fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            scanned: 0,
        }
    }

    /// The next message; none at the end of the input. Safe to cancel: what was read stays in the buffer.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(at) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.scanned + at).collect();
                self.scanned = 0;
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            self.scanned = self.buffer.len();
            if self.scanned > MAX_LINE_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a message is too long",
                ));
            }
            self.buffer.reserve(READ_BYTES);
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Holds what is not written yet.
pub(crate) struct Outbox<W> {
    output: W,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    pub(crate) const fn new(output: W) -> Self {
        Self {
            output,
            buffer: Vec::new(),
        }
    }

    /// Takes a message; refuses one that the other side would not read.
    pub(crate) fn push(&mut self, message: &impl Serialize) -> Result<(), String> {
        let line = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        if line.len() > MAX_LINE_BYTES {
            return Err(format!(
                "the command has {} bytes with its environment, at most {MAX_LINE_BYTES} are allowed; shorten it",
                line.len()
            ));
        }
        self.buffer.extend_from_slice(&line);
        self.buffer.push(b'\n');
        Ok(())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.buffer.len() > FULL_BYTES
    }

    pub(crate) const fn is_crowded(&self) -> bool {
        self.buffer.len() > CROWDED_BYTES
    }

    /// Writes a part of what waits. Safe to cancel.
    pub(crate) async fn write_some(&mut self) -> io::Result<()> {
        let written = self.output.write(&self.buffer).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.buffer.drain(..written);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_whole_over_a_narrow_pipe() {
        let (near, far) = tokio::io::duplex(7);
        let mut outbox = Outbox::new(near);
        let mut reader = LineReader::new(far);
        for key in 0..3 {
            outbox.push(&Order::Stop { key, grace_ms: 5 }).unwrap();
        }
        let mut keys = Vec::new();
        while keys.len() < 3 {
            tokio::select! {
                result = outbox.write_some(), if !outbox.is_empty() => result.unwrap(),
                order = reader.next::<Order>() => match order.unwrap() {
                    Some(Order::Stop { key, grace_ms: 5 }) => keys.push(key),
                    _ => panic!("another message came out than went in"),
                },
            }
        }
        assert_eq!(keys, [0, 1, 2]);
        drop(outbox);
        assert!(reader.next::<Order>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn endless_and_foreign_lines_are_refused() {
        let endless = tokio::io::repeat(b'x');
        assert!(LineReader::new(endless).next::<Order>().await.is_err());
        assert!(LineReader::new(&b"{}\n"[..]).next::<Order>().await.is_err());
        let mut outbox = Outbox::new(Vec::new());
        let long = "x".repeat(MAX_LINE_BYTES);
        assert!(outbox.push(&long).is_err() && outbox.is_empty());
    }
}
