//! Moves, and what decides on them.

use serde::Serialize;
use streamkeeper_core::cluster::{ClusterState, Drain, DrainState, StreamRecord, UnplacedReason};
use streamkeeper_core::contradiction::Contradiction;
use streamkeeper_core::directive::{Key, Standing};
use streamkeeper_core::forecast::{Forecast, Seen, Step};
use streamkeeper_core::migration::Migration;
use streamkeeper_core::request::Applied;
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{StreamId, WorkerId};
use utoipa::ToSchema;

use super::{Times, masked_option};

/// What was ordered.
#[derive(Serialize, ToSchema)]
#[schema(as = Ordered)]
pub(in super::super) struct OrderedView<'a> {
    ordered: &'static str,
    /// The worker, the stream, or `fleet`.
    subject: &'a str,
}

impl<'a> OrderedView<'a> {
    pub(in super::super) const fn new(ordered: &'static str, subject: &'a str) -> Self {
        Self { ordered, subject }
    }
}

/// A stream that would move.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
struct StepView<'a> {
    #[schema(value_type = String)]
    stream: &'a StreamId,
    #[schema(value_type = Option<String>, required)]
    from: Option<&'a WorkerId>,
    #[schema(value_type = String)]
    to: &'a WorkerId,
}

/// A stream that nobody can take.
#[derive(Serialize, ToSchema)]
#[schema(as = Lacking)]
struct LackingView<'a> {
    #[schema(value_type = String)]
    stream: &'a StreamId,
    /// `no_workers`, `no_labels`, `no_guard`, `no_capacity` and others.
    reason: &'static str,
    detail: String,
}

/// Streams that move, or would.
#[derive(Serialize, ToSchema)]
#[schema(as = Steps)]
pub(in super::super) struct StepsView<'a> {
    moves: Vec<StepView<'a>>,
    /// Streams that would have no worker.
    unplaced: Vec<LackingView<'a>>,
    /// Whether this only says what would be done.
    dry_run: bool,
}

impl<'a> StepsView<'a> {
    pub(in super::super) fn new(
        steps: &'a [Step],
        unplaced: &'a [(StreamId, UnplacedReason)],
        dry_run: bool,
    ) -> Self {
        Self {
            moves: steps.iter().map(step).collect(),
            unplaced: unplaced.iter().map(lacking).collect(),
            dry_run,
        }
    }

    pub(in super::super) fn of(forecast: &'a Forecast) -> Self {
        Self::new(&forecast.steps, &forecast.unplaced, true)
    }
}

const fn step(step: &Step) -> StepView<'_> {
    StepView {
        stream: &step.stream,
        from: step.from.as_ref(),
        to: &step.to,
    }
}

fn lacking((stream, reason): &(StreamId, UnplacedReason)) -> LackingView<'_> {
    LackingView {
        stream,
        reason: reason.as_str(),
        detail: reason.to_string(),
    }
}

/// What became of a pin.
#[derive(Serialize, ToSchema)]
#[schema(as = Pin)]
pub(in super::super) struct PinView {
    #[schema(value_type = String)]
    stream: StreamId,
    /// The only worker that may run it from now on.
    #[schema(value_type = Option<String>, required)]
    pin: Option<WorkerId>,
    /// Whether it moves there now.
    moves: bool,
    /// What keeps the pin from being kept at present.
    warnings: Vec<String>,
    /// Whether this only says what would be done.
    dry_run: bool,
}

impl PinView {
    pub(in super::super) fn new(
        stream: StreamId,
        pin: Option<WorkerId>,
        applied: &Applied,
        dry_run: bool,
    ) -> Self {
        let moves = !applied.moves.is_empty();
        let warnings = Vec::new();
        Self {
            stream,
            pin,
            moves,
            warnings,
            dry_run,
        }
    }

    pub(in super::super) fn warned(mut self, found: &[Contradiction]) -> Self {
        let said = found
            .iter()
            .map(|found| format!("{} {}", found.field, found.detail));
        self.warnings.extend(said);
        self
    }

