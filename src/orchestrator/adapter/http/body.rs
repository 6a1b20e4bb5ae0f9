//! From a body to a change of streams: everything that is wrong is named at once, each with its JSON pointer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{Bytes, Payload};
use serde_json::Value;
use streamkeeper_core::request::ApplyStreams;
use streamkeeper_core::spec::{OnOwnerLost, SpecError, StreamSpec};
use streamkeeper_protocol::{Ownership, StreamId, WorkerId};

use super::fields::{Fields, escape, wrong_type};
use super::mask::is_masked;
use super::problem::{ErrorItem, Kind, Problem};

/// Largest body.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Most streams that one change names, to put or to delete.
const MAX_CHANGE_STREAMS: usize = 100_000;
/// What can be done to streams that are there.
const ACTIONS: [&str; 5] = ["enable", "disable", "restart", "release", "delete"];

/// Reads the whole body, which must be there within `limit`.
pub(super) async fn read(request: &HttpRequest, payload: Payload, limit: Duration) -> Result<Bytes, Problem> {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > MAX_BODY_BYTES) {
        return Err(too_large());
    }
    match tokio::time::timeout(limit, payload.to_bytes_limited(MAX_BODY_BYTES)).await {
        Ok(Ok(Ok(bytes))) => Ok(bytes),
        Ok(Ok(Err(error))) => Err(Problem::new(Kind::BadRequest, error.to_string())),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let detail = format!("the body was not there within {limit:?}");
            Err(Problem::new(Kind::BodyTimeout, detail))
        }
    }
}

fn too_large() -> Problem {
    let detail = format!(
        "a body has at most {MAX_BODY_BYTES} bytes ({} MiB)",
        MAX_BODY_BYTES >> 20
    );
    Problem::new(Kind::BodyTooLarge, detail).suggest("send the streams in several changes, without prune")
}

/// A declarative change: `{"streams": […], "prune": …, "delete": […]}`.
pub(super) fn change(body: &[u8]) -> Result<ApplyStreams, Problem> {
    let value = json(body)?;
    let mut errors = Vec::new();
    let mut change = ApplyStreams::default();
    if let Some(mut fields) = Fields::of(value, String::new(), &mut errors) {
        let streams = fields.list("streams");
        let delete = fields.list("delete").unwrap_or_default();
        change.prune = fields.boolean("prune").unwrap_or(false);
        if change.prune && streams.is_none() {
            fields.wrong(
                "streams",
                "is missing: with prune, every stream that it does not name is deleted",
            );
        }
        fields.finish();
        let streams = streams.unwrap_or_default();
        let count = streams.len() + delete.len();
        if count > MAX_CHANGE_STREAMS {
            let detail = format!("a change names at most {MAX_CHANGE_STREAMS} streams, this one {count}");
            return Err(Problem::new(Kind::InvalidChange, detail)
                .suggest("send the streams in several changes, without prune"));
        }
        let mut named = BTreeMap::new();
        for (index, value) in streams.into_iter().enumerate() {
            let pointer = format!("/streams/{index}");
            let spec = stream(value, &pointer, None, &mut errors);
            if let Some(spec) =
                spec.filter(|spec| unique(&mut named, &spec.name, pointer, "/name", &mut errors))
            {
                change.streams.push(spec);
            }
        }
        change.delete = unique_names(&delete, "/delete", &mut named, &mut errors);
    }
    refuse(errors)?;
    Ok(change)
}

/// One stream; its name is in the path and may be in the body as well.
pub(super) fn one(body: &[u8], name: &StreamId) -> Result<StreamSpec, Problem> {
    let value = json(body)?;
    let mut errors = Vec::new();
    let spec = stream(value, "", Some(name), &mut errors);
    refuse(errors)?;
    spec.ok_or_else(|| Problem::new(Kind::InvalidChange, "the stream cannot be read"))
}

/// Whether a stream should run: `{"enabled": …}`.
pub(super) fn enabled(body: &[u8]) -> Result<bool, Problem> {
    let value = json(body)?;
    let mut errors = Vec::new();
    let mut enabled = None;
    if let Some(mut fields) = Fields::of(value, String::new(), &mut errors) {
        if !fields.has("enabled") {
            fields.wrong(
                "enabled",
                "is missing; write true or false. Everything else is changed with PUT",
            );
        }
        enabled = fields.boolean("enabled");
        fields.finish();
    }
    refuse(errors)?;
    enabled.ok_or_else(|| Problem::new(Kind::InvalidChange, "the body cannot be read"))
}

