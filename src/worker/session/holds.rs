//! The streams that a session holds, from the order to start to the end of the stop.

use std::collections::BTreeMap;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{
    Action, DesiredEntry, Epoch, Ownership, Phase, RunSpec, RunState, RunningStream, StreamId,
};

use super::exclusive::Gate;
use super::random::Random;
use super::text::plain;
use super::{Command, Millis, SavedSet, SavedStream, SessionConfig};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Exclusive, and wanted started by the applied set: it waits for the lease. The leader is told that it is here, for
    /// what an applied set has and an inventory lacks is given to another.
    Deferred,
    Starting,
    Running {
        since: Millis,
    },
    Failing {
        retry_at: Millis,
    },
    /// Never started: nothing here may run it.
    Refused,
    Stopping,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) epoch: Epoch,
    pub(super) spec: RunSpec,
    pub(super) state: State,
    restarts: u32,
    /// Failures since the stream was healthy last; decides the backoff.
    failures: u32,
    pub(super) reason: Option<String>,
    /// What to start when the stop is complete.
    pub(super) next: Option<(Epoch, RunSpec)>,
}

impl Held {
    pub(super) const fn new(epoch: Epoch, spec: RunSpec, state: State) -> Self {
        Self {
            epoch,
            spec,
            state,
            restarts: 0,
            failures: 0,
            reason: None,
            next: None,
        }
    }
}

/// What a worker may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starts {
    /// Every stream that it is given.
    All,
    /// Streams that it holds, under a higher epoch; no new ones.
    Held,
    /// Nothing.
    Nothing,
}

impl From<Phase> for Starts {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Starting | Phase::Ready => Self::All,
            Phase::Draining => Self::Held,
            Phase::Leaving | Phase::Gone => Self::Nothing,
        }
    }
}

impl Starts {
    /// Whether a stream may be started that is held so, or not at all.
    fn allow(self, held: Option<&Held>) -> bool {
        match self {
            Self::All => true,
            // One that was taken away is new when it is given again.
            Self::Held => held.is_some_and(|held| held.state != State::Stopping || held.next.is_some()),
            Self::Nothing => false,
        }
    }
}

/// Orders to the runner, kept apart so that every stop goes before every start.
#[derive(Debug, Default)]
pub(super) struct Orders {
    stops: Vec<Command>,
    pub(super) starts: Vec<Command>,
}

impl Orders {
    pub(super) fn into_commands(self) -> impl Iterator<Item = Command> {
        self.stops.into_iter().chain(self.starts)
    }
}

/// All streams of a session.
#[derive(Debug, Default)]
pub(super) struct Holds {
    pub(super) held: BTreeMap<StreamId, Held>,
    /// The highest epoch that may ever have been started, also of streams that are gone: a start below it would
    /// give one stream two owners in the wrong order.
    floor: BTreeMap<StreamId, Epoch>,
    /// What the applied set wants started and a draining worker did not start.
    skipped: BTreeMap<StreamId, (Epoch, RunSpec)>,
    pub(super) gate: Gate,
    pub(super) changed: bool,
}

impl Holds {
    /// Applies a whole desired set.
    pub(super) fn apply(&mut self, set: BTreeMap<StreamId, DesiredEntry>, starts: Starts) -> Orders {
        let mut orders = Orders::default();
        self.forget_unstarted();
        let absent = self.held.keys().filter(|stream| !set.contains_key(*stream));
        for stream in absent.cloned().collect::<Vec<_>>() {
            self.end(&stream, &mut orders);
        }
        for (stream, entry) in set {
            let allowed = starts.allow(self.held.get(&stream));
            let wanted = entry.spec.filter(|_| entry.action == Action::Run);
            if let Some(spec) = wanted.as_ref().filter(|_| !allowed && starts == Starts::Held) {
                self.skipped.insert(stream.clone(), (entry.epoch, spec.clone()));
            }
            let run = wanted.filter(|_| allowed);
            self.want(stream, entry.epoch, run, &mut orders);
        }
        orders
    }

