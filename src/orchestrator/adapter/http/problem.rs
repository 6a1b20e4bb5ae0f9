//! Every error of the API: `application/problem+json` (RFC 9457).

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::mask::mask;

/// Most places that one problem names.
const MAX_ERRORS: usize = 100;

/// The kinds of problems: what programs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    MalformedJson,
    InvalidQuery,
    InvalidChange,
    BadRequest,
    FaultInjectionOff,
    UnknownStream,
    UnknownWorker,
    UnknownActor,
    UnknownAlert,
    UnknownAttempt,
    UnknownIncident,
    UnknownPath,
    StreamNotPlaced,
    Drains,
    Impossible,
    StreamNotReleased,
    MethodNotAllowed,
    BodyTimeout,
    BodyTooLarge,
    NotLeading,
    NobodyFollows,
    Busy,
    StoreUnavailable,
    HistoryUnavailable,
    NotReady,
    NotStarted,
    TooManyReaders,
    BusUnavailable,
    NoLines,
    WorkerSilent,
    OrderRefused,
    OutcomeUnknown,
    Internal,
}

impl Kind {
    /// (status, last part of the type, title).
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedJson => (S::BAD_REQUEST, "malformed-json", "The body is not JSON"),
            Self::InvalidQuery => (S::BAD_REQUEST, "invalid-query", "The query cannot be read"),
            Self::InvalidChange => (
                S::UNPROCESSABLE_ENTITY,
                "invalid-change",
                "The change was refused; nothing of it was done",
            ),
            Self::BadRequest => (S::BAD_REQUEST, "bad-request", "The request cannot be read"),
            Self::FaultInjectionOff => (
                S::FORBIDDEN,
                "fault-injection-off",
                "Fault injection is switched off",
            ),
            Self::UnknownStream => (S::NOT_FOUND, "unknown-stream", "There is no such stream"),
            Self::UnknownWorker => (S::NOT_FOUND, "unknown-worker", "There is no such worker"),
            Self::UnknownActor => (S::NOT_FOUND, "unknown-actor", "There is no such actor"),
            Self::UnknownIncident => (S::NOT_FOUND, "unknown-incident", "There is no such incident"),
            Self::UnknownAlert => (S::NOT_FOUND, "unknown-alert", "There is no such alert or silence"),
            Self::UnknownAttempt => (S::NOT_FOUND, "unknown-attempt", "There is no such attempt"),
            Self::UnknownPath => (S::NOT_FOUND, "unknown-path", "There is nothing at this path"),
            Self::StreamNotPlaced => (S::CONFLICT, "stream-not-placed", "The stream has no worker"),
            Self::Drains => (S::CONFLICT, "drains", "The worker is being drained already"),
            Self::Impossible => (
                S::PRECONDITION_FAILED,
                "impossible",
                "It cannot be done as things are; nothing was changed",
            ),
            Self::StreamNotReleased => (
                S::CONFLICT,
                "stream-not-released",
                "The stream cannot be released",
            ),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The path does not take this method",
            ),
            Self::BodyTimeout => (S::REQUEST_TIMEOUT, "body-timeout", "The body came too slowly"),
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is larger than the limit",
            ),
            Self::NotLeading => (
                S::SERVICE_UNAVAILABLE,
                "not-leading",
                "This orchestrator does not lead",
            ),
            Self::NobodyFollows => (
                S::CONFLICT,
                "nobody-follows",
                "There is no other orchestrator to take the lead",
            ),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "Too many changes wait already"),
            Self::StoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "The database did not store the change",
            ),
            Self::HistoryUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "history-unavailable",
                "The database does not answer",
            ),
            Self::NotReady => (
                S::SERVICE_UNAVAILABLE,
                "not-ready",
                "This orchestrator is not ready",
            ),
            Self::NotStarted => (
                S::SERVICE_UNAVAILABLE,
                "not-started",
                "This orchestrator still starts",
            ),
            Self::TooManyReaders => (
                S::SERVICE_UNAVAILABLE,
                "too-many-readers",
                "Too many read already",
            ),
            Self::BusUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "bus-unavailable",
                "The message server cannot be reached",
            ),
            Self::NoLines => (S::BAD_GATEWAY, "no-lines", "The worker shows no lines"),
            Self::WorkerSilent => (S::GATEWAY_TIMEOUT, "worker-silent", "The worker does not answer"),
            Self::OrderRefused => (S::CONFLICT, "order-refused", "The worker refused the order"),
            Self::OutcomeUnknown => (
                S::GATEWAY_TIMEOUT,
                "outcome-unknown",
                "The change may be stored or not",
            ),
            Self::Internal => (
                S::INTERNAL_SERVER_ERROR,
                "internal",
                "The request failed by a fault of this program",
            ),
        }
    }
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// JSON pointer into the body (RFC 6901).
    Pointer(String),
    /// Name of a parameter of path or query.
    Parameter(String),
    /// Name of a dependency.
    Dependency(&'static str),
}

