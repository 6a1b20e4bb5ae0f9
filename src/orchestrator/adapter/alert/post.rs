//! One request to a server of people's choice: bounded in time and in what is read of the answer, and never redirected.

use std::time::Duration;

use reqwest::{ClientBuilder, RequestBuilder, StatusCode, redirect};

use crate::port::alert_sink::SinkError;

/// Longest time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// What is read of an answer that refuses; it says why.
const MAX_REASON_BYTES: usize = 512;

/// A client that follows nobody and goes through no proxy.
pub(super) fn client(timeout: Duration) -> ClientBuilder {
    // Fails only where it was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("streamkeeper/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .no_proxy()
}

/// Sends a request and judges the answer.
pub(super) async fn send(request: RequestBuilder) -> Result<(), SinkError> {
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Err(SinkError::Away(in_words(error))),
        Err(error) => return Err(SinkError::Failed(in_words(error))),
    };
    let status = response.status();
    if status.is_success() {
        // Whatever else it says is not read.
        return Ok(());
    }
    let mut said = Vec::new();
    while said.len() < MAX_REASON_BYTES {
        match response.chunk().await {
            Ok(Some(part)) => said.extend(part.iter().take(MAX_REASON_BYTES - said.len())),
            Ok(None) | Err(_) => break,
        }
    }
    let said = String::from_utf8_lossy(&said);
    let said: String = said
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let reason = match status.is_redirection() {
        true => format!("it answered {status}, and nobody is sent on: set the address that is meant"),
        false => format!("it answered {status}: {}", said.trim()),
    };
    Err(match status {
        // It can read it and wants none of it, now and later.
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            SinkError::Refused(reason)
        }
        _ => SinkError::Failed(reason),
    })
}

/// What lies at the bottom of an error, without the address: that may hold a secret.
fn in_words(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut inner: &dyn std::error::Error = &error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    match timed_out {
        true => format!("no answer in time ({inner})"),
        false => inner.to_string(),
    }
}
