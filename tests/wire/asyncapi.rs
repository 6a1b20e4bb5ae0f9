//! `docs/asyncapi.yaml` is in step with the code: its channels with the subjects, its messages with the message types.
//! `tests/wire/schema.rs` compares the fields.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use streamkeeper_protocol::{Severity, Subjects, WorkerId};

use crate::golden::message_types;
use crate::schema::variants;

/// The document.
pub(crate) fn document() -> Value {
    serde_yaml_ng::from_str(include_str!("../../docs/asyncapi.yaml")).expect("docs/asyncapi.yaml is YAML")
}

/// The part of the document to which a value leads, through all its `$ref`.
#[track_caller]
pub(crate) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(target) = value.get("$ref").and_then(Value::as_str) else {
        return value;
    };
    let pointer = target.strip_prefix('#').unwrap_or(target);
    let found = document.pointer(pointer);
    resolve(
        document,
        found.unwrap_or_else(|| panic!("{target} leads nowhere")),
    )
}

/// Texts under `key`, wherever they are.
fn collect<'a>(value: &'a Value, key: &str, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str));
            map.values().for_each(|inner| collect(inner, key, found));
        }
        Value::Array(list) => list.iter().for_each(|inner| collect(inner, key, found)),
        _ => {}
    }
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn texts(value: &Value) -> BTreeSet<String> {
    let list = value.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What each subject builder builds, with the names of its parameters in braces; (builder, subject, for subscriptions).
fn built() -> Vec<(&'static str, String, bool)> {
    let subjects = Subjects::default();
    let worker = WorkerId::new("WORKER").unwrap();
    let of_worker = |subject: String| subject.replace("WORKER", "{worker}");
    let alert = subjects.alert(Severity::Info, "{rule}");
    vec![
        ("heartbeat", of_worker(subjects.heartbeat(&worker)), false),
        ("heartbeats", subjects.heartbeats(), true),
        ("assign", of_worker(subjects.assign(&worker)), false),
        ("control", of_worker(subjects.control(&worker)), false),
        ("logs", of_worker(subjects.logs(&worker)), false),
        ("leader", subjects.leader(), false),
        ("leader_key", subjects.leader_key(), false),
        ("alert", alert.replace("info", "{severity}"), false),
        ("alerts", subjects.alerts(), true),
        ("event", subjects.event("{kind}"), false),
        ("events", subjects.events(), true),
    ]
}

#[test]
fn every_subject_is_a_channel_and_the_reverse() {
    let source = include_str!("../../src/protocol/subject.rs");
    let builders = source.lines().filter_map(|line| {
        let (name, rest) = line.trim().strip_prefix("pub fn ")?.split_once('(')?;
        (rest.starts_with("&self") && rest.ends_with("-> String {")).then_some(name)
    });
    let builders: BTreeSet<&str> = builders.collect();
    let known: BTreeSet<&str> = built().iter().map(|(builder, _, _)| *builder).collect();
    assert_eq!(
        builders, known,
        "every builder of `Subjects` belongs into this test and into docs/asyncapi.yaml"
    );
    let document = document();
    for (key, subscription) in [("address", false), ("x-subscription", true)] {
        let mut documented = BTreeSet::new();
        collect(&document["channels"], key, &mut documented);
        let built = built();
        let built = built.iter().filter(|(_, _, wildcard)| *wildcard == subscription);
        let built: BTreeSet<&str> = built.map(|(_, subject, _)| subject.as_str()).collect();
        assert_eq!(documented, built, "{key}");
    }
}

#[test]
fn every_message_type_is_a_message_and_the_reverse() {
    let document = document();
    assert_eq!(names(&document["components"]["messages"]), message_types());
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut targets = BTreeSet::new();
    collect(&document, "$ref", &mut targets);
    for target in &targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in names(components) {
            let target = format!("#/components/{kind}/{name}");
            assert!(targets.contains(target.as_str()), "{target} is used nowhere");
        }
    }
    for (name, channel) in document["channels"].as_object().unwrap() {
        let address = channel["address"].as_str().unwrap_or_default();
        let parameters = address
            .split('{')
            .skip(1)
            .map(|rest| rest.split('}').next().unwrap().to_owned());
        let declared = channel.get("parameters").map(names).unwrap_or_default();
        assert_eq!(parameters.collect::<BTreeSet<_>>(), declared, "channel {name}");
        let target = format!("#/channels/{name}");
        assert!(targets.contains(target.as_str()), "no operation uses {target}");
    }
}

/// Texts in quotes between two marks, in the file of `src/core` that has the `impl`, after it.
pub(crate) fn core_quotes(place: &str, from: &str, to: &str) -> BTreeSet<String> {
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/core"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            if let Some((_, source)) = source.split_once(place) {
                let (_, body) = source.split_once(from).expect("the mark is there");
                let body = body.split(to).next().unwrap_or_default();
                let found: BTreeSet<String> = body.split('"').skip(1).step_by(2).map(str::to_owned).collect();
                assert!(
                    found.len() > 2,
                    "only {found:?} after {from:?}, so the reader is broken"
                );
                return found;
            }
        }
    }
    panic!("{place:?} is nowhere in src/core");
}

#[test]
fn tokens_of_subjects_are_those_of_the_code() {
    let document = document();
    let parameters =
        |channel: &str, name: &str| texts(&document["channels"][channel]["parameters"][name]["enum"]);
    assert_eq!(
        parameters("alert", "severity"),
        variants(
            &serde_json::from_value::<Severity>("?".into())
                .unwrap_err()
                .to_string()
        )
    );
    assert_eq!(
        parameters("event", "kind"),
        core_quotes("impl Notice {", "pub const fn kind", "pub fn fields"),
        "kinds of events"
    );
    assert_eq!(
        parameters("alert", "rule"),
        core_quotes("impl Rule {", "pub const fn as_str", "pub fn named"),
        "rules of alerts"
    );
}