/// One of several things that are wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ErrorItem {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) detail: String,
}

impl ErrorItem {
    pub(super) fn pointer(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            place: Place::Pointer(pointer.into()),
            detail: detail.into(),
        }
    }

    pub(super) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            place: Place::Parameter(name.into()),
            detail: detail.into(),
        }
    }
}

/// An error of the API. Everything in it is masked.
#[derive(Debug, Clone)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: Kind,
    status: StatusCode,
    detail: String,
    instance: String,
    suggestion: Option<String>,
    errors: Vec<ErrorItem>,
    retry_after_seconds: Option<u32>,
    allow: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl AsRef<str>) -> Self {
        Self(Box::new(Inner {
            kind,
            status: kind.parts().0,
            detail: mask(detail.as_ref()).into_owned(),
            instance: String::new(),
            suggestion: None,
            errors: Vec::new(),
            retry_after_seconds: None,
            allow: None,
        }))
    }

    /// A refusal that came from below this adapter, with only its status known.
    pub(super) fn of_status(status: StatusCode, detail: impl AsRef<str>) -> Self {
        let kind = if status.is_server_error() {
            Kind::Internal
        } else {
            Kind::BadRequest
        };
        let mut problem = Self::new(kind, detail);
        problem.0.status = status;
        problem
    }

    pub(super) fn suggest(mut self, suggestion: impl AsRef<str>) -> Self {
        self.0.suggestion = Some(mask(suggestion.as_ref()).into_owned());
        self
    }

    /// Names places; those beyond the limit are counted in the detail.
    pub(super) fn with_errors(mut self, mut errors: Vec<ErrorItem>) -> Self {
        let more = errors.len().saturating_sub(MAX_ERRORS);
        if more > 0 {
            errors.truncate(MAX_ERRORS);
            self.0.detail = format!("{}; {more} more are not listed", self.0.detail);
        }
        for error in &mut errors {
            error.detail = mask(&error.detail).into_owned();
            if let Place::Pointer(name) | Place::Parameter(name) = &mut error.place {
                *name = mask(name).into_owned();
            }
        }
        self.0.errors = errors;
        self
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    pub(super) fn allow(mut self, methods: &'static str) -> Self {
        self.0.allow = Some(methods);
        self
    }

    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The path that was asked.
    pub(super) fn at(mut self, path: &str) -> Self {
        self.0.instance = mask(path).into_owned();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, _, title) = self.0.kind.parts();
        write!(f, "{title}: {}", self.0.detail)
    }
}

impl std::error::Error for Problem {}

/// Why a request was refused (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Shown<'a> {
    /// `urn:streamkeeper:problem:` and the kind, for programs.
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    /// The path that was asked.
    instance: &'a str,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'a str>,
    /// Everything that is wrong, where it is more than one thing.
    #[serde(skip_serializing_if = "<[ErrorItem]>::is_empty")]
    #[schema(value_type = Vec<ErrorItem>, required = false)]
    errors: &'a [ErrorItem],
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse {
        let inner = &*self.0;
        let (_, slug, title) = inner.kind.parts();
        let shown = Shown {
            r#type: format!("urn:streamkeeper:problem:{slug}"),
            title,
            status: inner.status.as_u16(),
            detail: &inner.detail,
            instance: &inner.instance,
            suggestion: inner.suggestion.as_deref(),
            errors: &inner.errors,
        };
        let mut response = HttpResponse::build(inner.status).json(shown);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = inner.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = inner.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        response
    }
}
