//! One value of every message, as it is published in `tests/wire/golden/`, with every field filled somewhere.

mod lines;
mod others;

use std::collections::BTreeMap;

use serde_json::Value;
use streamkeeper_protocol::codec::Message;
use streamkeeper_protocol::{
    Action, Assign, AssignKind, Capacity, DEFAULT_KILL_MARGIN_MS, DEFAULT_STOP_BUDGET_MS, DecodeError,
    DesiredEntry, Epoch, Heartbeat, HostMetrics, Inventory, Mode, Ownership, Performance, Phase, RunSpec,
    RunState, RunningStream, SessionId, StreamId, StreamPerformance, Term, Version, WorkerId, decode, encode,
};

/// Numbers that need all bytes of their type: a reader that cuts them is found out.
const EPOCH_COUNTER: u32 = 4_000_000_001;
const TERM: u32 = 2_000_000_017;

/// Whether bytes are read as a certain message.
type Check = dyn Fn(&[u8]) -> Result<bool, DecodeError>;

/// A message with its published bytes.
pub(crate) struct Example {
    /// Name of the file in `golden/`, without `.hex`.
    pub(crate) file: &'static str,
    /// Name of the message type.
    pub(crate) message: &'static str,
    /// The bytes that this program writes.
    pub(crate) bytes: Vec<u8>,
    /// The fields, as serde names them.
    pub(crate) fields: Value,
    /// Whether every field is there.
    pub(crate) full: bool,
    check: Box<Check>,
    normal: fn(Value) -> Result<Value, String>,
}

impl Example {
    fn new<M: Message + PartialEq + 'static>(file: &'static str, full: bool, value: M) -> Self {
        let name = std::any::type_name::<M>();
        Self {
            file,
            message: name.rsplit("::").next().unwrap(),
            bytes: encode(&value).unwrap(),
            fields: serde_json::to_value(&value).unwrap(),
            full,
            check: Box::new(move |bytes| Ok(decode::<M>(bytes, None)? == value)),
            normal: |fields| {
                let message: M = serde_json::from_value(fields).map_err(|error| error.to_string())?;
                serde_json::to_value(&message).map_err(|error| error.to_string())
            },
        }
    }

    /// Whether these bytes are read as this very message.
    pub(crate) fn reads(&self, bytes: &[u8]) -> Result<bool, DecodeError> {
        (self.check)(bytes)
    }

    /// Whether these fields, written by another program, are accepted.
    pub(crate) fn accepts(&self, fields: &Value) -> Result<(), DecodeError> {
        self.reads(&rmp_serde::to_vec_named(fields).unwrap()).map(|_| ())
    }

    /// These fields as they are after reading, or what serde has against them, in words.
    pub(crate) fn normal(&self, fields: Value) -> Result<Value, String> {
        (self.normal)(fields)
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Example> {
    let mut all = heartbeats();
    all.extend(assigns());
    all.extend(others::orders());
    all.extend(lines::all());
    all.extend(others::for_everybody());
    all
}

fn worker() -> WorkerId {
    WorkerId::new("w-1").unwrap()
}

const fn session(number: u128) -> SessionId {
    SessionId::from_u128(0x0123_4567_89ab_cdef_0000_0000_0000_0000 + number)
}

fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(pair).collect()
}

fn heartbeats() -> Vec<Example> {
    let digest = Heartbeat {
        v: 1,
        worker: worker(),
        session: session(1),
        seq: 7,
        boot_id: "5f0c2f5e-4c1e-4f0a-9a52-6a1f6f0d1c11".to_owned(),
        supersedes: None,
        applied: Version {
            term: term(16),
            generation: 3,
        },
        highest_term: term(16),
        mode: Mode::Connected,
        lease_left_ms: 0,
        guarded: false,
        phase: Phase::Ready,
        capacity: Capacity {
            max_streams: 100,
            weight: 100.0,
        },
        labels: BTreeMap::new(),
        zone: None,
        version: "0.1.0".to_owned(),
        inventory: Inventory::digest(2, 1),
        host: None,
        performance: Vec::new(),
        zlib: false,
    };
    let running = |name: &str, state| RunningStream {
        stream: stream(name),
        epoch: Epoch::new(term(16), 1),
        state,
        restarts: 0,
        reason: None,
    };
    let failing = RunningStream {
        epoch: Epoch::new(term(TERM), EPOCH_COUNTER),
        restarts: 70_000,
        reason: Some("Verbindung verloren: \u{fc}berlastet".to_owned()),
        ..running("radio-2", RunState::Failing)
    };
    let list = vec![
        failing,
        running("radio-3", RunState::Running),
        running("radio-4", RunState::Starting),
        running("radio-5", RunState::Stopping),
    ];
    let whole = Heartbeat {
        seq: 5_000_000_000,
        supersedes: Some(session(2)),
        applied: Version {
            term: term(TERM),
            generation: 5_000_000_001,
        },
        highest_term: term(TERM),
        mode: Mode::Local,
        lease_left_ms: 12_500,
        phase: Phase::Draining,
        capacity: Capacity {
            max_streams: 70_000,
            weight: 0.1,
        },
        labels: texts(&[("arch", "arm64"), ("gpu", "")]),
        zone: Some("eu-1".to_owned()),
        inventory: Inventory {
            version: 5_000_000_002,
            count: 5,
            part: 1,
            parts: 2,
            running: list,
        },
        host: Some(HostMetrics {
            cpu_share: 0.25,
            memory_used_bytes: 5_000_000_003,
            memory_total_bytes: 17_179_869_184,
            load1: 1.5,
            cores: None,
        }),
        ..digest.clone()
    };
    let guarded = Heartbeat {
        guarded: true,
        ..whole.clone()
    };
    let performance = Heartbeat {
        seq: 5_000_000_004,
        performance: performance(),
        zlib: true,
        ..guarded.clone()
    };
    let cores = Heartbeat {
        host: performance.host.map(|host| HostMetrics {
            cores: Some(70_003),
            ..host
        }),
        ..performance.clone()
    };
    let empty = Heartbeat {
        seq: 1,
        applied: Version::default(),
        highest_term: Term::ZERO,
        mode: Mode::Local,
        phase: Phase::Starting,
        inventory: Inventory {
            parts: 1,
            ..Inventory::digest(0, 0)
        },
        ..digest.clone()
    };
    let with_phase = |phase| Heartbeat {
        phase,
        inventory: Inventory::digest(4, 0),
        ..digest.clone()
    };
    vec![
        Example::new("heartbeat_leaving", false, with_phase(Phase::Leaving)),
        Example::new("heartbeat_gone", false, with_phase(Phase::Gone)),
        Example::new("heartbeat_digest", false, digest),
        Example::new("heartbeat_empty", false, empty),
        Example::new("heartbeat_guarded", false, guarded),
        Example::new("heartbeat_whole", false, whole),
        Example::new("heartbeat_performance", false, performance),
        Example::new("heartbeat_cores", true, cores),
    ]
}

