//! What is different for exclusive streams: they start under a live lease only, and a lapse forgets them
//! (OWNERSHIP rules 2 and 18).

use streamkeeper_protocol::{Epoch, Ownership, RunSpec, StreamId};

use super::Command;
use super::holds::{Held, Holds, Orders, State};

/// What a worker without guard says of an exclusive stream.
const NO_GUARD: &str = "exclusive streams need a guard that ends them with the lease, and this worker's runner has none; run them \
     with `streamkeeper agent --exec`";

/// Whether exclusive streams may be started now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Gate {
    /// Never: nothing ends them when this process is frozen.
    #[default]
    Unguarded,
    /// The lease has not enough left; when it is renewed.
    Shut,
    /// Yes.
    Open,
}

impl Gate {
    /// Whether a stream of this kind may be started.
    pub(super) fn lets(self, spec: &RunSpec) -> bool {
        self == Self::Open || !is_exclusive(spec)
    }
}

fn is_exclusive(spec: &RunSpec) -> bool {
    spec.ownership == Ownership::Exclusive
}

impl Holds {
    /// To be told before anything else at every event.
    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// An exclusive stream is to be started that may not be started now.
    pub(super) fn defer(&mut self, stream: StreamId, epoch: Epoch, spec: RunSpec) {
        self.changed = true;
        let mut held = Held::new(epoch, spec, State::Deferred);
        if self.gate == Gate::Unguarded {
            held.state = State::Refused;
            held.reason = Some(NO_GUARD.to_owned());
        }
        self.held.insert(stream, held);
    }

    /// What waits for the lease is not started any more.
    pub(super) fn forget_deferred(&mut self) {
        let before = self.held.len();
        self.held.retain(|_, held| held.state != State::Deferred);
        self.changed |= self.held.len() < before;
    }

    /// The lease was renewed: starts what waited for it.
    pub(super) fn start_deferred(&mut self) -> Orders {
        let mut orders = Orders::default();
        for (stream, held) in &mut self.held {
            if held.state == State::Deferred && self.gate.lets(&held.spec) {
                held.state = State::Starting;
                orders.starts.push(Command::Start {
                    stream: stream.clone(),
                    epoch: held.epoch,
                    spec: held.spec.clone(),
                    attempt: 0,
                });
            }
        }
        orders
    }

    /// The lease ended: ends every exclusive stream, and forgets that there is any to be started.
    pub(super) fn lapse(&mut self) -> Orders {
        let mut orders = Orders::default();
        for held in self.held.values_mut() {
            held.next.take_if(|(_, spec)| is_exclusive(spec));
        }
        let ending = |held: &Held| is_exclusive(&held.spec) && held.state != State::Stopping;
        let ending = self.held.iter().filter(|(_, held)| ending(held));
        for stream in ending.map(|(stream, _)| stream.clone()).collect::<Vec<_>>() {
            self.end(&stream, &mut orders);
        }
        orders
    }

    /// Whether a lapse would change anything.
    pub(super) fn has_exclusive(&self) -> bool {
        let of_lease = |held: &Held| {
            let next = held.next.as_ref().is_some_and(|(_, spec)| is_exclusive(spec));
            next || (is_exclusive(&held.spec) && held.state != State::Stopping)
        };
        self.held.values().any(of_lease)
    }
}
