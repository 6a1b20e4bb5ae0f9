//! A small world: a database that does what it is told and workers that follow the protocol.

use std::collections::{BTreeMap, VecDeque};

use streamkeeper_protocol::{
    Action, Assign, AssignKind, Capacity, Epoch, Heartbeat, Inventory, Mode, Ownership, Phase, RunState,
    RunningStream, Version,
};

use super::super::*;
use super::lead;
use crate::cluster::{MoveReason, StreamState};
use crate::record::{Assignment, AssignmentWrite, Loaded, Persisted, StreamWrite, WriteBatch};
use crate::request::{ApplyOutcome, ApplyStreams};
use crate::spec::StreamSpec;

#[derive(Default)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) coordinator: Option<Coordinator>,
    pub(super) fence: Option<Fence>,
    pub(super) streams: BTreeMap<StreamId, StreamSpec>,
    pub(super) rows: BTreeMap<StreamId, Assignment>,
    pub(super) workers: BTreeMap<WorkerId, Process>,
    pub(super) replies: Vec<ApplyOutcome>,
    pub(super) rivals: usize,
    pub(super) notices: Vec<crate::notice::Notice>,
    /// Workers that no message reaches.
    pub(super) deaf: BTreeSet<WorkerId>,
    pub(super) directives: Vec<crate::directive::DirectiveWrite>,
    pub(super) kept: crate::kept::Kept,
    /// Answer of the database to the next transactions, instead of storing them.
    pub(super) broken: VecDeque<Persisted>,
    /// The database does not answer.
    pub(super) away: bool,
    /// The database says nothing, until `answer` speaks for it.
    pub(super) silent: bool,
    pub(super) unanswered: Option<(Fence, u64, Vec<AssignmentWrite>)>,
    /// Transactions that wrote something under the present fence.
    pub(super) transactions: u64,
    /// Whom the failure detector was asked for.
    pub(super) expected: Vec<(WorkerId, SessionId)>,
    /// What workers were answered, and under which version.
    pub(super) answers: Vec<AssignKind>,
    pub(super) versions: Vec<Version>,
    /// Every (stream, epoch) that any worker ever started, in order.
    pub(super) starts: Vec<(StreamId, Epoch)>,
}

pub(super) struct Process {
    pub(super) session: SessionId,
    pub(super) seq: u64,
    pub(super) applied: Version,
    pub(super) version: u64,
    pub(super) running: BTreeMap<StreamId, Epoch>,
    /// How a stream is there, where it does not run well.
    pub(super) states: BTreeMap<StreamId, RunState>,
}

pub(super) fn id(text: &str) -> StreamId {
    StreamId::new(text).unwrap()
}

