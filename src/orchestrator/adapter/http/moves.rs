//! What moves, what would move, and how far drains are. Read from the snapshot; nothing waits for an actor.

use std::collections::BTreeSet;

use actix_web::web::{Data, Path, block};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::balancer;
use streamkeeper_core::cluster::{ClusterState, DrainState};
use streamkeeper_core::forecast::{self, Forecast};
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{StreamId, WorkerId};

use super::Shared;
use super::openapi::{BadQuery, NoStream, NoWorker};
use super::orders::worker;
use super::paging::MAX_LIMIT;
use super::problem::{Kind, Problem};
use super::query::Query;
use super::streams::unknown;
use super::views::Times;
use super::views::moves::{
    DrainView, ExplanationView, MigrationView, MigrationsView, PlanView, RebalanceView, StepsView,
};

/// Most workers that a what-if adds.
const MAX_NEW_WORKERS: usize = 1_000;
/// Moves that a what-if follows.
const MAX_STEPS: usize = 1_000;

/// Shows how far the last drain of a worker is.
#[utoipa::path(
    get,
    path = "/api/v1/workers/{id}/drain",
    operation_id = "get_drain",
    tag = "workers",
    params(("id" = String, Path, description = "The worker")),
    responses((status = 200, body = DrainView), BadQuery, NoWorker),
)]
pub(super) async fn drain(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let cluster = shared.cluster();
    let worker = worker(&id)?;
    let drain = cluster.drains.get(&worker).ok_or_else(|| {
        Problem::new(
            Kind::UnknownWorker,
            format!("no drain of worker {worker} is known"),
        )
        .suggest("POST to the same path begins one")
    })?;
    let times = Times(&*shared.context.clock);
    Ok(HttpResponse::Ok().json(DrainView::new(&worker, drain, &cluster, times)))
}

/// Shows whether evening out is paused.
#[utoipa::path(
    get,
    path = "/api/v1/rebalance",
    operation_id = "get_rebalance",
    tag = "cluster",
    responses((status = 200, body = RebalanceView), BadQuery),
)]
pub(super) async fn rebalance(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let cluster = shared.cluster();
    let now = shared.context.clock.now();
    Ok(HttpResponse::Ok().json(RebalanceView::new(&cluster, now, Times(&*shared.context.clock))))
}

/// Lists moves: those under way, those that wait to begin, then those that ended, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/migrations",
    operation_id = "list_migrations",
    tag = "cluster",
    params(
        ("stream" = Option<String>, Query, description = "Only moves of this stream"),
        ("worker" = Option<String>, Query, description = "Only moves from or to this worker"),
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 1000; 100 where it is not given"),
    ),
    responses((status = 200, body = MigrationsView), BadQuery),
)]
pub(super) async fn migrations(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let stream = query.parsed::<StreamId>("stream");
    let worker = query.parsed::<WorkerId>("worker");
    let limit = query.parsed("limit").unwrap_or(100);
    if limit == 0 || limit > MAX_LIMIT {
        query.wrong("limit", format!("{limit}: write a number from 1 to {MAX_LIMIT}"));
    }
    query.finish()?;
    let cluster = shared.cluster();
    let times = Times(&*shared.context.clock);
    let migrations = &cluster.migrations;
    let open = migrations.active().chain(migrations.planned());
    let all = open.chain(migrations.recent().rev());
    let found = all.filter(|migration| {
        let concerns = |worker: &WorkerId| migration.from == *worker || migration.to == *worker;
        stream.as_ref().is_none_or(|stream| migration.stream == *stream)
            && worker.as_ref().is_none_or(concerns)
    });
    let migrations = found
        .take(limit)
        .map(|migration| MigrationView::new(migration, times));
    Ok(HttpResponse::Ok().json(MigrationsView {
        migrations: migrations.collect(),
    }))
}

/// Shows what moves, and what would move next.
#[utoipa::path(
    get,
    path = "/api/v1/plan",
    operation_id = "get_plan",
    tag = "cluster",
    responses((status = 200, body = PlanView), BadQuery),
)]
pub(super) async fn plan(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let cluster = shared.cluster();
    let now = shared.context.clock.now();
    let times = Times(&*shared.context.clock);
    let migrations = &cluster.migrations;
    let config = shared.context.balancer;
    let next = off_thread(cluster.clone(), move |cluster| {
        forecast::even_out(now, config, &cluster, 0)
    })
    .await?;
    let running = cluster
        .drains
        .iter()
        .filter(|(_, drain)| drain.state == DrainState::Running);
    Ok(HttpResponse::Ok().json(PlanView {
        rebalance: RebalanceView::new(&cluster, now, times),
        migrations: migrations
            .active()
            .chain(migrations.planned())
            .map(|migration| MigrationView::new(migration, times))
            .collect(),
        drains: running
            .map(|(worker, drain)| DrainView::new(worker, drain, &cluster, times))
            .collect(),
        next: StepsView::of(&next),
    }))
}

