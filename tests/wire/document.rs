//! `docs/PROTOCOL.md` is in step with the code: it names every field, variant and limit, and its example is what a session
//! of the SDK really says.

use std::collections::BTreeSet;

use serde_json::Value;
use streamkeeper_protocol::connect::Connect;
use streamkeeper_protocol::{
    Assign, Capacity, Control, ControlReply, Heartbeat, SessionId, StreamId, Term, WorkerId, limit,
};
use streamkeeper_worker::{Command, Event, Millis, Session, SessionConfig};

use crate::asyncapi::{core_quotes, document};

const PROTOCOL: &str = include_str!("../../docs/PROTOCOL.md");

/// The JSON blocks, in their order.
fn blocks() -> Vec<Value> {
    let blocks = PROTOCOL.split("```json\n").skip(1);
    let texts = blocks.map(|rest| rest.split("```").next().unwrap());
    texts
        .map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
        .collect()
}

/// Texts in backticks.
fn named() -> BTreeSet<&'static str> {
    // The fences of blocks have three.
    let prose: Vec<&str> = PROTOCOL.split("```").step_by(2).collect();
    prose
        .iter()
        .flat_map(|text| text.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn it_names_every_field_and_every_variant() {
    let named = named();
    let mut missing = BTreeSet::new();
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.into_iter().flatten().map(|(key, _)| key.as_str());
        let variants = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        let words = properties.chain(variants.filter_map(Value::as_str));
        let unnamed = words.filter(|word| !named.contains(word));
        missing.extend(unnamed.map(|word| format!("{name}: {word}")));
    }
    assert!(missing.is_empty(), "docs/PROTOCOL.md does not name {missing:#?}");
}

#[test]
fn it_names_every_event_every_reason_and_every_rule() {
    let named = named();
    let kinds = core_quotes("impl Notice {", "pub const fn kind", "pub fn fields");
    let fields = core_quotes("impl Notice {", "pub fn fields", "pairs\n");
    let reasons = core_quotes("impl MoveReason {", "pub const fn as_str", "\n}");
    let rules = core_quotes("impl Rule {", "pub const fn as_str", "pub fn named");
    for word in kinds.iter().chain(&fields).chain(&reasons).chain(&rules) {
        assert!(
            named.contains(word.as_str()),
            "docs/PROTOCOL.md does not name {word}"
        );
    }
}

#[test]
fn its_limits_are_the_codes() {
    for (row, value) in [
        ("Longest id", limit::MAX_ID_BYTES),
        ("Largest message", limit::MAX_MESSAGE_BYTES),
        ("Deepest nesting", limit::MAX_DEPTH),
        ("Most entries", limit::MAX_ENTRIES),
        ("Most parts", limit::MAX_PARTS as usize),
        ("Most streams with performance", limit::MAX_PERFORMANCE),
        ("Compressed at the earliest above", limit::COMPRESS_ABOVE_BYTES),
        ("Most labels", limit::MAX_LABELS),
        ("Longest text", limit::MAX_TEXT_BYTES),
        ("Longest source", limit::MAX_SOURCE_BYTES),
        ("Most lines", limit::MAX_LOG_LINES),
        ("Longest line", limit::MAX_LOG_LINE_BYTES),
        ("Longest wait", limit::MAX_LOG_WAIT_MS as usize),
    ] {
        let line = PROTOCOL
            .lines()
            .find(|line| line.starts_with(&format!("| {row}")));
        let line = line.unwrap_or_else(|| panic!("docs/PROTOCOL.md has no row {row:?}"));
        assert!(
            line.ends_with(&format!("| {value} |")),
            "{line}: the code says {value}"
        );
    }
}

/// What the session says to one event.
fn said(session: &mut Session, ms: u64, event: Event) -> Vec<Heartbeat> {
    let commands = session.handle(Millis(ms), 0, event).into_iter();
    let heartbeats = commands.filter_map(|command| match command {
        Command::Heartbeat(heartbeat) => Some(*heartbeat),
        Command::Refused { reason } => panic!("refused: {reason}"),
        _ => None,
    });
    heartbeats.collect()
}

#[test]
fn its_example_is_what_a_session_says() {
    let mut blocks = blocks().into_iter();
    let connect: Connect = serde_json::from_value(blocks.next().unwrap()).unwrap();
    assert_eq!(connect.prefix, "sk");
    let capacity = Capacity {
        max_streams: 10,
        weight: 10.0,
    };
    let mut config = SessionConfig::new(WorkerId::new("py-1").unwrap(), capacity);
    config.version = "1.0".to_owned();
    let session = SessionId::from_u128(0xbeef);
    let mut session = Session::new(config, session, "b-1".to_owned(), None, Term::ZERO);
    let mut epoch = None;
    let mut ms = 0;
    let mut heartbeats = 0;
    let mut next = Some(Event::Connected);
    for block in blocks.by_ref() {
        if block.get("ack_seq").is_some() {
            let assign: Assign = serde_json::from_value(block).unwrap();
            epoch = assign.entries.first().map(|entry| entry.epoch).or(epoch);
            next = Some(Event::Assign(assign));
            continue;
        }
        let told: Heartbeat = serde_json::from_value(block).unwrap();
        let stream = StreamId::new("radio-1").unwrap();
        // What the text between the blocks says.
        let happens: Vec<Event> = match (told.seq, epoch) {
            (1..=4, _) => next.take().into_iter().collect(),
            (5, Some(epoch)) => vec![Event::StreamUp { stream, epoch }],
            (6, _) => vec![next.take().unwrap(), Event::Tick],
            (7, _) => vec![Event::Leave],
            (8, Some(epoch)) => vec![Event::StreamStopped { stream, epoch }],
            other => panic!("the example has a heartbeat that this test does not know: {other:?}"),
        };
        let mut answers = Vec::new();
        for event in happens {
            ms += if event == Event::Tick { 2_200 } else { 100 };
            answers.extend(said(&mut session, ms, event));
        }
        assert_eq!(answers, [told]);
        heartbeats += 1;
        if heartbeats == 8 {
            break;
        }
    }
    assert_eq!(heartbeats, 8, "the example is not complete");
    let control: Control = serde_json::from_value(blocks.next().unwrap()).unwrap();
    let reply: ControlReply = serde_json::from_value(blocks.next().unwrap()).unwrap();
    assert_eq!(control.id, reply.id);
    assert!(blocks.next().is_none(), "a block that no test reads");
}
