//! Which refusal of a change becomes which status: the one place for it.

use streamkeeper_core::request::ApplyError;

use super::problem::{Kind, Problem};
use crate::port::GatewayError;

/// When to ask again where a moment helps.
const SOON_SECONDS: u32 = 1;
/// When to ask again where somebody may have to repair something.
const LATER_SECONDS: u32 = 5;

impl From<ApplyError> for Problem {
    fn from(error: ApplyError) -> Self {
        let detail = error.to_string();
        match error {
            ApplyError::NotLeading => Self::new(Kind::NotLeading, detail)
                .retry_after(SOON_SECONDS)
                .suggest("ask the leader, or wait until this one leads; GET /api/v1/status shows its role"),
            ApplyError::Busy(_) => Self::new(Kind::Busy, detail)
                .retry_after(SOON_SECONDS)
                .suggest("put many streams into one PUT /api/v1/streams"),
            ApplyError::Store(_) => Self::new(Kind::StoreUnavailable, detail)
                .retry_after(LATER_SECONDS)
                .suggest("look at GET /health; nothing was changed, and running streams go on"),
            ApplyError::Unknown(_) => Self::new(Kind::UnknownStream, detail)
                .suggest("GET /api/v1/streams lists the streams; nothing was changed"),
            ApplyError::UnknownWorker(_) => Self::new(Kind::UnknownWorker, detail)
                .suggest("GET /api/v1/workers lists the workers; nothing was changed"),
            ApplyError::Drains(worker) => Self::new(Kind::Drains, detail).suggest(format!(
                "GET /api/v1/workers/{worker}/drain shows how far it is, DELETE ends it"
            )),
            ApplyError::Impossible(_) => Self::new(Kind::Impossible, detail),
            ApplyError::TooManyDirectives(_) => Self::new(Kind::Impossible, detail),
            ApplyError::NotWaiting(_) => Self::new(Kind::StreamNotReleased, detail).suggest(
                "GET /api/v1/streams?state=waiting lists the streams that wait; nothing was changed",
            ),
            ApplyError::OwnerMayLive(_) => Self::new(Kind::StreamNotReleased, detail),
            ApplyError::LostTooSoon { .. } => Self::new(Kind::InvalidChange, detail),
            ApplyError::NotExclusive(_) => Self::new(Kind::InvalidChange, detail),
            ApplyError::Ambiguous(_) => Self::new(Kind::OutcomeUnknown, detail).suggest(READ_AGAIN),
        }
    }
}

/// A change may be sent twice, because it is declarative.
const READ_AGAIN: &str =
    "the change may be stored: read the streams, or send the same change again, which does no harm";

impl From<GatewayError> for Problem {
    fn from(error: GatewayError) -> Self {
        let detail = error.to_string();
        match error {
            GatewayError::Busy(_) => Self::new(Kind::Busy, detail).retry_after(SOON_SECONDS),
            GatewayError::Timeout(_) => Self::new(Kind::OutcomeUnknown, detail).suggest(READ_AGAIN),
        }
    }
}