pub(super) fn worker(text: &str) -> WorkerId {
    WorkerId::new(text).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self::default();
        world.restart();
        world
    }

    /// A new orchestrator process on the same database.
    pub(super) fn restart(&mut self) {
        self.coordinator = Some(Coordinator::new(Config::default()));
        let above = self.fence.map_or(Term::ZERO, |fence| fence.term);
        self.send(Event::Begin { above });
    }

    pub(super) fn send(&mut self, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            self.now += 1;
            let now = Timestamp::from_ms(self.now);
            for command in self.coordinator.as_mut().unwrap().handle(now, event) {
                queue.extend(self.perform(command));
            }
        }
    }

    pub(super) fn perform(&mut self, command: Command) -> Option<Event> {
        match command {
            // An election without rivals.
            Command::NewTerm { above } => Some(lead::unrivalled(above.next_for(1).unwrap(), Timestamp::MAX)),
            Command::HeardTerm(_) | Command::Vacated { .. } => None,
            Command::TakeOver { term } if self.away => Some(Event::TakeOverFailed { term, stored: None }),
            Command::TakeOver { term } => {
                let stored = self.fence.map_or(Term::ZERO, |fence| fence.term);
                assert!(term > stored);
                let longest_lease = if stored == Term::ZERO {
                    Duration::ZERO
                } else {
                    Duration::from_secs(15)
                };
                let fence = Fence {
                    term,
                    nonce: self.now,
                };
                self.fence = Some(fence);
                self.transactions = 0;
                Some(Event::TookOver {
                    fence,
                    longest_lease,
                    loaded: Loaded {
                        streams: self.streams.values().cloned().collect(),
                        assignments: self.rows.clone().into_iter().collect(),
                        directives: self.directives.clone(),
                        kept: self.kept.clone(),
                        ..Loaded::default()
                    },
                })
            }
            Command::Persist { ticket, fence, batch } if self.silent => {
                self.unanswered = Some((fence, ticket, batch.assignments));
                None
            }
            Command::Persist { ticket, fence, .. } if self.away && self.broken.is_empty() => {
                Some(Event::Persisted {
                    fence,
                    ticket,
                    outcome: Persisted::Failed {
                        reason: "away".into(),
                    },
                })
            }
            Command::Persist { ticket, fence, batch } => {
                let stored = self.fence.unwrap();
                let outcome = match self.broken.pop_front() {
                    Some(broken) => broken,
                    None if fence == stored => self.store(batch),
                    None => Persisted::Fenced { term: stored.term },
                };
                Some(Event::Persisted {
                    fence,
                    ticket,
                    outcome,
                })
            }
            Command::Assign(assign) => {
                self.answers.push(assign.kind);
                self.versions.push(assign.version());
                let heartbeat = self.obey(&assign);
                heartbeat.map(|heartbeat| Event::Heartbeat(Box::new(heartbeat)))
            }
            Command::Reply { outcome, .. } => {
                self.replies.push(outcome);
                None
            }
            Command::Rival { .. } => {
                self.rivals += 1;
                None
            }
            Command::Expect(sessions) => {
                self.expected.extend(sessions);
                None
            }
            Command::Snapshot(_) => None,
            Command::Notice(notice) => {
                self.notices.push(notice);
                None
            }
        }
    }

    /// What the database says at last to the transaction that it was silent about.
    pub(super) fn answer(&mut self, outcome: Persisted) {
        let (fence, ticket, _) = self.unanswered.take().unwrap();
        self.transactions += u64::from(matches!(outcome, Persisted::Committed { .. }));
        self.send(Event::Persisted {
            fence,
            ticket,
            outcome,
        });
    }

    pub(super) fn store(&mut self, batch: WriteBatch) -> Persisted {
        if batch.before != Some(self.transactions) {
            return Persisted::Rewound;
        }
        self.transactions += u64::from(!batch.is_empty());
        let mut refused = Vec::new();
        self.kept.apply(batch.kept);
        for write in batch.directives {
            self.directives.retain(|known| known.key() != write.key());
            let put = matches!(write, crate::directive::DirectiveWrite::Put { .. });
            self.directives.extend(put.then_some(write));
        }
        for write in batch.streams {
            match write {
                StreamWrite::Put(spec) => self.streams.insert(spec.name.clone(), spec),
                StreamWrite::Delete(name) => self.streams.remove(&name),
            };
        }
        for write in batch.assignments {
            let restores = matches!(write, AssignmentWrite::Restore { .. });
            match write {
                AssignmentWrite::Put { stream, assignment }
                | AssignmentWrite::Restore { stream, assignment } => {
                    let stored = self.rows.get(&stream).map_or(Epoch::ZERO, |row| row.epoch);
                    if stored < assignment.epoch || (restores && stored == assignment.epoch) {
                        self.rows.insert(stream, assignment);
                    } else {
                        refused.push(stream);
                    }
                }
                AssignmentWrite::Clear { stream, epoch } => {
                    self.rows.retain(|name, row| *name != stream || row.epoch > epoch);
                }
            }
        }
        Persisted::Committed { refused }
    }

    /// A worker takes an answer, and reports at once when that changed something.
    pub(super) fn obey(&mut self, assign: &Assign) -> Option<Heartbeat> {
        if self.deaf.contains(&assign.worker) {
            return None;
        }
        let process = self.workers.get_mut(&assign.worker)?;
        if process.session != assign.session || assign.version() < process.applied {
            return None;
        }
        let changed = assign.version() > process.applied || assign.whole_inventory;
        match assign.kind {
            AssignKind::Refused => return None,
            AssignKind::LeaseOnly | AssignKind::Current => {}
            AssignKind::Desired => {
                let wanted: BTreeMap<_, _> = assign
                    .entries
                    .iter()
                    .map(|entry| (&entry.stream, entry))
                    .collect();
                process
                    .running
                    .retain(|stream, epoch| wanted.get(stream).is_some_and(|entry| entry.epoch <= *epoch));
                for entry in assign.entries.iter().filter(|entry| entry.action == Action::Run) {
                    if !process.running.contains_key(&entry.stream) {
                        process.running.insert(entry.stream.clone(), entry.epoch);
                        self.starts.push((entry.stream.clone(), entry.epoch));
                    }
                }
                process.version += 1;
            }
        }
        process.applied = assign.version();
        changed.then(|| self.report(&assign.worker)).flatten()
    }

    pub(super) fn report(&mut self, name: &WorkerId) -> Option<Heartbeat> {
        let process = self.workers.get_mut(name)?;
        process.seq += 1;
        let running = process.running.iter().map(|(stream, epoch)| RunningStream {
            stream: stream.clone(),
            epoch: *epoch,
            state: process.states.get(stream).copied().unwrap_or(RunState::Running),
            restarts: u32::from(process.states.get(stream) == Some(&RunState::Failing)),
            reason: None,
        });
        let running: Vec<_> = running.collect();
        let count = u32::try_from(running.len()).unwrap();
        Some(Heartbeat {
            v: 1,
            worker: name.clone(),
            session: process.session,
            seq: process.seq,
            boot_id: "boot".into(),
            supersedes: None,
            applied: process.applied,
            highest_term: process.applied.term,
            mode: Mode::Connected,
            lease_left_ms: 0,
            guarded: true,
            phase: Phase::Ready,
            capacity: Capacity {
                max_streams: 100,
                weight: 100.0,
            },
            labels: BTreeMap::new(),
            zone: None,
            version: "test".into(),
            inventory: Inventory {
                version: process.version,
                count,
                part: 0,
                parts: 1,
                running,
            },
            host: None,
            performance: Vec::new(),
            zlib: false,
        })
    }

    pub(super) fn join(&mut self, name: &str, session: u128) {
        let process = Process {
            session: SessionId::from_u128(session),
            seq: 0,
            applied: Version::default(),
            version: 0,
            running: BTreeMap::new(),
            states: BTreeMap::new(),
        };
        self.workers.insert(worker(name), process);
        self.beat(name);
    }

    pub(super) fn beat(&mut self, name: &str) {
        let heartbeat = self.report(&worker(name)).unwrap();
        self.send(Event::Heartbeat(Box::new(heartbeat)));
    }

    /// A stream is in this state on a worker from now on, or (none) runs there; the worker says so where it has it.
    pub(super) fn make(&mut self, name: &str, stream: &str, state: Option<RunState>) {
        let process = self.workers.get_mut(&worker(name)).unwrap();
        match state {
            Some(state) => process.states.insert(id(stream), state),
            None => process.states.remove(&id(stream)),
        };
        if process.running.contains_key(&id(stream)) {
            process.version += 1;
            self.beat(name);
        }
    }

    pub(super) fn judge(&mut self, name: &str, session: u128, availability: Availability) {
        let session = SessionId::from_u128(session);
        self.send(Event::Availability(vec![SessionChange {
            worker: worker(name),
            session,
            availability,
        }]));
    }

    pub(super) fn declare(&mut self, names: &[&str]) {
        self.declare_as(names, Ownership::Available);
    }

    pub(super) fn declare_as(&mut self, names: &[&str], ownership: Ownership) {
        let spec = |name: &&str| StreamSpec {
            ownership,
            ..StreamSpec::new(id(name), "http://source")
        };
        let streams = names.iter().map(spec).collect();
        self.send(Event::Apply {
            request: 1,
            change: ApplyStreams {
                streams,
                ..ApplyStreams::default()
            },
        });
    }

    /// What a balancer would do that knows one worker.
    pub(super) fn place_all(&mut self, to: &str) {
        let cluster = self.cluster().clone();
        let proposals = cluster.needs_worker.iter().map(|stream| Proposal {
            stream: stream.clone(),
            planned_on: cluster.streams[stream]
                .slot
                .assignment()
                .map(|assignment| assignment.epoch),
            to: worker(to),
            reason: MoveReason::Declared,
        });
        let proposals = proposals.collect();
        self.send(Event::Propose(proposals));
    }

    pub(super) fn cluster(&self) -> &ClusterState {
        self.coordinator.as_ref().unwrap().cluster()
    }

    pub(super) fn state(&self, stream: &str) -> StreamState {
        self.cluster().streams[&id(stream)].state()
    }

    #[track_caller]
    pub(super) fn assert_runs(&self, stream: &str, on: &[&str]) {
        let running = self
            .workers
            .iter()
            .filter(|(_, process)| process.running.contains_key(&id(stream)));
        let running: Vec<_> = running.map(|(name, _)| name.as_str()).collect();
        assert_eq!(running, on, "{stream}");
    }
}