    /// Starts what a draining worker did not start. An `exclusive` stream waits for the leader's next set: the leader
    /// may have taken its absence for a release and granted it elsewhere since.
    pub(super) fn start_skipped(&mut self) -> Orders {
        let mut skipped = std::mem::take(&mut self.skipped);
        skipped.retain(|_, (_, spec)| spec.ownership == Ownership::Available);
        self.start(skipped)
    }

    /// Starts these, as far as they do not run and were not given a higher epoch before.
    pub(super) fn start(&mut self, streams: BTreeMap<StreamId, (Epoch, RunSpec)>) -> Orders {
        let mut orders = Orders::default();
        for (stream, (epoch, spec)) in streams {
            self.want(stream, epoch, Some(spec), &mut orders);
        }
        orders
    }

    /// What was not started yet is nobody's word any more.
    pub(super) fn forget_unstarted(&mut self) {
        self.skipped.clear();
        self.forget_deferred();
    }

    /// Takes the epochs of a saved set, so that nothing is ever started below them.
    pub(super) fn remember(&mut self, saved: &SavedSet) {
        for SavedStream { stream, epoch, .. } in &saved.streams {
            let floor = self.floor.entry(stream.clone()).or_default();
            *floor = (*floor).max(*epoch);
        }
    }

    /// The streams that run or are to run, with what they run.
    pub(super) fn plan(&self) -> Vec<SavedStream> {
        let entry = |(stream, held): (&StreamId, &Held)| {
            let stops = held.state == State::Stopping;
            let (epoch, spec) = match &held.next {
                Some((epoch, spec)) => (*epoch, spec),
                None if stops => return None,
                None => (held.epoch, &held.spec),
            };
            Some(SavedStream {
                stream: stream.clone(),
                epoch,
                spec: spec.clone(),
            })
        };
        self.held.iter().filter_map(entry).collect()
    }

    /// Ends every stream.
    pub(super) fn end_all(&mut self) -> Orders {
        self.apply(BTreeMap::new(), Starts::Nothing)
    }

    fn want(&mut self, stream: StreamId, epoch: Epoch, run: Option<RunSpec>, orders: &mut Orders) {
        let floor = self.floor.get(&stream).copied().unwrap_or_default();
        let run = run.filter(|_| epoch >= floor || mutant::on(Mutant::EpochsNotCompared));
        let Some(held) = self.held.get_mut(&stream) else {
            if let Some(spec) = run {
                self.begin(stream, epoch, spec, orders);
            }
            return;
        };
        if run.is_some() {
            self.floor.insert(stream.clone(), epoch);
        }
        if held.state == State::Stopping {
            // The newest set decides alone: what an older one wanted next is not started any more.
            held.next = run.map(|spec| (epoch, spec));
        } else if let Some(spec) = run.filter(|_| epoch > held.epoch) {
            if mutant::on(Mutant::StopAfterStart) {
                return self.begin(stream, epoch, spec, orders);
            }
            self.end(&stream, orders);
            match self.held.get_mut(&stream) {
                Some(stopping) => stopping.next = Some((epoch, spec)),
                None => self.begin(stream, epoch, spec, orders),
            }
        }
    }

    fn begin(&mut self, stream: StreamId, epoch: Epoch, spec: RunSpec, orders: &mut Orders) {
        self.floor.insert(stream.clone(), epoch);
        if !self.gate.lets(&spec) {
            self.defer(stream, epoch, spec);
            return;
        }
        self.changed = true;
        orders.starts.push(Command::Start {
            stream: stream.clone(),
            epoch,
            spec: spec.clone(),
            attempt: 0,
        });
        self.held.insert(stream, Held::new(epoch, spec, State::Starting));
    }

    pub(super) fn end(&mut self, stream: &StreamId, orders: &mut Orders) {
        let Some(held) = self.held.get_mut(stream) else {
            return;
        };
        held.next = None;
        match held.state {
            State::Stopping => {}
            // It ended by itself, or never ran: there is nothing left to stop.
            State::Deferred | State::Failing { .. } | State::Refused => {
                self.held.remove(stream);
                self.changed = true;
            }
            State::Starting | State::Running { .. } => {
                held.state = State::Stopping;
                self.changed = true;
                orders.stops.push(Command::Stop {
                    stream: stream.clone(),
                    epoch: held.epoch,
                });
            }
        }
    }

