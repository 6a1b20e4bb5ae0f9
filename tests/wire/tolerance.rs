//! What other programs may leave out, add, or write in another way without being refused.

use serde_json::{Value, json};
use streamkeeper_protocol::{Heartbeat, Phase, decode};
use streamkeeper_tests::tomorrow::add_unknown;

use crate::examples;

/// A heartbeat as a program in another language would build it: named fields, optional ones left out.
fn heartbeat_fields() -> Value {
    json!({
        "v": 1,
        "worker": "w-1",
        "session": "000000000000000000000000000000ab",
        "seq": 7,
        "boot_id": "b",
        "applied": {"term": 17, "generation": 3},
        "highest_term": 17,
        "mode": "connected",
        "phase": "ready",
        "capacity": {"max_streams": 100, "weight": 100.0},
        "version": "0.1.0",
        "inventory": {"version": 2, "count": 1, "part": 0, "parts": 1, "running": [
            {"stream": "radio-1", "epoch": 73_014_444_033_i64, "state": "running"},
        ]},
    })
}

fn read(fields: &Value) -> Heartbeat {
    decode(&rmp_serde::to_vec_named(fields).unwrap(), None).unwrap()
}

#[test]
fn a_heartbeat_needs_only_the_documented_fields() {
    let heartbeat = read(&heartbeat_fields());
    assert_eq!(heartbeat.phase, Phase::Ready);
    assert_eq!(heartbeat.applied.term.get(), 17);
    assert_eq!(heartbeat.lease_left_ms, 0);
    assert!(heartbeat.labels.is_empty());
    assert_eq!(heartbeat.inventory.running[0].epoch.counter(), 1);
    assert_eq!(heartbeat.inventory.running[0].epoch.term().get(), 17);
    assert_eq!(heartbeat.inventory.running[0].restarts, 0);
}

#[test]
fn a_language_without_separate_types_is_understood() {
    let plain = read(&heartbeat_fields());
    let mut fields = heartbeat_fields();
    fields["capacity"]["weight"] = json!(100);
    assert_eq!(read(&fields), plain, "a whole number for a float");
    for name in ["zone", "supersedes", "host"] {
        fields[name] = Value::Null;
    }
    assert_eq!(
        read(&fields),
        plain,
        "nil for an optional field without a default"
    );
}

#[test]
fn unknown_fields_are_ignored_in_every_map() {
    for example in examples::all() {
        let mut fields = example.fields.clone();
        let maps = add_unknown(&mut fields);
        assert!(maps > 0);
        let bytes = rmp_serde::to_vec_named(&fields).unwrap();
        match example.reads(&bytes) {
            Ok(same) => assert!(same, "{}: an unknown field changes the value", example.file),
            Err(error) => panic!("{}: an unknown field is refused: {error}", example.file),
        }
    }
}