/// One thing that is to be done to many streams: `{"action": …, "names": […]}`.
pub(super) fn action(body: &[u8]) -> Result<ApplyStreams, Problem> {
    let value = json(body)?;
    let mut errors = Vec::new();
    let mut change = ApplyStreams::default();
    if let Some(mut fields) = Fields::of(value, String::new(), &mut errors) {
        for name in ["action", "names"] {
            if !fields.has(name) {
                fields.wrong(name, "is missing");
            }
        }
        let action = fields.text("action");
        let list = fields.list("names").unwrap_or_default();
        if let Some(action) = &action
            && !ACTIONS.contains(&action.as_str())
        {
            let detail = format!("is {action:?}; write one of {}", ACTIONS.join(", "));
            fields.wrong("action", detail);
        }
        if list.len() > MAX_CHANGE_STREAMS {
            let detail = format!("has {} names, the limit is {MAX_CHANGE_STREAMS}", list.len());
            fields.wrong("names", detail);
        }
        let owner_is_dead = fields.boolean("owner_is_dead");
        if owner_is_dead.is_some() && action.as_deref() != Some("release") {
            fields.wrong(
                "owner_is_dead",
                "belongs to the action \"release\" alone; leave it out",
            );
        }
        change.owner_is_dead = owner_is_dead.unwrap_or(false);
        fields.finish();
        let names = unique_names(&list, "/names", &mut BTreeMap::new(), &mut errors);
        match action.as_deref() {
            Some("enable") => change.enable = names.into_iter().map(|name| (name, true)).collect(),
            Some("disable") => change.enable = names.into_iter().map(|name| (name, false)).collect(),
            Some("restart") => change.restart = names,
            Some("release") => change.release = names,
            Some("delete") => change.delete = names,
            Some(_) | None => {}
        }
    }
    refuse(errors)?;
    Ok(change)
}

/// The names of a list, each for the first time.
fn unique_names(
    list: &[Value],
    pointer: &str,
    named: &mut BTreeMap<StreamId, String>,
    errors: &mut Vec<ErrorItem>,
) -> Vec<StreamId> {
    let mut names = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        let name = stream_name(value, &pointer, errors);
        names.extend(name.filter(|name| unique(named, name, pointer, "", errors)));
    }
    names
}

pub(super) fn json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!("{error}; the body has {} bytes", body.len());
        Problem::new(Kind::MalformedJson, detail).suggest(
            r#"write JSON such as {"streams": [{"name": "radio-1", "source": "http://host/radio-1"}]}"#,
        )
    })
}

pub(super) fn refuse(errors: Vec<ErrorItem>) -> Result<(), Problem> {
    let detail = match errors.len() {
        0 => return Ok(()),
        1 => "one thing is wrong".to_owned(),
        count => format!("{count} things are wrong"),
    };
    Err(Problem::new(Kind::InvalidChange, detail).with_errors(errors))
}

fn stream_name(value: &Value, pointer: &str, errors: &mut Vec<ErrorItem>) -> Option<StreamId> {
    let Some(text) = value.as_str() else {
        errors.push(ErrorItem::pointer(pointer, wrong_type("a stream's name", value)));
        return None;
    };
    StreamId::new(text)
        .map_err(|error| errors.push(ErrorItem::pointer(pointer, error.to_string())))
        .ok()
}

/// Whether a name comes for the first time.
fn unique(
    named: &mut BTreeMap<StreamId, String>,
    name: &StreamId,
    pointer: String,
    below: &str,
    errors: &mut Vec<ErrorItem>,
) -> bool {
    match named.entry(name.clone()) {
        Entry::Vacant(entry) => {
            entry.insert(pointer);
            true
        }
        Entry::Occupied(first) => {
            let detail = format!(
                "stream {name} is named twice, first at {}; name it once",
                first.get()
            );
            errors.push(ErrorItem::pointer(pointer + below, detail));
            false
        }
    }
}

