//! The last hand on every answer: a time limit, the request id, and problems where actix-web or a handler refused.

use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};

use super::access_log::request_id;
use super::problem::{Kind, Problem};

/// No answer takes longer. Changes wait for a shorter time of their own (`http.change_timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Names a request in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) async fn finish<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let path = request.path().to_owned();
    let id = request_id(&request);
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.call(request)).await;
    let mut response = match answer {
        Ok(Ok(response)) => match refusal(&response) {
            None => response.map_into_left_body(),
            Some(problem) => response
                .into_response(HttpResponse::from_error(problem.at(&path)))
                .map_into_right_body(),
        },
        Ok(Err(error)) => return Err(from_error(&error).at(&path).into()),
        Err(_) => {
            let detail = format!("no answer within {REQUEST_TIMEOUT:?}; a change may be stored or not");
            return Err(Problem::new(Kind::OutcomeUnknown, detail).at(&path).into());
        }
    };
    if let Some(Ok(id)) = id.map(HeaderValue::try_from) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// The problem that an answer stands for, if it is a refusal that has no JSON body of its own.
fn refusal<B>(response: &ServiceResponse<B>) -> Option<Problem> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    if let Some(error) = response.response().error() {
        return Some(from_error(error));
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let has_report = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    (!has_report).then(|| Problem::of_status(status, status.canonical_reason().unwrap_or("refused")))
}

fn from_error(error: &Error) -> Problem {
    match error.as_error::<Problem>() {
        Some(problem) => problem.clone(),
        None => Problem::of_status(error.as_response_error().status_code(), error.to_string()),
    }
}
