//! Who leads.

use serde::Serialize;
use streamkeeper_core::cluster::{Leadership, Role};
use streamkeeper_core::election::Status;
use streamkeeper_protocol::{OrchestratorId, Term};
use utoipa::ToSchema;

use super::super::mask::mask;
use super::Times;
use crate::port::LeaderSeen;

/// Who leads, as one orchestrator knows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Leader)]
pub(in super::super) struct LeaderView {
    /// The orchestrator that answers.
    orchestrator: String,
    /// Its role: `standby`, `taking_over` or `leading`.
    role: &'static str,
    /// How it stands in the election: `waiting`, `holding`, `leaving` or `resting`.
    election: &'static str,
    /// Whether the last look at the leader's key was answered.
    key_reachable: bool,
    /// The leader; none while nobody leads, as far as it knows.
    #[schema(required)]
    leader: Option<String>,
    /// Where the leader's API answers, where the leader is another one.
    #[schema(required)]
    api_url: Option<String>,
    /// The leader's term, or the highest that is known.
    #[schema(value_type = u32)]
    term: Term,
    /// Since when this orchestrator has its role.
    #[schema(required)]
    since: Option<String>,
}

impl LeaderView {
    pub(in super::super) fn new(
        id: &OrchestratorId,
        leadership: Leadership,
        election: &Status,
        other: Option<&LeaderSeen>,
        times: Times<'_>,
    ) -> Self {
        let (leader, term) = match (leadership.role, other) {
            (Role::Standby, Some(seen)) => (Some(&seen.leader), seen.term),
            (Role::Standby, None) => (None, election.term),
            (Role::TakingOver | Role::Leading, _) => (Some(id), leadership.term),
        };
        let api_url = other.filter(|_| leadership.role == Role::Standby);
        Self {
            orchestrator: id.to_string(),
            role: leadership.role.as_str(),
            election: election.stage.as_str(),
            key_reachable: election.reachable,
            leader: leader.map(ToString::to_string),
            api_url: api_url.map(|seen| mask(&seen.api_url).into_owned()),
            term,
            since: times.known(leadership.since),
        }
    }
}

/// The lead is being given up.
#[derive(Serialize, ToSchema)]
#[schema(as = SteppingDown)]
pub(in super::super) struct SteppingDownView {
    /// Who gives it up.
    orchestrator: String,
    /// The term that ends.
    #[schema(value_type = u32)]
    term: Term,
}

impl SteppingDownView {
    pub(in super::super) fn new(id: &OrchestratorId, term: Term) -> Self {
        Self {
            orchestrator: id.to_string(),
            term,
        }
    }
}