/// Shows what would move if workers were lost, drained or added. Nothing is changed.
#[utoipa::path(
    get,
    path = "/api/v1/plan/what-if",
    operation_id = "what_if",
    tag = "cluster",
    params(
        ("lose" = Option<String>, Query, description = "The worker that would be lost"),
        ("drain" = Option<String>, Query, description = "The zone whose workers would be drained"),
        ("add" = Option<u32>, Query, description = "How many workers like the largest one would join"),
    ),
    responses((status = 200, body = StepsView), BadQuery, NoWorker),
)]
pub(super) async fn what_if(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let lose = query.parsed::<WorkerId>("lose");
    let zone = query.text("drain");
    let add = query.parsed::<usize>("add");
    let asked = [lose.is_some(), zone.is_some(), add.is_some()];
    if asked.iter().filter(|asked| **asked).count() != 1 {
        query.wrong("lose", "give exactly one of lose, drain and add".to_owned());
    }
    if add.is_some_and(|add| add == 0 || add > MAX_NEW_WORKERS) {
        query.wrong("add", format!("write a number from 1 to {MAX_NEW_WORKERS}"));
    }
    query.finish()?;
    let cluster = shared.cluster();
    let now = shared.context.clock.now();
    let without = match (lose, zone) {
        (Some(worker), _) if cluster.workers.contains_key(&worker) => BTreeSet::from([worker]),
        (Some(worker), _) => {
            let detail = format!("worker {worker} is not known");
            return Err(
                Problem::new(Kind::UnknownWorker, detail).suggest("GET /api/v1/workers lists the workers")
            );
        }
        (None, Some(zone)) => in_zone(&cluster, &zone)?,
        (None, None) => BTreeSet::new(),
    };
    let config = shared.context.balancer;
    let forecast = off_thread(cluster, move |cluster| {
        what(now, config, &cluster, &without, add.unwrap_or_default())
    })
    .await?;
    Ok(HttpResponse::Ok().json(StepsView::of(&forecast)))
}

fn in_zone(cluster: &ClusterState, zone: &str) -> Result<BTreeSet<WorkerId>, Problem> {
    let workers = cluster.workers.values();
    let found = workers.filter(|worker| worker.zone.as_deref() == Some(zone));
    let found: BTreeSet<WorkerId> = found.map(|worker| worker.id.clone()).collect();
    if found.is_empty() {
        let detail = format!("no worker is in zone {zone:?}");
        return Err(Problem::new(Kind::UnknownWorker, detail).suggest("GET /api/v1/workers shows the zones"));
    }
    Ok(found)
}

fn what(
    now: Timestamp,
    config: balancer::Config,
    cluster: &ClusterState,
    without: &BTreeSet<WorkerId>,
    add: usize,
) -> Forecast {
    if add > 0 {
        let config = balancer::Config {
            max_moves_per_round: MAX_STEPS,
            ..config
        };
        return forecast::even_out(now, config, cluster, add);
    }
    let lost = without.iter().filter_map(|worker| cluster.workers.get(worker));
    let streams = lost.flat_map(|worker| worker.assigned.iter().cloned()).collect();
    forecast::elsewhere(now, config, cluster, &streams, without)
}

/// Plans of large fleets take a while.
async fn off_thread(
    cluster: ClusterState,
    work: impl FnOnce(ClusterState) -> Forecast + Send + 'static,
) -> Result<Forecast, Problem> {
    block(move || work(cluster))
        .await
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))
}

/// Explains why a stream is where it is: every worker with its score or what excludes it, and the stream's moves.
#[utoipa::path(
    get,
    path = "/api/v1/streams/{name}/explain",
    operation_id = "explain_stream",
    tag = "streams",
    params(("name" = String, Path, description = "The stream")),
    responses((status = 200, body = ExplanationView), BadQuery, NoStream),
)]
pub(super) async fn explain(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let cluster = shared.cluster();
    let now = shared.context.clock.now();
    let found = StreamId::new(name.as_str()).ok();
    let record = found.and_then(|name| cluster.streams.get(&name).cloned());
    let record = record.ok_or_else(|| unknown(&name))?;
    let (copy, stream) = (cluster.clone(), record.spec.name.clone());
    let config = shared.context.balancer;
    let seen = block(move || forecast::candidates(now, config, &copy, &stream)).await;
    let seen = seen.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    let times = Times(&*shared.context.clock);
    let view = ExplanationView::new(&record, &cluster, seen.as_deref().unwrap_or_default(), now, times);
    Ok(HttpResponse::Ok().json(view))
}
