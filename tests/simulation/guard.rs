//! What goes on beside a worker's process: its guard, and the children. The guard ends `exclusive` children when the
//! lease ends, also while the process is paused, and all of them when the process dies.

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{Epoch, StreamId};
use streamkeeper_worker::{Event, Lease, Millis};

use crate::network::Party;
use crate::node::{Child, Inside};
use crate::world::{Happening, World};

/// What happens to children.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// A deadline of the lease may have come.
    Due,
    /// The child with this number runs well; ends by itself; has ended as ordered.
    Up(StreamId, u64),
    Exits(StreamId, u64),
    Ends(StreamId, u64),
    /// The process has died: the guard reaps the children.
    Reap {
        tell: bool,
    },
    /// Somebody ends the process.
    Kill,
    /// The suspended machine goes on.
    Thaw,
}

/// The guard of one process: until when its `exclusive` children may run, on the machine's clock.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// When children are asked to end, and when they are killed.
    lease: Option<Lease>,
    serials: u64,
}

impl Guard {
    /// Whether an `exclusive` child may not be started any more.
    fn refuses(&self, time: u64) -> bool {
        let ended = self.lease.is_none_or(|lease| lease.stop_at.0 <= time);
        ended && !mutant::on(Mutant::StartWithoutLease) && !mutant::on(Mutant::SleepingGuard)
    }
}

impl World {
    pub(crate) fn guard(&mut self, index: usize, life: u64, deed: Deed) {
        let node = &mut self.nodes[index];
        if node.suspended_until > self.now {
            node.frozen.push((life, deed));
            return;
        }
        let present = node.gate.life == life;
        match deed {
            Deed::Due if present => self.lease_due(index),
            Deed::Up(stream, serial) => {
                if let Some(epoch) = self.child_epoch(index, &stream, serial) {
                    self.report(index, Event::StreamUp { stream, epoch });
                }
            }
            Deed::Exits(stream, serial) => {
                if self.child_epoch(index, &stream, serial).is_some() {
                    self.sometimes.saw("stream that ended by itself");
                    self.child_ended(index, &stream, "exit status 1");
                }
            }
            Deed::Ends(stream, serial) => {
                if self.child_epoch(index, &stream, serial).is_some() {
                    self.child_ended(index, &stream, "ended as asked");
                }
            }
            Deed::Reap { tell } if present => self.reap(index, tell),
            Deed::Kill if present => self.end_process(index, false),
            Deed::Thaw => self.thaw(index),
            Deed::Due | Deed::Reap { .. } | Deed::Kill => {}
        }
    }

    fn child_epoch(&self, index: usize, stream: &StreamId, serial: u64) -> Option<Epoch> {
        let child = self.nodes[index].children.get(stream)?;
        (child.serial == serial).then_some(child.epoch)
    }

    /// Tells the process, which may be paused. A pipe keeps its order.
    fn report(&mut self, index: usize, event: Event) {
        let soon = self.now + self.fate.between(0, 3);
        let node = &mut self.nodes[index];
        node.pipe = node.pipe.max(soon);
        let delay = node.pipe - self.now;
        self.soon(index, delay, Inside::Hear(Box::new(event)));
    }

    pub(crate) fn start_child(&mut self, index: usize, stream: StreamId, epoch: Epoch, exclusive: bool) {
        let time = self.nodes[index].clock.read(self.now);
        if exclusive && self.nodes[index].guard.refuses(time) {
            self.sometimes.saw("start refused by a guard");
            let reason = "the lease has ended".to_owned();
            return self.report(
                index,
                Event::StreamExited {
                    stream,
                    epoch,
                    reason,
                },
            );
        }
        self.started(index, &stream, epoch, exclusive);
        let node = &mut self.nodes[index];
        node.guard.serials += 1;
        // Another guard counts from zero: the life makes the number unique.
        let serial = node.gate.life << 32 | node.guard.serials;
        let child = Child {
            serial,
            epoch,
            exclusive,
            stopping: false,
            kill_at: None,
        };
        let before = node.children.insert(stream.clone(), child);
        assert!(
            before.is_none(),
            "stop before start: {stream} runs on {}",
            node.id
        );
        let life = node.gate.life;
        let delay = self.fate.between(1, 50);
        self.after(
            delay,
            Happening::Guard(index, life, Deed::Up(stream.clone(), serial)),
        );
        if self.stormy && !self.shape.spares_workers() && self.fate.per_mille(50) {
            let end = self.fate.between(1, 20_000);
            self.after(end, Happening::Guard(index, life, Deed::Exits(stream, serial)));
        }
    }

    /// The worker orders a stop, which is always answered.
    pub(crate) fn stop_child(&mut self, index: usize, stream: StreamId, epoch: Epoch) {
        let child = self.nodes[index].children.get_mut(&stream);
        match child.filter(|child| child.epoch == epoch) {
            Some(child) => {
                child.stopping = true;
                let serial = child.serial;
                self.ask_to_end(index, stream, serial);
            }
            None => self.report(index, Event::StreamStopped { stream, epoch }),
        }
    }

