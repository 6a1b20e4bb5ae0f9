//! What happened.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::mask::mask;
use crate::port::StoredEvent;

/// One thing that happened.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(in super::super) struct EventView {
    /// Its place: later ones have higher ones.
    id: u64,
    /// When, RFC 3339.
    at: String,
    /// What happened: the kinds of `docs/PROTOCOL.md`, and `api_write`.
    kind: String,
    /// Who did it: an orchestrator's id; `loopback` or an address, where it was asked over the API.
    actor: String,
    /// Why; empty where nobody said.
    cause: String,
    /// What belongs together has the same: a request's id (`x-request-id`), a session, an epoch; empty where there is none.
    correlation: String,
    /// The stream, the worker or the dependency that it is about; empty for the whole fleet.
    subject: String,
    /// Everything that is known of it, by glossary name.
    fields: BTreeMap<String, String>,
}

impl From<StoredEvent> for EventView {
    fn from(stored: StoredEvent) -> Self {
        let event = stored.event;
        let fields = event.fields.into_iter();
        Self {
            id: stored.id,
            at: event.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            kind: event.kind,
            actor: event.actor,
            cause: mask(&event.cause).into_owned(),
            correlation: event.correlation,
            subject: event.subject,
            fields: fields
                .map(|(key, value)| (key, mask(&value).into_owned()))
                .collect(),
        }
    }
}

/// A page of what happened.
#[derive(Serialize, ToSchema)]
#[schema(as = Events)]
pub(in super::super) struct EventsView {
    /// The oldest first.
    pub(in super::super) events: Vec<EventView>,
    /// Where there may be more after them: `after` of the next page.
    #[schema(required)]
    pub(in super::super) next: Option<String>,
}
