//! Garbage, oversized, deep, other-version and spoofed messages: each refused with its own reason.

use streamkeeper_protocol::limit::MAX_MESSAGE_BYTES;
use streamkeeper_protocol::{Beacon, Heartbeat, OrchestratorId, Term, WorkerId, decode, encode};

fn beacon() -> Beacon {
    Beacon {
        v: 1,
        term: Term::new(16).unwrap(),
        leader: OrchestratorId::new("o-1").unwrap(),
        api_url: "http://127.0.0.1:8001".into(),
        renew_only: false,
    }
}

#[track_caller]
fn assert_refused(bytes: &[u8], reason: &str) {
    let error = decode::<Beacon>(bytes, None).unwrap_err();
    assert_eq!(error.reason(), reason, "{error}");
}

#[test]
fn garbage_is_malformed() {
    assert_refused(&[], "malformed");
    assert_refused(&[0xc1; 64], "malformed");
    assert_refused(b"{\"v\":1}", "malformed");
}

#[test]
fn oversized_messages_are_not_looked_at() {
    assert_refused(&vec![0x90; MAX_MESSAGE_BYTES + 1], "too_large");
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let mut bytes = vec![0x81, 0xa1, b'x'];
    bytes.extend(std::iter::repeat_n(0x91, 100_000));
    bytes.push(0xc0);
    assert_refused(&bytes, "malformed");
}

#[test]
fn another_version_is_named_even_in_another_shape() {
    let bytes = rmp_serde::to_vec_named(&serde_json::json!({"v": 2, "other": "shape"})).unwrap();
    assert_refused(&bytes, "version");
    let mut newer = beacon();
    newer.v = 2;
    assert_refused(&encode(&newer).unwrap(), "version");
}

#[test]
fn bytes_after_the_message_are_refused() {
    let mut bytes = encode(&beacon()).unwrap();
    bytes.push(0);
    assert_refused(&bytes, "trailing");
}

#[test]
fn a_worker_cannot_speak_for_another() {
    let fields = serde_json::json!({
        "v": 1, "worker": "w-1", "session": "000000000000000000000000000000ab", "seq": 1, "boot_id": "b",
        "applied": {"term": 0, "generation": 0}, "highest_term": 0, "mode": "connected", "phase": "ready",
        "capacity": {"max_streams": 1, "weight": 1.0}, "version": "x", "inventory": {"version": 0, "count": 0},
    });
    let bytes = rmp_serde::to_vec_named(&fields).unwrap();
    let own = WorkerId::new("w-1").unwrap();
    let other = WorkerId::new("w-2").unwrap();
    assert!(decode::<Heartbeat>(&bytes, Some(&own)).is_ok());
    assert_eq!(
        decode::<Heartbeat>(&bytes, Some(&other)).unwrap_err().reason(),
        "spoofed"
    );
}
