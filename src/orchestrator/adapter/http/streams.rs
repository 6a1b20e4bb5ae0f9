//! Streams and assignments: reading and changing.

use std::ops::Bound;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload, block};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::cluster::{ClusterState, StreamRecord, StreamState};
use streamkeeper_core::request::{Applied, ApplyStreams};
use streamkeeper_protocol::{StreamId, WorkerId};

use super::paging::Page;
use super::problem::{ErrorItem, Kind, Problem};
use super::query::{Query, dry_run};
use super::views::Times;
use super::views::stream::{AppliedView, AssignmentView, AssignmentsView, StreamView, StreamsView};
use super::{Shared, body};

/// Which streams are wanted.
struct Filter {
    prefix: Option<StreamId>,
    state: Option<StreamState>,
    worker: Option<WorkerId>,
    labels: Vec<(String, String)>,
}

impl Filter {
    fn of(query: &mut Query) -> Self {
        Self {
            prefix: query.parsed("prefix"),
            state: query.choice("state", &StreamState::ALL.map(|state| (state.as_str(), state))),
            worker: query.parsed("worker"),
            labels: query.map("label.", "label.KEY"),
        }
    }

    fn takes(&self, record: &StreamRecord) -> bool {
        let labels = &record.spec.labels;
        self.state.is_none_or(|state| record.state() == state)
            && self
                .worker
                .as_ref()
                .is_none_or(|worker| record.slot.worker() == Some(worker))
            && self
                .labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The streams after the page's cursor, sorted by name. Only those that are looked at are touched.
    fn records<'a>(
        &'a self,
        cluster: &'a ClusterState,
        after: Option<&'a StreamId>,
    ) -> impl Iterator<Item = &'a StreamRecord> {
        let prefix = self.prefix.as_ref();
        let start = match (after, prefix) {
            (Some(after), Some(prefix)) if after < prefix => Bound::Included(prefix),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(prefix)) => Bound::Included(prefix),
            (None, None) => Bound::Unbounded,
        };
        let inside =
            move |name: &StreamId| prefix.is_none_or(|prefix| name.as_str().starts_with(prefix.as_str()));
        cluster
            .streams
            .range::<_, StreamId>((start, Bound::Unbounded))
            .take_while(move |(name, _)| inside(name))
            .map(|(_, record)| &**record)
            .filter(|record| self.takes(record))
    }
}

/// `GET /api/v1/streams`.
pub(super) async fn list(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let filter = Filter::of(&mut query);
    let page = Page::<StreamId>::of(&mut query);
    query.finish()?;
    let cluster = shared.cluster();
    let records = filter.records(&cluster, page.after.as_ref());
    let (records, next) = page.cut(records, |record| record.spec.name.to_string());
    let times = Times(&*shared.context.clock);
    let views = records.iter().map(|record| StreamView::new(record, times));
    Ok(HttpResponse::Ok().json(StreamsView {
        streams: views.collect(),
        next,
    }))
}

/// `GET /api/v1/assignments`.
pub(super) async fn assignments(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let filter = Filter {
        prefix: query.parsed("prefix"),
        state: None,
        worker: None,
        labels: Vec::new(),
    };
    // An orphan has an assignment, though it takes no capacity: the filter looks at the assignment.
    let worker = query.parsed::<WorkerId>("worker");
    let page = Page::<StreamId>::of(&mut query);
    query.finish()?;
    let cluster = shared.cluster();
    let wanted = |record: &&StreamRecord| {
        let assignment = record.slot.assignment();
        assignment.is_some_and(|assignment| worker.as_ref().is_none_or(|id| assignment.worker == *id))
    };
    let records = filter.records(&cluster, page.after.as_ref()).filter(wanted);
    let (records, next) = page.cut(records, |record| record.spec.name.to_string());
    let times = Times(&*shared.context.clock);
    let views = records
        .iter()
        .filter_map(|record| AssignmentView::new(record, times));
    Ok(HttpResponse::Ok().json(AssignmentsView {
        assignments: views.collect(),
        next,
    }))
}

/// `GET /api/v1/streams/{name}`.
pub(super) async fn show(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let cluster = shared.cluster();
    let record = StreamId::new(name.as_str())
        .ok()
        .and_then(|id| cluster.streams.get(&id))
        .ok_or_else(|| unknown(&name))?;
    let times = Times(&*shared.context.clock);
    Ok(HttpResponse::Ok().json(StreamView::explained(record, &cluster, times)))
}

/// `PUT /api/v1/streams`.
pub(super) async fn apply(
    request: HttpRequest,
    shared: Data<Shared>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let bytes = body::read(&request, payload).await?;
    let change = off_thread(move || body::change(&bytes)).await?;
    let change = ApplyStreams { dry_run, ..change };
    let applied = send(&shared, change).await?;
    Ok(HttpResponse::Ok().json(AppliedView::new(&applied, dry_run)))
}

/// `PUT /api/v1/streams/{name}`.
pub(super) async fn put(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let id = StreamId::new(name.as_str()).map_err(|error| {
        Problem::new(Kind::InvalidChange, "the path does not name a stream")
            .with_errors(vec![ErrorItem::parameter("name", error.to_string())])
    })?;
    let bytes = body::read(&request, payload).await?;
    let spec = off_thread(move || body::one(&bytes, &id)).await?;
    let change = ApplyStreams {
        streams: vec![spec],
        dry_run,
        ..ApplyStreams::default()
    };
    let applied = send(&shared, change).await?;
    let mut response = HttpResponse::Ok();
    if !applied.created.is_empty() && !dry_run {
        response
            .status(StatusCode::CREATED)
            .insert_header((LOCATION, request.path()));
    }
    Ok(response.json(AppliedView::new(&applied, dry_run)))
}

/// `DELETE /api/v1/streams/{name}`.
pub(super) async fn delete(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let id = StreamId::new(name.as_str()).map_err(|_| unknown(&name))?;
    let change = ApplyStreams {
        delete: vec![id],
        dry_run,
        ..ApplyStreams::default()
    };
    let applied = send(&shared, change).await?;
    Ok(HttpResponse::Ok().json(AppliedView::new(&applied, dry_run)))
}

async fn send(shared: &Shared, change: ApplyStreams) -> Result<Applied, Problem> {
    let dry_run = change.dry_run;
    let applied = shared.context.gateway.apply(change).await??;
    if !dry_run {
        tracing::info!(
            created = applied.created.len(),
            changed = applied.changed.len(),
            deleted = applied.deleted.len(),
            unchanged = applied.unchanged.len(),
            "streams were changed over the API"
        );
    }
    Ok(applied)
}

/// Reads a body where it holds up no other request: large ones take a while.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match block(work).await {
        Ok(result) => result,
        Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(Kind::UnknownStream, format!("stream {name} does not exist"))
        .suggest("GET /api/v1/streams lists the streams")
}
