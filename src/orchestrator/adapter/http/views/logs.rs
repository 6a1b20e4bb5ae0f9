//! Lines of a stream, as they are shown.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use streamkeeper_protocol::{Epoch, LogFd, LogLine, SessionId, StreamId, WorkerId};
use utoipa::ToSchema;

use super::super::mask::Secrets;
use super::as_text;

/// One line that a stream, or its worker about it, wrote.
#[derive(Serialize, ToSchema)]
#[schema(as = LogLine)]
pub(in super::super) struct LineView<'a> {
    /// Counts the stream's lines on this worker; a gap means that lines were dropped.
    number: u64,
    /// When, by the worker's clock.
    #[schema(required)]
    at: Option<String>,
    /// See the assignment's.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    epoch: Epoch,
    /// `stdout` or `stderr` of what runs the stream, or `worker`: its worker about it.
    #[schema(value_type = String)]
    fd: LogFd,
    /// Without the secrets of the stream's source.
    text: String,
    #[schema(value_type = String)]
    worker: &'a WorkerId,
}

impl<'a> LineView<'a> {
    pub(in super::super) fn new(line: &LogLine, worker: &'a WorkerId, secrets: &Secrets) -> Self {
        let at = i64::try_from(line.at_ms)
            .ok()
            .and_then(DateTime::from_timestamp_millis);
        Self {
            number: line.number,
            at: at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            epoch: line.epoch,
            fd: line.fd,
            text: secrets.hide(&line.text),
            worker,
        }
    }
}

/// The newest lines of a stream, as its worker keeps them.
#[derive(Serialize, ToSchema)]
#[schema(as = Logs)]
pub(in super::super) struct LogsView<'a> {
    #[schema(value_type = String)]
    pub(in super::super) stream: &'a StreamId,
    #[schema(value_type = String)]
    pub(in super::super) worker: &'a WorkerId,
    /// The life of the worker's process.
    #[schema(value_type = String)]
    pub(in super::super) session: SessionId,
    pub(in super::super) lines: Vec<LineView<'a>>,
}

/// One line of the answer with `follow`. Empty lines only say that the connection stands.
#[derive(Serialize, ToSchema)]
#[schema(as = LogEntry)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(in super::super) enum EntryView<'a> {
    /// What follows comes from this worker; the stream may have moved.
    Owner {
        #[schema(value_type = String)]
        worker: &'a WorkerId,
        /// The life of the worker's process.
        #[schema(value_type = String)]
        session: SessionId,
        /// Under which the stream was given to it.
        #[serde(serialize_with = "as_text")]
        #[schema(value_type = String)]
        epoch: Epoch,
    },
    /// A line.
    Line(LineView<'a>),
    /// Here lines are missing: the stream wrote more than was kept or read.
    Dropped {
        #[schema(value_type = String)]
        worker: &'a WorkerId,
        /// How many.
        lines: u64,
    },
    /// Nobody can be asked for lines; this is tried again and again.
    Waiting {
        /// Why.
        detail: &'a str,
    },
    /// The last entry.
    End {
        /// `deleted` or `stopping`.
        reason: &'static str,
        /// Why.
        detail: &'a str,
    },
}
