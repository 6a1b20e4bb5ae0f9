//! A leader that answers as a coordinator does, with the sets that the test wants, and that can also misbehave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_nats::Client;
use futures::StreamExt;
use streamkeeper_protocol::{
    Action, Assign, AssignKind, Control, ControlKind, ControlReply, DEFAULT_KILL_MARGIN_MS,
    DEFAULT_STOP_BUDGET_MS, DesiredEntry, Epoch, Heartbeat, Ownership, Phase, RunSpec, RunState,
    RunningStream, SessionId, StreamId, Subjects, Term, WorkerId, compress, decode, encode,
};
use streamkeeper_tests::wait::{GENEROUS, until};
use tokio::task::AbortHandle;

/// First byte of a compressed message.
pub(crate) const COMPRESSED: u8 = 0x78;

/// As an orchestrator does it: only for who says that it understands it.
fn compress_if(understood: bool, bytes: Vec<u8>) -> Vec<u8> {
    if understood { compress(bytes) } else { bytes }
}

/// Leads one worker through one server.
pub(crate) struct Leader {
    client: Client,
    worker: WorkerId,
    subjects: Subjects,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

struct State {
    term: Term,
    generation: u64,
    entries: Vec<DesiredEntry>,
    silent: bool,
    /// Heartbeats that came compressed.
    compressed: usize,
    heard: Vec<Heartbeat>,
}

/// An entry that may be started, under an epoch of `term`.
pub(crate) fn run(stream: &str, term: u32, counter: u32, source: &str) -> DesiredEntry {
    let spec = RunSpec {
        source: source.to_owned(),
        ownership: Ownership::Available,
        labels: BTreeMap::new(),
    };
    DesiredEntry {
        stream: StreamId::new(stream).unwrap(),
        epoch: Epoch::new(Term::new(term).unwrap(), counter),
        action: Action::Run,
        spec: Some(spec),
    }
}

/// An entry that goes on and is not started.
pub(crate) fn keep(stream: &str, term: u32, counter: u32) -> DesiredEntry {
    DesiredEntry {
        action: Action::Keep,
        spec: None,
        ..run(stream, term, counter, "")
    }
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
        let state = Arc::new(Mutex::new(State {
            term: Term::new(term).unwrap(),
            generation: 1,
            entries: Vec::new(),
            silent: false,
            compressed: 0,
            heard: Vec::new(),
        }));
        let (speaker, subject, shared, own) = (
            client.clone(),
            subjects.assign(&worker),
            state.clone(),
            worker.clone(),
        );
        let task = tokio::spawn(async move {
            while let Some(message) = heartbeats.next().await {
                let heartbeat: Heartbeat = decode(&message.payload, Some(&own)).unwrap();
                let understood = heartbeat.zlib;
                if message.payload[0] == COMPRESSED {
                    shared.lock().unwrap().compressed += 1;
                }
                let answer = shared.lock().unwrap().answer(heartbeat);
                if let Some(answer) = answer {
                    let bytes = compress_if(understood, encode(&answer).unwrap());
                    speaker.publish(subject.clone(), bytes.into()).await.unwrap();
                }
            }
        });
        Self {
            client,
            worker,
            subjects,
            state,
            task: task.abort_handle(),
        }
    }

    /// From now on the worker is to run these; it is told at once.
    pub(crate) async fn want(&self, entries: Vec<DesiredEntry>) {
        let assign = {
            let mut state = self.state.lock().unwrap();
            state.generation += 1;
            state.entries = entries;
            let last = state.heard.last().cloned();
            last.map(|last| state.assign(&last, AssignKind::Desired))
        };
        if let Some(assign) = assign {
            self.send(&assign).await;
        }
    }

    /// Another leadership begins, with this set under its first generation.
    pub(crate) fn lead(&self, term: u32, entries: Vec<DesiredEntry>) {
        let mut state = self.state.lock().unwrap();
        state.term = Term::new(term).unwrap();
        state.generation = 1;
        state.entries = entries;
    }

    /// Answers no more, or again.
    pub(crate) fn silent(&self, silent: bool) {
        self.state.lock().unwrap().silent = silent;
    }

    /// An answer to the last heartbeat, to be changed and sent.
    pub(crate) fn draft(&self, kind: AssignKind) -> Assign {
        let state = self.state.lock().unwrap();
        state.assign(state.heard.last().unwrap(), kind)
    }

    pub(crate) async fn send(&self, assign: &Assign) {
        let understood = self.heard().last().is_some_and(|heartbeat| heartbeat.zlib);
        self.send_raw(compress_if(understood, encode(assign).unwrap()))
            .await;
    }

    pub(crate) async fn send_raw(&self, bytes: Vec<u8>) {
        let subject = self.subjects.assign(&self.worker);
        self.client.publish(subject, bytes.into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// How many heartbeats came compressed so far.
    pub(crate) fn compressed(&self) -> usize {
        self.state.lock().unwrap().compressed
    }

    /// Everything that was heard so far.
    pub(crate) fn heard(&self) -> Vec<Heartbeat> {
        self.state.lock().unwrap().heard.clone()
    }

    /// Waits for a heartbeat among all that come after number `from`.
    pub(crate) async fn hear_after(
        &self,
        from: usize,
        what: &str,
        fits: impl Fn(&Heartbeat) -> bool,
    ) -> Heartbeat {
        let found = until(GENEROUS, async || {
            let heard = self.heard();
            let found = heard.iter().skip(from).find(|heartbeat| fits(heartbeat)).cloned();
            found.ok_or_else(|| format!("{what} not heard; the last was {:?}", heard.last()))
        });
        found.await.unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Waits for a heartbeat, among all that were heard.
    pub(crate) async fn hear(&self, what: &str, fits: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        self.hear_after(0, what, fits).await
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
        let bytes = encode(&control).unwrap();
        let subject = self.subjects.control(&self.worker);
        let reply = self.client.request(subject, bytes.into()).await.unwrap();
        decode(&reply.payload, None).unwrap()
    }
}

impl State {
    /// The answer to a heartbeat. A term's first one changes nothing; a farewell gets none.
    fn answer(&mut self, heartbeat: Heartbeat) -> Option<Assign> {
        let kind = if heartbeat.applied.term != self.term {
            AssignKind::LeaseOnly
        } else if heartbeat.applied.generation == self.generation {
            AssignKind::Current
        } else {
            AssignKind::Desired
        };
        let answers = !self.silent && heartbeat.phase != Phase::Gone;
        let answer = answers.then(|| self.assign(&heartbeat, kind));
        self.heard.push(heartbeat);
        answer
    }

    fn assign(&self, heartbeat: &Heartbeat, kind: AssignKind) -> Assign {
        let (desired, first) = (kind == AssignKind::Desired, kind == AssignKind::LeaseOnly);
        Assign {
            v: 1,
            worker: heartbeat.worker.clone(),
            session: heartbeat.session,
            ack_seq: heartbeat.seq,
            term: self.term,
            generation: if first { 0 } else { self.generation },
            lease_ms: 15_000,
            stop_budget_ms: DEFAULT_STOP_BUDGET_MS,
            kill_margin_ms: DEFAULT_KILL_MARGIN_MS,
            // A later term's first answer does not ask: it says so by its kind.
            whole_inventory: first && self.term.get() == 16,
            kind,
            reason: None,
            part: 0,
            parts: u32::from(desired),
            entries: if desired { self.entries.clone() } else { Vec::new() },
            zlib: true,
        }
    }
}
