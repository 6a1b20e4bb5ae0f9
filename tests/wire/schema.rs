//! The schemas of `docs/asyncapi.yaml` are what the code does. Each message is taken with every field filled; then every
//! property is left out, and pushed to and over its limits, and the code has to accept and refuse as the schema says.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::asyncapi::{document, resolve};
use crate::examples::{self, Example};

/// The variants that serde names when it meets an unknown one.
pub(crate) fn variants(error: &str) -> BTreeSet<String> {
    let expected = error.rsplit("expected").next().unwrap_or_default();
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// One message, and where in it the comparison is.
struct Walk<'a> {
    document: &'a Value,
    example: &'a Example,
    /// Properties that were compared.
    seen: usize,
    /// Limits that were tried.
    tried: usize,
}

impl Walk<'_> {
    /// The example's fields with another value at `pointer`.
    fn with(&self, pointer: &str, value: Value) -> Value {
        let mut fields = self.example.fields.clone();
        *fields.pointer_mut(pointer).unwrap() = value;
        fields
    }

    /// The example's fields without the property `name` of the map at `pointer`.
    fn without(&self, pointer: &str, name: &str) -> Value {
        let mut fields = self.example.fields.clone();
        let map = fields
            .pointer_mut(pointer)
            .and_then(Value::as_object_mut)
            .unwrap();
        assert!(map.remove(name).is_some());
        fields
    }

    fn accepted(&mut self, pointer: &str, value: Value, why: &str) {
        self.tried += 1;
        let shown: String = value.to_string().chars().take(80).collect();
        if let Err(error) = self.example.accepts(&self.with(pointer, value)) {
            panic!(
                "{} {pointer}: {shown} ({why}) is refused: {error}",
                self.example.file
            );
        }
    }

    fn refused(&mut self, pointer: &str, value: Value, why: &str) {
        self.tried += 1;
        let shown: String = value.to_string().chars().take(80).collect();
        let outcome = self.example.accepts(&self.with(pointer, value));
        assert!(
            outcome.is_err(),
            "{} {pointer}: {shown} ({why}) is accepted",
            self.example.file
        );
    }

    fn compare(&mut self, schema: &Value, pointer: &str) {
        let schema = resolve(self.document, schema);
        let place = format!("{} {pointer}", self.example.file);
        let value = self.example.fields.pointer(pointer).unwrap().clone();
        match (schema["type"].as_str().unwrap(), &value) {
            ("object", Value::Object(map)) => match schema.get("properties") {
                Some(properties) => self.fields(schema, properties.as_object().unwrap(), map, pointer),
                None => self.map(schema, map, pointer),
            },
            ("array", Value::Array(list)) => {
                assert!(!list.is_empty(), "{place}: the example is empty");
                for index in 0..list.len() {
                    self.compare(&schema["items"], &format!("{pointer}/{index}"));
                }
            }
            ("string", Value::String(text)) => self.text(schema, text, pointer),
            ("integer", Value::Number(number)) => {
                assert!(number.is_u64(), "{place}: {number}");
                self.number(schema, pointer);
            }
            ("number", Value::Number(_)) => self.number(schema, pointer),
            ("boolean", Value::Bool(_)) => {}
            (wanted, _) => panic!("{place}: {value} is no {wanted}"),
        }
    }

    /// A map whose keys are fields.
    fn fields(
        &mut self,
        schema: &Value,
        properties: &Map<String, Value>,
        map: &Map<String, Value>,
        at: &str,
    ) {
        let place = format!("{} {at}", self.example.file);
        let documented: BTreeSet<&String> = properties.keys().collect();
        let written: BTreeSet<&String> = map.keys().collect();
        let list_place = at
            .rsplit('/')
            .next()
            .is_some_and(|last| last.parse::<usize>().is_ok());
        if list_place {
            // Not every entry of a list has everything; `every_property_is_seen` has an eye on it.
            assert!(
                written.is_subset(&documented),
                "{place}: {written:?} {documented:?}"
            );
        } else {
            assert_eq!(
                written, documented,
                "{place}: fields of the code and of the schema"
            );
        }
        let required: BTreeSet<&str> = schema["required"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let unknown: Vec<_> = required
            .iter()
            .filter(|name| !properties.contains_key(**name))
            .collect();
        assert!(
            unknown.is_empty(),
            "{place}: required, but no properties: {unknown:?}"
        );
        for name in map.keys() {
            self.seen += 1;
            let lacking = self.without(at, name);
            // Not `accepts`: some fields are limited by others.
            let optional = self.example.normal(lacking.clone()).is_ok();
            assert_eq!(
                !optional,
                required.contains(name.as_str()),
                "{place}: is {name} required?"
            );
            let pointer = format!("{at}/{name}");
            if let Some(default) = resolve(self.document, &properties[name]).get("default") {
                assert!(optional, "{place}: {name} has a default and is required");
                let given = self.example.normal(self.with(&pointer, default.clone()));
                assert_eq!(self.example.normal(lacking), given, "{place}: default of {name}");
            }
            self.compare(&properties[name], &pointer);
        }
    }

    /// A map whose keys belong to users.
    fn map(&mut self, schema: &Value, map: &Map<String, Value>, at: &str) {
        let place = format!("{} {at}", self.example.file);
        assert!(
            !map.is_empty() && map.values().all(Value::is_string),
            "{place}: {map:?}"
        );
        let values = &schema["additionalProperties"];
        assert_eq!(values["type"], "string", "{place}");
        let filled = |count: u64| Value::Object((0..count).map(|n| (n.to_string(), json!(""))).collect());
        if let Some(most) = schema.get("maxProperties").and_then(Value::as_u64) {
            self.accepted(at, filled(most), "maxProperties");
            self.refused(at, filled(most + 1), "maxProperties + 1");
        }
        if let Some(longest) = length(values, "maxLength") {
            self.accepted(at, json!({"k": "x".repeat(longest)}), "maxLength of a value");
            self.refused(
                at,
                json!({"k": "x".repeat(longest + 1)}),
                "maxLength of a value + 1",
            );
            self.refused(at, json!({"k".repeat(longest + 1): ""}), "maxLength of a key + 1");
        }
    }

    fn text(&mut self, schema: &Value, text: &str, at: &str) {
        let place = format!("{} {at}", self.example.file);
        if let Some(list) = schema.get("enum").and_then(Value::as_array) {
            let documented: BTreeSet<String> =
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let error = self
                .example
                .normal(self.with(at, json!("no_such_variant")))
                .unwrap_err();
            assert_eq!(documented, variants(&error), "{place}: {error}");
            assert!(documented.contains(text), "{place}: {text}");
            return;
        }
        if schema.get("format").is_some_and(|format| format == "date-time") {
            chrono::DateTime::parse_from_rfc3339(text)
                .unwrap_or_else(|error| panic!("{place}: {text}: {error}"));
        }
        if let Some(longest) = length(schema, "maxLength") {
            self.accepted(at, json!("x".repeat(longest)), "maxLength");
            self.refused(at, json!("x".repeat(longest + 1)), "maxLength + 1");
        }
        if length(schema, "minLength").is_some() {
            self.refused(at, json!(""), "minLength - 1");
        }
        match schema.get("pattern").and_then(Value::as_str) {
            None => {}
            Some("^[A-Za-z0-9_-]+$") => {
                self.accepted(at, json!("azAZ09_-"), "pattern");
                for bad in ["a.b", "a b", "*", ">", "\u{e4}"] {
                    self.refused(at, json!(bad), "pattern");
                }
            }
            Some("^[0-9a-f]{32}$") => {
                self.accepted(at, json!("f".repeat(32)), "pattern");
                for bad in ["f".repeat(31), "f".repeat(33), "g".repeat(32)] {
                    self.refused(at, json!(bad), "pattern");
                }
            }
            Some(other) => panic!("{place}: this test does not know the pattern {other}"),
        }
    }

    fn number(&mut self, schema: &Value, at: &str) {
        if let Some(only) = schema.get("const") {
            self.accepted(at, only.clone(), "const");
            self.refused(at, json!(only.as_u64().unwrap() + 1), "another than const");
        }
        // Least values are not tried alone: some fields depend on each other.
        if let Some(least) = schema.get("minimum").and_then(Value::as_i64) {
            self.refused(at, json!(least - 1), "minimum - 1");
        }
        if let Some(most) = schema.get("maximum").and_then(Value::as_u64) {
            self.accepted(at, json!(most), "maximum");
            if let Some(over) = most.checked_add(1) {
                self.refused(at, json!(over), "maximum + 1");
            }
        }
    }
}

