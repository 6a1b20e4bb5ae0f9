//! Messages of protocol version 1 as other programs send them. These bytes are published: never edit one, add.

use streamkeeper_protocol::{Assign, AssignKind, Heartbeat, Phase, decode, encode};

/// A heartbeat as a program in another language would build it: named fields, optional ones left out.
fn heartbeat_fields() -> serde_json::Value {
    serde_json::json!({
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

const ASSIGN_HEX: &str = "8ba17601a6776f726b6572a3772d31a773657373696f6ed92030303030303030303030303030303030303030303030303030303030303061\
62a761636b5f73657107a47465726d11aa67656e65726174696f6e03a86c656173655f6d73cd3a98af77686f6c655f696e76656e746f7279c2\
a46b696e64a763757272656e74a47061727400a5706172747300";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn a_heartbeat_needs_only_the_documented_fields() {
    let bytes = rmp_serde::to_vec_named(&heartbeat_fields()).unwrap();
    let heartbeat: Heartbeat = decode(&bytes, None).unwrap();
    assert_eq!(heartbeat.phase, Phase::Ready);
    assert_eq!(heartbeat.applied.term.get(), 17);
    assert_eq!(heartbeat.inventory.running[0].epoch.counter(), 1);
    assert_eq!(heartbeat.inventory.running[0].epoch.term().get(), 17);
}

#[test]
fn unknown_fields_are_ignored() {
    let mut fields = heartbeat_fields();
    fields["from_a_newer_minor"] = serde_json::json!({"anything": [1, 2]});
    let bytes = rmp_serde::to_vec_named(&fields).unwrap();
    assert!(decode::<Heartbeat>(&bytes, None).is_ok());
}

#[test]
fn the_published_assign_reads_and_writes_the_same() {
    let assign: Assign = decode(&unhex(ASSIGN_HEX), None).unwrap();
    assert_eq!(assign.kind, AssignKind::Current);
    assert_eq!(assign.lease_ms, 15_000);
    assert_eq!(encode(&assign).unwrap(), unhex(ASSIGN_HEX));
}