    /// Who has it, whatever the pin says.
    pub(in super::super) fn stays(mut self, owner: Option<&WorkerId>) -> Self {
        if let Some((owner, pin)) = owner.zip(self.pin.as_ref())
            && owner != pin
            && !self.moves
        {
            self.warnings.push(format!(
                "it runs on {owner} for the time being, because it cannot move to {pin} now; `streamkeeper streams move {} --to \
                 {pin}` tells why, and moves it when that can be",
                self.stream
            ));
        }
        self
    }
}

/// One move.
#[derive(Serialize, ToSchema)]
#[schema(as = Migration)]
pub(in super::super) struct MigrationView<'a> {
    #[schema(value_type = String)]
    stream: &'a StreamId,
    #[schema(value_type = String)]
    from: &'a WorkerId,
    #[schema(value_type = String)]
    to: &'a WorkerId,
    /// Why: `balance`, `drain`, `asked`, `rolled_back`, `worker_lost` and others.
    reason: &'static str,
    /// `make_before_break`, `break_before_make` or `emergency`.
    way: &'static str,
    /// `planned`, `preparing`, `releasing`, `starting`, `verifying`, `done`, `rolled_back` or `cancelled`.
    state: &'static str,
    began: String,
    since: String,
    /// How long nobody ran it.
    #[schema(required)]
    gap_ms: Option<u64>,
    /// How long both ran it.
    #[schema(required)]
    overlap_ms: Option<u64>,
    /// What went wrong.
    #[serde(serialize_with = "masked_option")]
    #[schema(value_type = Option<String>, required)]
    detail: Option<&'a str>,
}

impl<'a> MigrationView<'a> {
    pub(in super::super) fn new(migration: &'a Migration, times: Times<'_>) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let earlier = migration.earlier;
        let began = earlier.map(|earlier| times.before(earlier.read, earlier.began));
        let ended = earlier.map(|earlier| times.before(earlier.read, earlier.ended));
        Self {
            stream: &migration.stream,
            from: &migration.from,
            to: &migration.to,
            reason: migration.reason.as_str(),
            way: migration.way.as_str(),
            state: migration.state.as_str(),
            began: began.unwrap_or_else(|| times.show(migration.began)),
            since: ended.unwrap_or_else(|| times.show(migration.since)),
            gap_ms: migration.gap.map(millis),
            overlap_ms: migration.overlap.map(millis),
            detail: migration.detail.as_deref(),
        }
    }
}

/// Moves: those under way first, then those that ended, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Migrations)]
pub(in super::super) struct MigrationsView<'a> {
    pub(in super::super) migrations: Vec<MigrationView<'a>>,
}

/// How far a drain is.
#[derive(Serialize, ToSchema)]
#[schema(as = Drain)]
pub(in super::super) struct DrainView<'a> {
    #[schema(value_type = String)]
    worker: &'a WorkerId,
    /// `running`, `done` or `cancelled`.
    state: &'static str,
    began: String,
    #[schema(required)]
    ended: Option<String>,
    /// Streams that the worker had when it began.
    total: usize,
    /// Streams that it still has.
    remaining: usize,
    /// Streams that nobody else can take at present.
    left: Vec<LackingView<'a>>,
}

impl<'a> DrainView<'a> {
    pub(in super::super) fn new(
        worker: &'a WorkerId,
        drain: &'a Drain,
        cluster: &ClusterState,
        times: Times<'_>,
    ) -> Self {
        let record = cluster.workers.get(worker);
        let leaves = cluster.migrations.active();
        let leaving = leaves.filter(|migration| migration.from == *worker && !migration.is_away());
        let remaining = record.map_or(0, |record| record.assigned.len()) + leaving.count();
        Self {
            worker,
            state: drain.state.as_str(),
            began: times.show(drain.began),
            ended: drain.ended.map(|ended| times.show(ended)),
            total: drain.total.max(remaining),
            remaining: if drain.state == DrainState::Done {
                0
            } else {
                remaining
            },
            left: drain.left.iter().map(lacking).collect(),
        }
    }
}

