//! Streams and assignments: reading.

use std::ops::Bound;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::cluster::{ClusterState, StreamRecord, StreamState};
use streamkeeper_protocol::{StreamId, WorkerId};

use super::Shared;
use super::openapi::{BadQuery, NoStream};
use super::paging::Page;
use super::problem::{Kind, Problem};
use super::query::Query;
use super::views::Times;
use super::views::stream::{AssignmentView, AssignmentsView, StreamView, StreamsView};

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
                .all(|(key, value)| labels.get(key) == Some(value.as_str()))
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

/// Lists streams, sorted by name; `label.KEY=VALUE` keeps those with the label.
#[utoipa::path(
    get,
    path = "/api/v1/streams",
    operation_id = "list_streams",
    tag = "streams",
    params(
        ("prefix" = Option<String>, Query, description = "Beginning of the name"),
        ("state" = Option<String>, Query, description = "State"),
        ("worker" = Option<String>, Query, description = "Worker"),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 where it is not given"),
        ("after" = Option<String>, Query, description = "Begins after this key: `next` of the page before"),
    ),
    responses(
        (status = 200, body = StreamsView),
        BadQuery,
    ),
)]
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

/// Lists who may run which stream, sorted by stream.
#[utoipa::path(
    get,
    path = "/api/v1/assignments",
    operation_id = "list_assignments",
    tag = "assignments",
    params(
        ("prefix" = Option<String>, Query, description = "Beginning of the stream's name"),
        ("worker" = Option<String>, Query, description = "Worker"),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 where it is not given"),
        ("after" = Option<String>, Query, description = "Begins after this key: `next` of the page before"),
    ),
    responses(
        (status = 200, body = AssignmentsView),
        BadQuery,
    ),
)]
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

/// Shows one stream and explains why it is where it is.
#[utoipa::path(
    get,
    path = "/api/v1/streams/{name}",
    operation_id = "get_stream",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
    ),
    responses(
        (status = 200, body = StreamView),
        BadQuery,
        NoStream,
    ),
)]
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

pub(super) fn unknown(name: &str) -> Problem {
    Problem::new(Kind::UnknownStream, format!("stream {name} does not exist"))
        .suggest("GET /api/v1/streams lists the streams")
}
