//! Follows the lines of a stream from worker to worker. The answer is made as it is read: a reader that is slow is told how
//! many lines it has missed, and nothing is left to do when it is gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, ContentEncoding};
use actix_web::web::{Bytes, Data};
use futures::stream;
use serde::Serialize;
use streamkeeper_core::cluster::{ClusterState, StreamRecord};
use streamkeeper_protocol::limit::MAX_LOG_LINES;
use streamkeeper_protocol::{Epoch, LogReply, LogRequest, SessionId, StreamId};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::Shared;
use super::logs::{Owner, ask};
use super::mask::Secrets;
use super::problem::{Kind, Problem};
use super::views::logs::{EntryView, LineView};
use super::views::{Times, explain};

/// Most readers that follow at a time.
pub(super) const MAX_FOLLOWERS: usize = 64;
/// A worker waits so long for a line; then the reader gets a sign of life.
const WAIT: Duration = Duration::from_secs(2);
/// Between two attempts to ask a worker that does not answer.
const RETRY: Duration = Duration::from_millis(500);
/// A former owner may have so long to tell its last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);
const NDJSON: &str = "application/x-ndjson";
const RETRY_SECONDS: u32 = 5;

/// Answers with everything that the stream writes from now on.
pub(super) fn start(shared: Data<Shared>, stream: StreamId, lines: usize) -> Result<HttpResponse, Problem> {
    let seat = Arc::clone(&shared.followers).try_acquire_owned().map_err(|_| {
        let detail = format!("{MAX_FOLLOWERS} readers follow streams already");
        Problem::new(Kind::TooManyReaders, detail).retry_after(RETRY_SECONDS)
    })?;
    let follow = Follow {
        cluster: shared.context.view.cluster.clone(),
        shared,
        stream,
        lines,
        place: None,
        told: String::new(),
        ended: false,
        _seat: seat,
    };
    let body = stream::unfold(follow, |mut follow| async move {
        let piece = follow.next().await?;
        Some((Ok::<_, Infallible>(piece), follow))
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, NDJSON))
        // Compressed, lines would wait for more of them.
        .insert_header((CONTENT_ENCODING, ContentEncoding::Identity))
        .streaming(Box::pin(body)))
}

struct Follow {
    shared: Data<Shared>,
    cluster: watch::Receiver<ClusterState>,
    stream: StreamId,
    /// Lines of the past that are wanted.
    lines: usize,
    place: Option<Place>,
    /// Why it waits, as it was told last.
    told: String,
    ended: bool,
    _seat: OwnedSemaphorePermit,
}

/// Where in the lines of one owner the reader is.
struct Place {
    owner: Owner,
    session: Option<SessionId>,
    from: Option<u64>,
    /// Lines of the stream's earlier stays with this owner are left out.
    least: Epoch,
    /// The number that comes next where nothing is missing.
    expected: Option<u64>,
}

/// What is to be written.
#[derive(Default)]
struct Entries(Vec<u8>);

impl Entries {
    fn push(&mut self, entry: &impl Serialize) {
        // It is made of texts and numbers, so that it can always be written.
        if serde_json::to_writer(&mut self.0, entry).is_ok() {
            self.0.push(b'\n');
        }
    }
}