fn length(schema: &Value, name: &str) -> Option<usize> {
    let length = schema.get(name)?.as_u64()?;
    usize::try_from(length).ok()
}

#[test]
fn schemas_say_what_the_code_does() {
    let document = document();
    for example in examples::all().iter().filter(|example| example.full) {
        let mut walk = Walk {
            document: &document,
            example,
            seen: 0,
            tried: 0,
        };
        walk.compare(
            &document["components"]["messages"][example.message]["payload"],
            "",
        );
        assert!(
            walk.seen > 3 && walk.tried > 1,
            "{}: {} properties and {} limits were compared, so the walk is broken",
            example.file,
            walk.seen,
            walk.tried
        );
    }
}

/// Marks what an example shows of a schema: properties as `Schema.property`, variants as `Schema=variant`.
fn shown(document: &Value, schema: &Value, name: &str, value: &Value, seen: &mut BTreeSet<String>) {
    let name = schema
        .get("$ref")
        .and_then(Value::as_str)
        .map_or(name, |target| target.rsplit('/').next().unwrap_or_default());
    let schema = resolve(document, schema);
    match value {
        Value::Object(map) => {
            for (key, inner) in map
                .iter()
                .filter(|(key, _)| schema["properties"].get(key).is_some())
            {
                seen.insert(format!("{name}.{key}"));
                shown(document, &schema["properties"][key], name, inner, seen);
            }
        }
        Value::Array(list) => {
            for inner in list {
                shown(document, &schema["items"], name, inner, seen);
            }
        }
        Value::String(text) if schema.get("enum").is_some() => {
            seen.insert(format!("{name}={text}"));
        }
        _ => {}
    }
}