    /// A child is asked to end: most do soon, a few do not listen.
    fn ask_to_end(&mut self, index: usize, stream: StreamId, serial: u64) {
        let stubborn = self.stormy && self.fate.per_mille(20);
        let delay = self.fate.between(1, if stubborn { 8_000 } else { 300 });
        let life = self.nodes[index].gate.life;
        self.after(delay, Happening::Guard(index, life, Deed::Ends(stream, serial)));
    }

    fn child_ended(&mut self, index: usize, stream: &StreamId, why: &str) {
        let Some(child) = self.nodes[index].children.remove(stream) else {
            return;
        };
        self.ran(index, stream, child.epoch);
        let (stream, epoch) = (stream.clone(), child.epoch);
        let event = if child.stopping {
            Event::StreamStopped { stream, epoch }
        } else {
            let reason = why.to_owned();
            Event::StreamExited {
                stream,
                epoch,
                reason,
            }
        };
        self.report(index, event);
    }

    /// Looks at the lease's deadlines, as the real guard does at its own pace.
    fn lease_due(&mut self, index: usize) {
        if mutant::on(Mutant::SleepingGuard) {
            return;
        }
        let time = self.nodes[index].clock.read(self.now);
        let Some(Lease { stop_at, kill_at }) = self.nodes[index].guard.lease else {
            return;
        };
        let lapsed = stop_at.0 <= time;
        let mut ending = Vec::new();
        let mut killed = Vec::new();
        for (stream, child) in &mut self.nodes[index].children {
            if !child.exclusive {
                continue;
            }
            if lapsed && child.kill_at.is_none() {
                child.kill_at = Some(kill_at.0);
                ending.push((stream.clone(), child.serial));
            }
            if child.kill_at.is_some_and(|at| at <= time) {
                killed.push(stream.clone());
            }
        }
        for (stream, serial) in ending {
            self.sometimes.saw("exclusive stream ended by its guard");
            self.trace_child(index, &stream, "is asked to end: its lease ends");
            self.ask_to_end(index, stream, serial);
            self.guard_at(index, kill_at, 400);
        }
        for stream in killed {
            self.sometimes.saw("exclusive stream killed by its guard");
            self.trace_child(index, &stream, "is killed: its lease ends");
            self.child_ended(index, &stream, "killed at the end of the lease");
        }
    }

    /// Lets the guard look at this moment: mostly at once, now and then as late as the assumptions allow.
    fn guard_at(&mut self, index: usize, at: Millis, latest: u64) {
        let late = self.stormy && self.fate.per_mille(100);
        let late = self.fate.between(0, if late { latest } else { 5.min(latest) });
        let node = &self.nodes[index];
        let delay = node.clock.when(at.0).saturating_sub(self.now) + late;
        let life = node.gate.life;
        self.after(delay, Happening::Guard(index, life, Deed::Due));
    }

    /// The worker tells its guard until when `exclusive` children may run. What ended before is not helped by it.
    pub(crate) fn lease(&mut self, index: usize, lease: Lease) {
        self.lease_due(index);
        self.nodes[index].guard.lease = Some(lease);
        let budget = lease.kill_at.since(lease.stop_at);
        self.guard_at(index, lease.stop_at, budget);
    }

    /// Whether exclusive children may be started now.
    pub(crate) fn leased(&self, index: usize) -> bool {
        let time = self.nodes[index].clock.read(self.now);
        !self.nodes[index].guard.refuses(time)
    }

    fn trace_child(&mut self, index: usize, stream: &StreamId, what: &str) {
        let text = format!("{stream} on {} {what}", self.nodes[index].id);
        self.trace(format_args!("{text}"));
    }

    fn reap(&mut self, index: usize, tell: bool) {
        self.end_children(index);
        if tell {
            self.say_farewell(index);
        }
        let delay = self.fate.between(10, 20_000);
        self.after(delay, Happening::Start(Party::Worker(index)));
    }

    /// Every child is gone, and nobody is there to be told.
    pub(crate) fn end_children(&mut self, index: usize) {
        for (stream, child) in std::mem::take(&mut self.nodes[index].children) {
            self.ran(index, &stream, child.epoch);
        }
    }

    /// The machine stands still, and its clock goes on.
    pub(crate) fn suspend(&mut self, index: usize, length: u64) {
        let node = &mut self.nodes[index];
        if node.suspended_until > self.now || node.gate.is_paused() {
            return;
        }
        node.suspended_until = self.now + length;
        let life = node.gate.life;
        self.freeze(index, true);
        self.after(length, Happening::Guard(index, life, Deed::Thaw));
        self.pause_worker(index, length);
    }

    /// The guard is the first to run again.
    fn thaw(&mut self, index: usize) {
        self.lease_due(index);
        self.freeze(index, false);
        for (life, deed) in std::mem::take(&mut self.nodes[index].frozen) {
            self.guard(index, life, deed);
        }
    }
}