impl Follow {
    /// The next piece of the answer, at the latest after [`WAIT`] and some.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let closing = self.shared.closing.clone();
        let entries = tokio::select! {
            entries = self.entries() => entries,
            () = closing.cancelled() => self.end("stopping", "this orchestrator stops; follow again when it is back"),
        };
        let Entries(mut bytes) = entries;
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
        Some(bytes.into())
    }

    fn end(&mut self, reason: &'static str, detail: &str) -> Entries {
        self.ended = true;
        let mut entries = Entries::default();
        entries.push(&EntryView::End { reason, detail });
        entries
    }

    async fn entries(&mut self) -> Entries {
        let Some(record) = self.record() else {
            return self.end("deleted", "the stream was deleted");
        };
        let Some(owner) = Owner::of(&record) else {
            let cluster = self.shared.cluster();
            let detail = explain::stream(&record, &cluster, Times(&*self.shared.context.clock));
            let entries = self.wait_for(&detail);
            if entries.0.is_empty() {
                let _ = timeout(WAIT, self.another_owner(None)).await;
            }
            return entries;
        };
        match &self.place {
            Some(place) if place.owner.counts_as(&owner) => self.read(&record, owner).await,
            Some(_) | None => self.go_to(&record, owner).await,
        }
    }

    /// Leaves the present owner for another one.
    async fn go_to(&mut self, record: &StreamRecord, owner: Owner) -> Entries {
        let mut entries = Entries::default();
        let mut former = self.place.take();
        if let Some(former) = &mut former {
            let request = former.request(&self.stream, Duration::ZERO);
            if let Ok(Ok(reply)) = timeout(LAST_WORDS, ask(&self.shared, &request)).await
                && former.session == Some(reply.session)
            {
                former.take(
                    &reply,
                    MAX_LOG_LINES,
                    &Secrets::of(&record.spec.source),
                    &mut entries,
                );
            }
        }
        self.told.clear();
        entries.push(&EntryView::Owner {
            worker: &owner.worker,
            session: owner.session,
            epoch: owner.epoch,
        });
        self.place = Some(match former {
            None => Place::newest(owner),
            // The worker's new life was read before it was known as the owner.
            Some(former) if former.owner.worker == owner.worker && former.session == Some(owner.session) => {
                Place { owner, ..former }
            }
            Some(_) => Place::begin(owner),
        });
        entries
    }

    /// Asks the present owner.
    async fn read(&mut self, record: &StreamRecord, owner: Owner) -> Entries {
        let Some(place) = &mut self.place else {
            return Entries::default();
        };
        let lines = if place.from.is_none() {
            self.lines
        } else {
            MAX_LOG_LINES
        };
        let request = LogRequest {
            lines: u32::try_from(lines.max(1)).unwrap_or(u32::MAX),
            ..place.request(&self.stream, WAIT)
        };
        let shared = self.shared.clone();
        let answer = tokio::select! {
            answer = ask(&shared, &request) => answer,
            () = self.another_owner(Some(&owner)) => return Entries(vec![b'\n']),
        };
        match (answer, &mut self.place) {
            (Ok(reply), Some(place)) => {
                self.told.clear();
                let mut entries = Entries::default();
                place.take(&reply, lines, &Secrets::of(&record.spec.source), &mut entries);
                entries
            }
            (Ok(_), None) => Entries::default(),
            (Err(unread), _) => {
                let problem = unread.problem(&owner.worker, &shared.cluster());
                let entries = self.wait_for(problem.detail());
                let _ = timeout(RETRY, self.another_owner(Some(&owner))).await;
                entries
            }
        }
    }

    /// Tells why nothing comes, once.
    fn wait_for(&mut self, detail: &str) -> Entries {
        let mut entries = Entries::default();
        if self.told != detail {
            entries.push(&EntryView::Waiting { detail });
            detail.clone_into(&mut self.told);
        }
        entries
    }

    fn record(&mut self) -> Option<Arc<StreamRecord>> {
        let cluster = self.cluster.borrow_and_update();
        cluster.streams.get(&self.stream).cloned()
    }

    /// Returns when the stream has another owner than this one, or is gone.
    async fn another_owner(&mut self, present: Option<&Owner>) {
        loop {
            let owner = self.record().map(|record| Owner::of(&record));
            let same = match (&owner, present) {
                (Some(None), None) => true,
                (Some(Some(owner)), Some(present)) => owner.counts_as(present),
                _ => false,
            };
            if !same {
                return;
            }
            if self.cluster.changed().await.is_err() {
                // Nothing will change any more: whoever waits has a limit of its own.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Place {
    /// Begins with the newest lines.
    const fn newest(owner: Owner) -> Self {
        Self {
            owner,
            session: None,
            from: None,
            least: Epoch::ZERO,
            expected: None,
        }
    }

    /// Begins with the first line that the owner has under its epoch.
    const fn begin(owner: Owner) -> Self {
        Self {
            session: Some(owner.session),
            from: Some(1),
            least: owner.epoch,
            expected: None,
            owner,
        }
    }

    fn request(&self, stream: &StreamId, wait: Duration) -> LogRequest {
        LogRequest {
            session: self.session,
            from: self.from,
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            ..self.owner.request(stream, MAX_LOG_LINES)
        }
    }

    /// Takes an answer: at most the newest `most` lines of it are shown.
    fn take(&mut self, reply: &LogReply, most: usize, secrets: &Secrets, entries: &mut Entries) {
        let worker = &self.owner.worker;
        if self.session != Some(reply.session) {
            // Another life of the worker counts anew.
            self.expected = None;
        }
        let missing = |expected: Option<u64>, number: u64, entries: &mut Entries| {
            let lines = expected.map_or(0, |expected| number.saturating_sub(expected));
            if lines > 0 {
                entries.push(&EntryView::Dropped { worker, lines });
            }
        };
        for line in reply.lines.iter().skip(reply.lines.len().saturating_sub(most)) {
            if line.epoch >= self.least {
                missing(self.expected, line.number, entries);
                entries.push(&EntryView::Line(LineView::new(line, worker, secrets)));
            }
            self.expected = line.number.checked_add(1);
        }
        missing(self.expected, reply.next, entries);
        self.expected = Some(reply.next);
        self.session = Some(reply.session);
        self.from = Some(reply.next);
    }
}
