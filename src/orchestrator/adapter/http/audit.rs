//! Every request that may change something is kept: who asked, for what, and how it was answered. Nobody waits for that.

use std::collections::BTreeMap;
use std::fmt::Display;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest};

use super::Shared;
use super::access_log::request_id;
use super::mask::mask;
use crate::port::{AuditEvent, Journal};

/// What such an event is called.
const KIND: &str = "api_write";
/// Most names that one event lists of each kind of change.
pub(super) const MAX_NAMES: usize = 20;
/// Most bytes of one text.
const MAX_TEXT: usize = 512;

/// What a handler knows of the change.
struct Noted(BTreeMap<String, String>);

/// Adds to what is kept of this request.
pub(super) fn note(request: &HttpRequest, name: &str, value: &impl Display) {
    let value = short(&value.to_string());
    if value.is_empty() {
        return;
    }
    let mut extensions = request.extensions_mut();
    let mut noted = extensions
        .remove::<Noted>()
        .unwrap_or_else(|| Noted(BTreeMap::new()));
    noted.0.insert(name.to_owned(), value);
    extensions.insert(noted);
}

/// Adds some of many names.
pub(super) fn note_names<'a, T: Display + 'a>(
    request: &HttpRequest,
    name: &str,
    all: impl ExactSizeIterator<Item = &'a T>,
) {
    let count = all.len();
    if count == 0 {
        return;
    }
    let mut names: Vec<String> = all.take(MAX_NAMES).map(ToString::to_string).collect();
    if count > MAX_NAMES {
        names.push(format!("and {} more", count - MAX_NAMES));
    }
    note(request, name, &names.join(" "));
}

pub(super) async fn audit<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let shared = request.app_data::<Data<Shared>>().cloned();
    let Some(shared) = shared.filter(|_| !reads) else {
        return next.call(request).await;
    };
    // Kept where it is dropped as well: whoever asked has left, or it took too long.
    let mut asked = Asked::new(&request, &shared);
    let answer = next.call(request).await;
    asked.status = Some(match &answer {
        Ok(response) => response.status().as_u16(),
        Err(error) => error.as_response_error().status_code().as_u16(),
    });
    if let Ok(response) = &answer {
        asked.subject = subject(response.request());
        if let Some(Noted(noted)) = response.request().extensions_mut().remove::<Noted>() {
            asked.noted = noted;
        }
    }
    answer
}

/// The stream or the worker in the path.
fn subject(request: &HttpRequest) -> String {
    let names = request.match_info();
    let found = names.get("name").or_else(|| names.get("id"));
    found.map(short).unwrap_or_default()
}

struct Asked {
    journal: Journal,
    at: chrono::DateTime<chrono::Utc>,
    actor: String,
    id: String,
    method: Method,
    path: String,
    dry_run: bool,
    subject: String,
    status: Option<u16>,
    noted: BTreeMap<String, String>,
}

impl Asked {
    fn new(request: &ServiceRequest, shared: &Shared) -> Self {
        let clock = &shared.context.clock;
        let peer = request.peer_addr().map(|peer| peer.ip());
        Self {
            journal: shared.context.journal.clone(),
            at: clock.wall(clock.now()),
            actor: match peer {
                Some(peer) if peer.is_loopback() => "loopback".to_owned(),
                Some(peer) => peer.to_string(),
                None => "unknown".to_owned(),
            },
            id: request_id(request).unwrap_or_default(),
            method: request.method().clone(),
            path: short(&mask(request.path())),
            dry_run: request.query_string().contains("dry_run=true"),
            subject: String::new(),
            status: None,
            noted: BTreeMap::new(),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut fields = std::mem::take(&mut self.noted);
        let status = self.status.map_or("none".to_owned(), |status| status.to_string());
        let asked = [
            ("method", self.method.to_string()),
            ("path", std::mem::take(&mut self.path)),
            ("status", status),
        ];
        fields.extend(asked.map(|(key, value)| (key.to_owned(), value)));
        if self.dry_run {
            fields.insert("dry_run".to_owned(), "true".to_owned());
        }
        self.journal.offer(AuditEvent {
            at: self.at,
            kind: KIND.to_owned(),
            actor: std::mem::take(&mut self.actor),
            cause: fields.get("reason").cloned().unwrap_or_default(),
            correlation: std::mem::take(&mut self.id),
            subject: std::mem::take(&mut self.subject),
            fields,
        });
    }
}

fn short(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at));
    format!("{}…", &text[..end.unwrap_or(0)])
}