/// Reads one stream. With `name`, the body need not say it.
fn stream(
    value: Value,
    pointer: &str,
    name: Option<&StreamId>,
    errors: &mut Vec<ErrorItem>,
) -> Option<StreamSpec> {
    let before = errors.len();
    let mut fields = Fields::of(value, pointer.to_owned(), errors)?;
    let name = read_name(&mut fields, name);
    if !fields.has("source") {
        fields.wrong(
            "source",
            "is missing; write the URL or device that the worker reads",
        );
    }
    let source = fields.text("source");
    if source.as_deref().is_some_and(is_masked) {
        fields.wrong(
            "source",
            "holds *** in place of a secret, as answers show it; write the secret itself",
        );
    }
    // Where name or source lacks, stand-ins let the rest be checked all the same.
    let stand_in = StreamId::new("stream").ok();
    let mut spec = StreamSpec::new(name.or(stand_in)?, source.as_deref().unwrap_or("-"));
    if let Some(enabled) = fields.boolean("enabled") {
        spec.enabled = enabled;
    }
    if let Some(weight) = fields.number("weight") {
        spec.weight = weight;
    }
    if let Some(priority) = fields.integer("priority") {
        spec.priority = priority;
    }
    match fields.text("ownership").as_deref() {
        None => {}
        Some("available") => spec.ownership = Ownership::Available,
        Some("exclusive") => spec.ownership = Ownership::Exclusive,
        Some(other) => fields.wrong(
            "ownership",
            format!("is {other:?}; write \"available\" or \"exclusive\""),
        ),
    }
    match fields.text("on_owner_lost").as_deref() {
        None => {}
        Some("replace") => spec.on_owner_lost = OnOwnerLost::Replace,
        Some("hold") => spec.on_owner_lost = OnOwnerLost::Hold,
        Some(other) => fields.wrong(
            "on_owner_lost",
            format!("is {other:?}; write \"replace\" or \"hold\""),
        ),
    }
    spec.lost_after = fields.duration("lost_after");
    if let Some(labels) = fields.texts("labels") {
        spec.labels = labels.into();
    }
    if let Some(requires) = fields.texts("requires") {
        spec.requires = requires.into();
    }
    if let Some(prefers) = fields.texts("prefers") {
        spec.prefers = prefers.into();
    }
    spec.spread = fields.text("spread").map(Into::into);
    if let Some(pin) = fields.text("pin") {
        match WorkerId::new(&pin) {
            Ok(pin) => spec.pin = Some(pin),
            Err(error) => fields.wrong("pin", error.to_string()),
        }
    }
    for error in spec.validate().err().unwrap_or_default() {
        let (place, field) = place_of(&error);
        let detail = error.to_string();
        let prefix = format!("{field}: ");
        fields.wrong(&place, detail.strip_prefix(&prefix).unwrap_or(&detail));
    }
    fields.finish();
    (errors.len() == before).then_some(spec)
}

fn read_name(fields: &mut Fields<'_>, given: Option<&StreamId>) -> Option<StreamId> {
    if given.is_none() && !fields.has("name") {
        fields.wrong("name", "is missing; write 1 to 64 of A-Z a-z 0-9 _ -");
    }
    match (fields.text("name"), given) {
        (None, given) => given.cloned(),
        (Some(text), None) => StreamId::new(&text)
            .map_err(|error| fields.wrong("name", error.to_string()))
            .ok(),
        (Some(text), Some(given)) => {
            if text != given.as_str() {
                let detail =
                    format!("is {text:?}, but the path says {given}; leave it out or write the same");
                fields.wrong("name", detail);
            }
            Some(given.clone())
        }
    }
}

/// (JSON pointer below the stream, field).
fn place_of(error: &SpecError) -> (String, &'static str) {
    match error {
        SpecError::EmptySource | SpecError::SourceTooLong(_) => ("source".to_owned(), "source"),
        SpecError::Spread(_) => ("spread".to_owned(), "spread"),
        SpecError::LostAfterTooLong | SpecError::LostAfterOfHold => ("lost_after".to_owned(), "lost_after"),
        SpecError::Weight(_) => ("weight".to_owned(), "weight"),
        SpecError::ControlCharacter { field } | SpecError::TooManyLabels { field, .. } => {
            ((*field).to_owned(), field)
        }
        SpecError::Label { field, key } => (format!("{field}/{}", escape(key)), field),
    }
}