#[test]
fn every_property_and_every_variant_is_published_once() {
    let document = document();
    let mut seen = BTreeSet::new();
    for example in examples::all() {
        let payload = &document["components"]["messages"][example.message]["payload"];
        shown(&document, payload, "", &example.fields, &mut seen);
    }
    let mut documented = BTreeSet::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let properties = schema.get("properties").and_then(Value::as_object);
        documented.extend(
            properties
                .into_iter()
                .flatten()
                .map(|(key, _)| format!("{name}.{key}")),
        );
        let variants = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        documented.extend(
            variants
                .filter_map(Value::as_str)
                .map(|variant| format!("{name}={variant}")),
        );
    }
    let missing: Vec<_> = documented.difference(&seen).collect();
    assert!(
        missing.is_empty(),
        "in no example of tests/wire/examples.rs: {missing:#?}"
    );
    assert_eq!(documented.len(), seen.len());
}

#[test]
fn limits_without_a_field_of_their_own_are_the_codes() {
    use streamkeeper_protocol::limit::{MAX_ENTRIES, MAX_LOG_LINES, MAX_PERFORMANCE};
    let document = document();
    for (list, limit) in [
        ("/Inventory/properties/running", MAX_ENTRIES),
        ("/Assign/properties/entries", MAX_ENTRIES),
        ("/Heartbeat/properties/performance", MAX_PERFORMANCE),
        ("/LogReply/properties/lines", MAX_LOG_LINES),
    ] {
        let most = document["components"]["schemas"].pointer(list).unwrap()["maxItems"].as_u64();
        assert_eq!(most, Some(limit as u64), "{list}");
    }
}
