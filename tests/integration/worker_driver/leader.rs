//! A leader of few words: it answers heartbeats with the set that the test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_nats::Client;
use futures::StreamExt;
use streamkeeper_protocol::{
    Action, Assign, AssignKind, Control, ControlKind, ControlReply, DEFAULT_KILL_MARGIN_MS,
    DEFAULT_STOP_BUDGET_MS, DesiredEntry, Epoch, Heartbeat, Ownership, Phase, RunSpec, RunState,
    RunningStream, SessionId, StreamId, Subjects, Term, WorkerId, compress, decode, encode,
};
use streamkeeper_tests::tomorrow::of_a_newer_minor;
use streamkeeper_tests::wait::{GENEROUS, until};
use tokio::task::AbortHandle;

/// The term under which every epoch was granted.
pub(crate) const FIRST_TERM: u32 = 3;

/// What the leader wants and has heard.
struct Seen {
    term: Term,
    generation: u64,
    entries: Vec<DesiredEntry>,
    zlib: bool,
    newer: bool,
    silent: bool,
    lease_ms: u64,
    heard: Vec<Heartbeat>,
}

/// Leads one worker through one server.
pub(crate) struct Leader {
    pub(crate) client: Client,
    pub(crate) worker: WorkerId,
    pub(crate) subjects: Subjects,
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Leader {
    /// Subscribed when this returns.
    pub(crate) async fn start(url: &str, worker: &str, term: u32) -> Self {
        let client = async_nats::connect(url).await.unwrap();
        let (subjects, worker) = (Subjects::default(), WorkerId::new(worker).unwrap());
        let mut heartbeats = client.subscribe(subjects.heartbeat(&worker)).await.unwrap();
        client.flush().await.unwrap();
        let seen = Arc::new(Mutex::new(Seen {
            term: Term::new(term).unwrap(),
            generation: 1,
            entries: Vec::new(),
            zlib: true,
            newer: false,
            silent: false,
            lease_ms: 15_000,
            heard: Vec::new(),
        }));
        let (speaker, subject, state) = (client.clone(), subjects.assign(&worker), seen.clone());
        let task = tokio::spawn(async move {
            while let Some(message) = heartbeats.next().await {
                let heartbeat: Heartbeat = decode(&message.payload, None).unwrap();
                let (answer, newer, silent) = {
                    let mut state = state.lock().unwrap();
                    (state.answer(heartbeat), state.newer, state.silent)
                };
                if !silent {
                    let bytes = encode(&answer).unwrap();
                    let bytes = compress(if newer { of_a_newer_minor(&bytes) } else { bytes });
                    speaker.publish(subject.clone(), bytes.into()).await.unwrap();
                }
            }
        });
        Self {
            client,
            worker,
            subjects,
            seen,
            task: task.abort_handle(),
        }
    }

    /// From now on the worker is to run these (stream, epoch counter, source); `exclusive` is the source of streams
    /// that are owned so.
    pub(crate) fn want(&self, streams: &[(&str, u32, &str)]) {
        let mut seen = self.seen.lock().unwrap();
        seen.generation += 1;
        // Epochs stay as they were granted, whoever leads later.
        let term = Term::new(FIRST_TERM).unwrap();
        let entry = |(stream, counter, source): &(&str, u32, &str)| DesiredEntry {
            stream: StreamId::new(stream).unwrap(),
            epoch: Epoch::new(term, *counter),
            action: Action::Run,
            spec: Some(RunSpec {
                source: (*source).to_owned(),
                ownership: if *source == "exclusive" {
                    Ownership::Exclusive
                } else {
                    Ownership::Available
                },
                labels: BTreeMap::new(),
            }),
        };
        seen.entries = streams.iter().map(entry).collect();
    }

    /// Whether it says that it understands compressed messages, and whether it says anything.
    pub(crate) fn speak(&self, zlib: bool, silent: bool) {
        let mut seen = self.seen.lock().unwrap();
        (seen.zlib, seen.silent) = (zlib, silent);
    }

    /// From now on its messages have fields that nobody knows yet, in every map.
    pub(crate) fn become_newer(&self) {
        self.seen.lock().unwrap().newer = true;
    }

    /// How long leases last from now on.
    pub(crate) fn lease(&self, lease_ms: u64) {
        self.seen.lock().unwrap().lease_ms = lease_ms;
    }

    /// Everything that was heard so far.
    pub(crate) fn heard(&self) -> Vec<Heartbeat> {
        self.seen.lock().unwrap().heard.clone()
    }

    /// Waits for a heartbeat, among all that were heard.
    pub(crate) async fn hear(&self, what: &str, fits: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let found = until(GENEROUS, async || {
            let heard = self.heard();
            let found = heard.iter().find(|heartbeat| fits(heartbeat)).cloned();
            found.ok_or_else(|| format!("{what} not heard; the last was {:?}", heard.last()))
        });
        found.await.unwrap()
    }

    /// Waits until the worker reports `stream` in `state`.
    pub(crate) async fn hear_stream(&self, stream: &str, state: RunState) -> RunningStream {
        let find = |heartbeat: &Heartbeat| {
            let mut running = heartbeat.inventory.running.iter();
            running
                .find(|running| running.stream.as_str() == stream && running.state == state)
                .cloned()
        };
        let what = format!("{stream} {state:?}");
        let heartbeat = self.hear(&what, |heartbeat| find(heartbeat).is_some()).await;
        find(&heartbeat).unwrap()
    }

    /// Waits for the farewell.
    pub(crate) async fn hear_gone(&self) -> Heartbeat {
        self.hear("the farewell", |heartbeat| heartbeat.phase == Phase::Gone)
            .await
    }

    /// Gives an order and waits for the answer.
    pub(crate) async fn order(
        &self,
        id: &str,
        term: u32,
        session: Option<SessionId>,
        kind: ControlKind,
    ) -> ControlReply {
        let control = Control {
            v: 1,
            worker: self.worker.clone(),
            session,
            id: id.to_owned(),
            term: Term::new(term).unwrap(),
            kind,
        };
        let newer = self.seen.lock().unwrap().newer;
        let bytes = encode(&control).unwrap();
        let bytes = if newer { of_a_newer_minor(&bytes) } else { bytes };
        let subject = self.subjects.control(&self.worker);
        let reply = self.client.request(subject, bytes.into()).await.unwrap();
        decode(&reply.payload, None).unwrap()
    }
}

impl Seen {
    fn answer(&mut self, heartbeat: Heartbeat) -> Assign {
        let applied = (heartbeat.applied.term, heartbeat.applied.generation);
        let current = applied == (self.term, self.generation);
        let assign = Assign {
            v: 1,
            worker: heartbeat.worker.clone(),
            session: heartbeat.session,
            ack_seq: heartbeat.seq,
            term: self.term,
            generation: self.generation,
            lease_ms: self.lease_ms,
            stop_budget_ms: DEFAULT_STOP_BUDGET_MS,
            kill_margin_ms: DEFAULT_KILL_MARGIN_MS,
            whole_inventory: false,
            kind: if current {
                AssignKind::Current
            } else {
                AssignKind::Desired
            },
            reason: None,
            part: 0,
            parts: u32::from(!current),
            entries: if current { Vec::new() } else { self.entries.clone() },
            zlib: self.zlib,
        };
        self.heard.push(heartbeat);
        assign
    }
}
