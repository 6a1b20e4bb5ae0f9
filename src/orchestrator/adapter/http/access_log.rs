//! One span and one line per request, at debug level, under the request id that the answer carries.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::{Error, HttpMessage};
use tracing::Span;
use tracing_actix_web::{RequestId, RootSpanBuilder};

use super::mask::mask;

/// Builds the span. The query is left out: it says little and may hold anything.
#[derive(Debug)]
pub(super) struct AccessLog;

impl RootSpanBuilder for AccessLog {
    fn on_request_start(request: &ServiceRequest) -> Span {
        tracing::debug_span!(
            "http",
            request_id = %request_id(request).unwrap_or_default(),
            method = %request.method(),
            path = %mask(request.path()),
        )
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let (status, error) = match outcome {
            Ok(response) => (response.status(), response.response().error()),
            Err(error) => (error.as_response_error().status_code(), Some(error)),
        };
        let status = status.as_u16();
        span.in_scope(|| match error {
            None => tracing::debug!(status, "answered"),
            Some(error) => tracing::debug!(status, error = %mask(&error.to_string()), "answered"),
        });
    }
}

/// The request's id, where the middleware has given it one.
pub(super) fn request_id(request: &ServiceRequest) -> Option<String> {
    request.extensions().get::<RequestId>().map(ToString::to_string)
}