/// Of a stream that is measured in every way, of one by a command, of one that a worker reads itself.
fn performance() -> Vec<StreamPerformance> {
    let of = |name: &str, measured| StreamPerformance {
        stream: stream(name),
        epoch: Epoch::new(term(TERM), EPOCH_COUNTER),
        measured,
    };
    let command = Performance {
        cpu_cores: Some(0.1),
        memory_bytes: Some(5_000_000_005),
        ..Performance::default()
    };
    let reader = Performance {
        bytes_per_second: Some(5_000_000_006),
        stalls: Some(70_001),
        reconnects: Some(70_002),
        ..Performance::default()
    };
    vec![
        of("radio-2", command.plus(reader)),
        of("radio-3", command),
        of("radio-4", reader),
    ]
}

/// The first bytes that were published; they stay.
fn first_assign() -> Assign {
    Assign {
        v: 1,
        worker: worker(),
        session: SessionId::from_u128(0xab),
        ack_seq: 7,
        term: term(17),
        generation: 3,
        lease_ms: 15_000,
        stop_budget_ms: DEFAULT_STOP_BUDGET_MS,
        kill_margin_ms: DEFAULT_KILL_MARGIN_MS,
        whole_inventory: false,
        kind: AssignKind::Current,
        reason: None,
        part: 0,
        parts: 0,
        entries: Vec::new(),
        zlib: false,
    }
}

fn assigns() -> Vec<Example> {
    let current = first_assign();
    let lease_only = Assign {
        generation: 0,
        whole_inventory: true,
        kind: AssignKind::LeaseOnly,
        ..current.clone()
    };
    let refused = Assign {
        generation: 0,
        kind: AssignKind::Refused,
        reason: Some("another live process (session 01) has this worker id".to_owned()),
        ..current.clone()
    };
    let run = |name: &str, ownership| DesiredEntry {
        stream: stream(name),
        epoch: Epoch::new(term(TERM), EPOCH_COUNTER),
        action: Action::Run,
        spec: Some(RunSpec {
            source: format!("http://127.0.0.1:8000/{name}?q=\u{fc}"),
            ownership,
            labels: texts(&[("codec", "mp3")]),
        }),
    };
    let keep = DesiredEntry {
        stream: stream("radio-1"),
        epoch: Epoch::new(term(1), 1),
        action: Action::Keep,
        spec: None,
    };
    let desired = Assign {
        ack_seq: 5_000_000_000,
        term: term(TERM),
        generation: 5_000_000_001,
        lease_ms: 5_000_000_002,
        whole_inventory: true,
        kind: AssignKind::Desired,
        // Never together in earnest; here so that every field is published once.
        reason: Some("only an example".to_owned()),
        part: 1,
        parts: 2,
        entries: vec![
            run("radio-2", Ownership::Available),
            run("radio-3", Ownership::Exclusive),
            keep,
        ],
        ..current.clone()
    };
    let budgets = Assign {
        stop_budget_ms: 5_000_000_003,
        kill_margin_ms: 5_000_000_004,
        ..desired.clone()
    };
    let desired_empty = Assign {
        kind: AssignKind::Desired,
        parts: 1,
        ..current.clone()
    };
    let zlib = Assign {
        zlib: true,
        ..budgets.clone()
    };
    vec![
        Example::new("assign_zlib", true, zlib),
        Example::new("assign_lease_only", false, lease_only),
        Example::new("assign_current", false, current),
        Example::new("assign_budgets", false, budgets),
        Example::new("assign_desired", false, desired),
        Example::new("assign_desired_empty", false, desired_empty),
        Example::new("assign_refused", false, refused),
    ]
}
