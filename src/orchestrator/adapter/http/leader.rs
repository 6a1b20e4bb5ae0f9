//! Who leads, giving the lead up, and what a standby answers to everything else: where the leader is.

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest, HttpResponse};
use streamkeeper_core::cluster::Role;

use super::Shared;
use super::openapi::BadQuery;
use super::problem::{Kind, Problem, Shown};
use super::query::Query;
use super::views::Times;
use super::views::leader::{LeaderView, SteppingDownView};
use crate::port::{LeaderSeen, StepDownError};

/// Answered by every orchestrator for itself.
const OWN: &str = "/api/v1/leader";
/// What only the leader answers.
const LEADERS: [&str; 2] = ["/api/v1/", "/resilience/"];
/// Faults are injected into the process that is asked.
const FAULTS: &str = "/api/v1/faults/";
/// When to ask again while nobody leads.
const SOON_SECONDS: u32 = 1;

impl Shared {
    /// The leader, if it is another one and was heard a moment ago.
    pub(super) fn other_leader(&self) -> Option<LeaderSeen> {
        let now = self.context.clock.now();
        let seen = self.context.view.leader.borrow().clone();
        seen.filter(|seen| seen.is_fresh(now))
    }

    /// Whether there is a state to answer from. Who takes the lead over from another knows nothing before its fence
    /// stands; who takes a new term for itself still knows what it knew.
    fn knows_the_state(&self) -> bool {
        let cluster = self.context.view.cluster.borrow();
        match cluster.leadership.role {
            Role::Leading => true,
            Role::TakingOver => !(cluster.streams.is_empty() && cluster.workers.is_empty()),
            Role::Standby => false,
        }
    }

    pub(super) fn role(&self) -> Role {
        self.context.view.cluster.borrow().leadership.role
    }
}

/// Sends callers of a standby to the leader, with method and body.
pub(super) async fn to_the_leader<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let path = request.path();
    let leaders =
        LEADERS.iter().any(|leaders| path.starts_with(leaders)) && !path.starts_with(FAULTS) && path != OWN;
    let shared = request.app_data::<Data<Shared>>().cloned();
    let Some(shared) = shared.filter(|shared| leaders && !shared.knows_the_state()) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let Some(seen) = shared.other_leader().filter(|_| shared.role() == Role::Standby) else {
        let detail = match shared.role() {
            Role::Standby => "this orchestrator does not lead, and no leader is known",
            Role::TakingOver | Role::Leading => {
                "this orchestrator takes the lead over and has not read the state yet"
            }
        };
        return Err(Problem::new(Kind::NotLeading, detail)
            .retry_after(SOON_SECONDS)
            .suggest("ask again in a moment; GET /api/v1/leader shows how the election stands")
            .into());
    };
    let target = request
        .uri()
        .path_and_query()
        .map_or(path, |target| target.as_str());
    let answer = HttpResponse::TemporaryRedirect()
        .insert_header((LOCATION, format!("{}{target}", seen.api_url)))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish();
    Ok(request.into_response(answer).map_into_right_body())
}

/// Shows who leads, as the orchestrator that is asked knows it.
#[utoipa::path(
    get,
    path = "/api/v1/leader",
    operation_id = "get_leader",
    tag = "cluster",
    responses(
        (status = 200, body = LeaderView),
        BadQuery,
    ),
)]
pub(super) async fn show(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let context = &shared.context;
    let leadership = context.view.cluster.borrow().leadership;
    let election = context.view.election.borrow().clone();
    let other = shared.other_leader();
    let times = Times(&*context.clock);
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(LeaderView::new(
            &context.id,
            leadership,
            &election,
            other.as_ref(),
            times,
        )))
}

/// Has the leader give the lead up, so that another orchestrator takes it. It is under way when this answers.
#[utoipa::path(
    post,
    path = "/api/v1/leader/step-down",
    operation_id = "step_down",
    tag = "cluster",
    responses(
        (status = 202, body = SteppingDownView),
        BadQuery,
        (status = 409, body = Shown, content_type = "application/problem+json", description = "There is one orchestrator alone"),
        (status = 503, body = Shown, content_type = "application/problem+json", description = "Nobody leads, or too much waits"),
    ),
)]
pub(super) async fn step_down(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let term = shared.context.view.cluster.borrow().leadership.term;
    shared.context.gateway.step_down().map_err(|error| {
        let detail = error.to_string();
        match error {
            StepDownError::Alone => Problem::new(Kind::NobodyFollows, detail)
                .suggest("run several orchestrators with leadership.backend = \"nats\""),
            StepDownError::Busy(_) => Problem::new(Kind::Busy, detail).retry_after(SOON_SECONDS),
        }
    })?;
    tracing::info!(%term, "stepping down, as asked over the API");
    Ok(HttpResponse::Accepted().json(SteppingDownView::new(&shared.context.id, term)))
}
