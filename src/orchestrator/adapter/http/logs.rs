//! Lines of a stream: its worker is asked for them. `follow` goes on for as long as somebody reads.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::cluster::{Availability, ClusterState, Slot, StreamRecord};
use streamkeeper_protocol::limit::MAX_LOG_LINES;
use streamkeeper_protocol::{Epoch, LogReply, LogRequest, PROTOCOL_VERSION, SessionId, StreamId, WorkerId};

use super::mask::Secrets;
use super::openapi::{BadQuery, NoLogs, NoStream};
use super::problem::{Kind, Problem};
use super::query::Query;
use super::streams::unknown;
use super::views::logs::{LineView, LogsView};
use super::views::{Times, explain};
use super::{Shared, follow};
use crate::port::BusError;

/// Lines where the caller does not say.
const DEFAULT_LINES: usize = 100;
/// A worker answers within this time, besides what it may wait for a line.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// When to ask again where a moment helps.
const SOON_SECONDS: u32 = 1;

/// Who runs a stream, or may still be running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) worker: WorkerId,
    pub(super) session: SessionId,
    pub(super) epoch: Epoch,
}

impl Owner {
    pub(super) fn of(record: &StreamRecord) -> Option<Self> {
        let owner = match &record.slot {
            Slot::Vacant => None,
            Slot::Held(owner)
            | Slot::Orphaned { last: owner }
            | Slot::Handing { from: owner, .. }
            | Slot::Releasing { from: owner, .. } => Some(owner),
            // The next one was not told yet.
            Slot::Committing { last, .. } => last.as_ref(),
        }?;
        Some(Self {
            worker: owner.worker.clone(),
            session: owner.session,
            epoch: owner.epoch,
        })
    }

    /// Whether the lines of both are counted as one.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        (&self.worker, self.session) == (&other.worker, other.session)
    }

    /// A request for the newest lines.
    pub(super) fn request(&self, stream: &StreamId, lines: usize) -> LogRequest {
        LogRequest {
            v: PROTOCOL_VERSION,
            worker: self.worker.clone(),
            stream: stream.clone(),
            // The wire knows no request for nothing.
            lines: u32::try_from(lines.max(1)).unwrap_or(u32::MAX),
            session: None,
            from: None,
            wait_ms: 0,
        }
    }
}

/// Shows the newest lines of one stream, or follows them as they come.
#[utoipa::path(
    get,
    path = "/api/v1/streams/{name}/logs",
    operation_id = "read_stream_logs",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
        ("lines" = Option<u32>, Query, description = "Most lines to begin with, 0 to 1000; 100 where it is not given"),
        ("follow" = Option<bool>, Query, description = "Goes on with new lines, wherever the stream moves, until the \
            reader leaves: one JSON object a line"),
    ),
    responses(
        (status = 200, content(
            (LogsView = "application/json"),
            (super::views::logs::EntryView = "application/x-ndjson"),
        )),
        BadQuery,
        NoStream,
        NoLogs,
    ),
)]
pub(super) async fn logs(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let lines = query.parsed("lines").unwrap_or(DEFAULT_LINES);
    if lines > MAX_LOG_LINES {
        query.wrong(
            "lines",
            format!("{lines}: write a number from 0 to {MAX_LOG_LINES}"),
        );
    }
    let follow = query.choice("follow", &[("true", true), ("false", false)]);
    query.finish()?;
    let cluster = shared.cluster();
    let record = StreamId::new(name.as_str())
        .ok()
        .and_then(|id| cluster.streams.get(&id))
        .ok_or_else(|| unknown(&name))?;
    let stream = &record.spec.name;
    // Who asks for the head alone does not read.
    if follow == Some(true) && request.method() == Method::GET {
        return follow::start(shared, stream.clone(), lines);
    }
    let owner = Owner::of(record).ok_or_else(|| {
        let detail = explain::stream(record, &cluster, Times(&*shared.context.clock));
        Problem::new(
            Kind::StreamNotPlaced,
            format!("stream {stream} runs nowhere: {detail}"),
        )
        .suggest("lines are kept by the worker that runs the stream; with follow=true they come once it runs")
    })?;
    let reply = ask(&shared, &owner.request(stream, lines)).await;
    let reply = reply.map_err(|unread| unread.problem(&owner.worker, &cluster))?;
    let secrets = Secrets::of(&record.spec.source);
    let views = reply.lines.iter().take(lines);
    Ok(HttpResponse::Ok().json(LogsView {
        stream,
        worker: &owner.worker,
        session: reply.session,
        lines: views
            .map(|line| LineView::new(line, &owner.worker, &secrets))
            .collect(),
    }))
}

/// Why there are no lines.
#[derive(Debug)]
pub(super) enum Unread {
    Bus(BusError),
    /// The worker says why.
    Refused(String),
}

pub(super) async fn ask(shared: &Shared, request: &LogRequest) -> Result<LogReply, Unread> {
    let reply = shared.context.bus.logs(request, ANSWER_TIMEOUT).await;
    match reply.map_err(Unread::Bus)? {
        LogReply {
            reason: Some(reason), ..
        } => Err(Unread::Refused(reason)),
        reply => Ok(reply),
    }
}

impl Unread {
    /// In words; the cluster tells a worker that is gone from one that shows no lines.
    pub(super) fn problem(&self, worker: &WorkerId, cluster: &ClusterState) -> Problem {
        let record = cluster.workers.get(worker);
        let is_heard = record
            .is_some_and(|record| matches!(record.availability, Availability::Alive | Availability::Warning));
        match self {
            Self::Refused(reason) => Problem::new(Kind::TooManyReaders, format!("worker {worker}: {reason}"))
                .retry_after(SOON_SECONDS),
            Self::Bus(BusError::NoResponders(subject)) if is_heard => {
                let version = record.map(|record| record.version.as_ref()).unwrap_or_default();
                let detail =
                    format!("worker {worker} (version {version}) is there, but nobody answers on {subject}");
                Problem::new(Kind::NoLines, detail).suggest(
                    "its software is older than this feature, so update the worker; or the message server's permissions \
                     keep it from subscribing to that subject",
                )
            }
            Self::Bus(error @ BusError::BadAnswer { .. }) => Problem::new(Kind::NoLines, error.to_string())
                .suggest("the worker's software does not fit this orchestrator's; update the older one"),
            Self::Bus(error @ (BusError::NoResponders(_) | BusError::Timeout { .. })) => {
                let detail = format!("worker {worker} does not answer: {error}");
                Problem::new(Kind::WorkerSilent, detail).suggest(format!(
                    "GET /api/v1/workers/{worker} tells when it was last heard; lines that it keeps are lost with its process"
                ))
            }
            Self::Bus(error) => Problem::new(Kind::BusUnavailable, error.to_string())
                .retry_after(SOON_SECONDS)
                .suggest("look at GET /health; streams go on without the message server"),
        }
    }
}