/// An order that stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Standing)]
pub(in super::super) struct StandingView<'a> {
    reason: &'a str,
    since: String,
    #[schema(required)]
    until: Option<String>,
}

impl<'a> StandingView<'a> {
    fn new(standing: &'a Standing, times: Times<'_>) -> Self {
        Self {
            reason: &standing.reason,
            since: times.show(standing.since),
            until: standing.until.map(|until| times.show(until)),
        }
    }
}

/// Whether evening out goes on.
#[derive(Serialize, ToSchema)]
#[schema(as = Rebalance)]
pub(in super::super) struct RebalanceView<'a> {
    /// None while it goes on.
    #[schema(required)]
    paused: Option<StandingView<'a>>,
}

impl<'a> RebalanceView<'a> {
    pub(in super::super) fn new(cluster: &'a ClusterState, now: Timestamp, times: Times<'_>) -> Self {
        let pause = cluster.directives.get(now, &Key::pause());
        Self {
            paused: pause.map(|pause| StandingView::new(pause, times)),
        }
    }
}

/// What moves, and what would move next.
#[derive(Serialize, ToSchema)]
#[schema(as = Plan)]
pub(in super::super) struct PlanView<'a> {
    #[serde(flatten)]
    pub(in super::super) rebalance: RebalanceView<'a>,
    /// Moves under way.
    pub(in super::super) migrations: Vec<MigrationView<'a>>,
    /// Drains under way.
    pub(in super::super) drains: Vec<DrainView<'a>>,
    /// What the next round of evening out would do.
    pub(in super::super) next: StepsView<'a>,
}

/// One worker, seen from a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Candidate)]
struct CandidateView<'a> {
    #[schema(value_type = String)]
    worker: &'a WorkerId,
    /// Whether the stream is there.
    here: bool,
    /// Relative load that it would have with the stream, plus what it lacks of the preferred labels; the lowest is best.
    score: f64,
    /// The part of the score that comes from preferred labels.
    dislike: f64,
    /// Whether the stream failed there before.
    avoided: bool,
    /// How many streams with its spread key are in the worker's zone: zones with fewer come first.
    crowd: usize,
    /// What excludes it.
    #[schema(required)]
    excluded: Option<String>,
}

/// Why a stream is where it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(in super::super) struct ExplanationView<'a> {
    #[schema(value_type = String)]
    stream: &'a StreamId,
    #[schema(value_type = Option<String>, required)]
    worker: Option<&'a WorkerId>,
    /// In words.
    explanation: String,
    /// Set while an operator wants it to stay where it is.
    #[schema(required)]
    frozen: Option<StandingView<'a>>,
    /// Every worker: first those that may have it, best first, then those that are excluded.
    candidates: Vec<CandidateView<'a>>,
    /// Its moves, those under way first, then the newest.
    history: Vec<MigrationView<'a>>,
}

impl<'a> ExplanationView<'a> {
    pub(in super::super) fn new(
        record: &'a StreamRecord,
        cluster: &'a ClusterState,
        seen: &'a [Seen],
        now: Timestamp,
        times: Times<'_>,
    ) -> Self {
        let stream = &record.spec.name;
        let worker = record.slot.worker();
        let frozen = cluster.directives.get(now, &Key::freeze(stream));
        let migrations = &cluster.migrations;
        let open = migrations.active().chain(migrations.planned());
        let history = open.chain(migrations.recent().rev());
        let candidate = |seen: &'a Seen| CandidateView {
            worker: &seen.worker,
            here: worker == Some(&seen.worker),
            score: seen.candidate.score,
            dislike: seen.candidate.dislike,
            avoided: seen.candidate.avoided,
            crowd: seen.candidate.crowd,
            excluded: seen.candidate.excluded.as_ref().map(ToString::to_string),
        };
        Self {
            stream,
            worker,
            explanation: super::explain::stream(record, cluster, times),
            frozen: frozen.map(|frozen| StandingView::new(frozen, times)),
            candidates: seen.iter().map(candidate).collect(),
            history: history
                .filter(|migration| migration.stream == *stream)
                .map(|migration| MigrationView::new(migration, times))
                .collect(),
        }
    }
}