    fn at_epoch(&mut self, stream: &StreamId, epoch: Epoch) -> Option<&mut Held> {
        self.held.get_mut(stream).filter(|held| held.epoch == epoch)
    }

    /// A stream runs.
    pub(super) fn up(&mut self, now: Millis, stream: &StreamId, epoch: Epoch) {
        if let Some(held) = self
            .at_epoch(stream, epoch)
            .filter(|held| held.state == State::Starting)
        {
            held.state = State::Running { since: now };
            self.changed = true;
        }
    }

    /// A stream ended by itself. While it is stopping only the completed stop counts, so that nothing is started
    /// before the runner has cleaned up.
    pub(super) fn exited(
        &mut self,
        now: Millis,
        (stream, epoch, reason): (&StreamId, Epoch, String),
        config: &SessionConfig,
        random: &mut Random,
    ) {
        let Some(held) = self.at_epoch(stream, epoch) else {
            return;
        };
        match held.state {
            State::Deferred | State::Stopping | State::Failing { .. } | State::Refused => return,
            State::Running { since } if now.since(since) >= config.healthy_after_ms => held.failures = 0,
            State::Running { .. } | State::Starting => {}
        }
        let delay = config.backoff.delay(held.failures, random.draw());
        held.failures = held.failures.saturating_add(1);
        held.restarts = held.restarts.saturating_add(1);
        held.reason = Some(plain(&reason));
        let retry_at = now.plus(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        held.state = State::Failing { retry_at };
        self.changed = true;
    }

    /// An ordered stop is complete.
    pub(super) fn stopped(&mut self, stream: &StreamId, epoch: Epoch) -> Orders {
        let mut orders = Orders::default();
        let Some(held) = self
            .at_epoch(stream, epoch)
            .filter(|held| held.state == State::Stopping)
        else {
            return orders;
        };
        let next = held.next.take();
        self.held.remove(stream);
        self.changed = true;
        if let Some((epoch, spec)) = next {
            self.begin(stream.clone(), epoch, spec, &mut orders);
        }
        orders
    }

    /// Starts again what waited long enough.
    pub(super) fn retry(&mut self, now: Millis) -> Orders {
        let mut orders = Orders::default();
        for (stream, held) in &mut self.held {
            let due = matches!(held.state, State::Failing { retry_at } if retry_at <= now);
            if due && self.gate.lets(&held.spec) {
                held.state = State::Starting;
                self.changed = true;
                orders.starts.push(Command::Start {
                    stream: stream.clone(),
                    epoch: held.epoch,
                    spec: held.spec.clone(),
                    attempt: held.restarts,
                });
            }
        }
        orders
    }

    /// When the next failed stream is to be started again.
    pub(super) fn next_retry(&self) -> Option<Millis> {
        let at = |held: &Held| match held.state {
            State::Failing { retry_at } => Some(retry_at).filter(|_| self.gate.lets(&held.spec)),
            State::Deferred | State::Starting | State::Running { .. } | State::Refused | State::Stopping => {
                None
            }
        };
        self.held.values().filter_map(at).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether the inventory changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// The whole inventory, sorted by stream.
    pub(super) fn inventory(&self) -> Vec<RunningStream> {
        let entry = |(stream, held): (&StreamId, &Held)| RunningStream {
            stream: stream.clone(),
            epoch: held.epoch,
            state: match held.state {
                State::Deferred | State::Starting => RunState::Starting,
                State::Running { .. } => RunState::Running,
                State::Failing { .. } | State::Refused => RunState::Failing,
                State::Stopping => RunState::Stopping,
            },
            restarts: held.restarts,
            reason: held.reason.clone(),
        };
        self.held.iter().map(entry).collect()
    }
}
