//! One worker and its leader over a network that loses, delays, repeats and reorders, with a worker that freezes: an
//! exclusive stream never runs when the leader may give it to another (OWNERSHIP rules 1 to 3, 12).

use std::collections::BTreeMap;

use streamkeeper_protocol::{Action, Assign, AssignKind, Epoch, Heartbeat, Ownership, Version};

use super::holds::State;
use super::random::Random;
use super::tests::{answer, config, desired, entry, epoch, session_of, stopped, stream, term};
use super::{Command, Event, Lease, Millis, Session};

const LEASE_MS: u64 = 5_000;
const STOP_BUDGET_MS: u64 = 1_000;
const KILL_MARGIN_MS: u64 = 200;

fn below(random: &mut Random, limit: u64) -> u64 {
    random.draw() % limit
}

/// The leader, as simple as the rules allow.
#[derive(Default)]
struct Leader {
    generation: u64,
    /// Under which epoch the worker may run x; `None` once it is taken away.
    granted: Option<Epoch>,
    /// The generation without x, while its confirmation is awaited.
    revoked_at: Option<u64>,
    leased_until: Millis,
    counter: u32,
    /// While x runs elsewhere.
    elsewhere: bool,
    moves: u32,
    /// Moves that no inventory had confirmed.
    expired: u32,
}

impl Leader {
    fn hear(&mut self, now: Millis, heartbeat: &Heartbeat, random: &mut Random) -> Assign {
        // Noted before the answer is sent. Clocks of the same rate.
        self.leased_until = self.leased_until.max(now.plus(LEASE_MS));
        let of_this_term = heartbeat.applied.term == term(1);
        let lists = heartbeat.inventory.parts > 0 && !heartbeat.inventory.running.is_empty();
        let whole = heartbeat.inventory.parts > 0;
        if let Some(generation) = self.revoked_at {
            if of_this_term && heartbeat.applied.generation >= generation && whole && !lists {
                self.move_away();
            }
        } else if self.elsewhere && below(random, 4) == 0 {
            // Back to the worker, under a new epoch.
            self.elsewhere = false;
            self.counter += 1;
            self.granted = Some(epoch(self.counter));
            self.generation += 1;
        } else if self.granted.is_some() && below(random, 8) == 0 {
            self.revoke();
        }
        let kind = match heartbeat.applied {
            Version { term: of, .. } if of != term(1) => AssignKind::LeaseOnly,
            Version { generation, .. } if generation == self.generation => AssignKind::Current,
            _ => AssignKind::Desired,
        };
        let base = match kind {
            AssignKind::Desired => desired(1, self.generation, self.entries()),
            AssignKind::LeaseOnly => answer(1, 0, kind),
            _ => answer(1, self.generation, kind),
        };
        Assign {
            ack_seq: heartbeat.seq,
            lease_ms: LEASE_MS,
            stop_budget_ms: STOP_BUDGET_MS,
            kill_margin_ms: KILL_MARGIN_MS,
            whole_inventory: true,
            ..base
        }
    }

    fn entries(&self) -> Vec<streamkeeper_protocol::DesiredEntry> {
        let mut entries = Vec::new();
        if let Some(epoch) = self.granted {
            let action = if self.generation.is_multiple_of(3) {
                Action::Keep
            } else {
                Action::Run
            };
            let mut entry = entry("x", epoch.counter(), action);
            if let Some(spec) = &mut entry.spec {
                spec.ownership = Ownership::Exclusive;
            }
            entries.push(entry);
        }
        entries
    }

    fn revoke(&mut self) {
        self.granted = None;
        self.generation += 1;
        self.revoked_at = Some(self.generation);
    }

    fn move_away(&mut self) {
        self.revoked_at = None;
        self.granted = None;
        self.elsewhere = true;
        self.counter += 1;
        self.moves += 1;
    }

    /// Silence is enough.
    fn tick(&mut self, now: Millis) {
        if now >= self.leased_until && (self.granted.is_some() || self.revoked_at.is_some()) {
            if self.granted.is_some() {
                self.revoke();
            }
            self.move_away();
            self.expired += 1;
        }
    }
}

/// What runs, and the guard that ends it whatever the worker does.
#[derive(Default)]
struct Runner {
    running: Option<Epoch>,
    lease: Option<Lease>,
    /// Set when it is ordered to end, by whomever.
    ends_by: Option<Millis>,
    ordered: Option<Epoch>,
    starts: u32,
    ends_by_guard: u32,
}

impl Runner {
    fn tick(&mut self, now: Millis, random: &mut Random) {
        if self.running.is_none() {
            return;
        }
        if let Some(lease) = self
            .lease
            .filter(|lease| lease.stop_at <= now && self.ends_by.is_none())
        {
            self.ends_by = Some(lease.kill_at);
            self.ends_by_guard += 1;
        }
        if self.ends_by.is_some_and(|at| at <= now || below(random, 20) == 0) {
            self.running = None;
            self.ends_by = None;
        }
    }
}

struct World {
    random: Random,
    now: Millis,
    session: Session,
    leader: Leader,
    runner: Runner,
    to_leader: BTreeMap<(Millis, u64), Heartbeat>,
    to_worker: BTreeMap<(Millis, u64), Assign>,
    frozen_until: Millis,
    cut_until: Millis,
    connected: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = config();
        config.guarded = true;
        config.interval_ms = 500;
        Self {
            random: Random(seed),
            now: Millis(0),
            session: session_of(config, None),
            leader: Leader::default(),
            runner: Runner::default(),
            to_leader: BTreeMap::new(),
            to_worker: BTreeMap::new(),
            frozen_until: Millis(0),
            cut_until: Millis(0),
            connected: false,
        }
    }

    /// When a message arrives, perhaps twice, perhaps never.
    fn arrivals(&mut self) -> Vec<(Millis, u64)> {
        let copies = match below(&mut self.random, 10) {
            0 | 1 => 0,
            2 => 2,
            _ => 1,
        };
        let lost = self.now < self.cut_until;
        let mut arrivals = Vec::new();
        for _ in 0..if lost { 0 } else { copies } {
            let slow = below(&mut self.random, 12) == 0;
            let delay = below(&mut self.random, if slow { 2 * LEASE_MS } else { 60 });
            arrivals.push((self.now.plus(delay), self.random.draw()));
        }
        arrivals
    }

    fn feed(&mut self, event: Event) {
        for command in self.session.handle(self.now, self.random.draw(), event) {
            match command {
                Command::Heartbeat(heartbeat) => {
                    for at in self.arrivals() {
                        self.to_leader.insert(at, (*heartbeat).clone());
                    }
                }
                Command::Start { epoch, .. } => {
                    assert!(self.runner.running.is_none() && self.runner.ordered.is_none());
                    self.runner.running = Some(epoch);
                    self.runner.ends_by = None;
                    self.runner.starts += 1;
                    self.feed(Event::StreamUp {
                        stream: stream("x"),
                        epoch,
                    });
                }
                Command::Stop { epoch, .. } => {
                    self.runner.ordered = Some(epoch);
                    self.runner.ends_by.get_or_insert(self.now.plus(400));
                }
                Command::Lease(lease) => self.runner.lease = Some(lease),
                Command::Reconnect { .. } => self.connected = false,
                _ => {}
            }
        }
    }

    /// One look at everything, in this order: the guard, the leader, and the worker unless it is frozen.
    fn step(&mut self) {
        self.now = self.now.plus(1 + below(&mut self.random, 20));
        self.runner.tick(self.now, &mut self.random);
        self.check();
        while let Some(entry) = self
            .to_leader
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let heartbeat = entry.remove();
            let assign = self.leader.hear(self.now, &heartbeat, &mut self.random);
            for at in self.arrivals() {
                self.to_worker.insert(at, assign.clone());
            }
        }
        self.leader.tick(self.now);
        self.check();
        match below(&mut self.random, 2_000) {
            0 => self.frozen_until = self.now.plus(below(&mut self.random, 3 * LEASE_MS)),
            1 => self.cut_until = self.now.plus(below(&mut self.random, 3 * LEASE_MS)),
            _ => {}
        }
        if self.now >= self.frozen_until {
            self.work();
        }
        self.check();
    }

    fn work(&mut self) {
        if !std::mem::replace(&mut self.connected, true) {
            self.feed(Event::Connected);
        }
        // After a freeze everything is there at once, in any order.
        let tick = |world: &mut Self| {
            while world.session.next_deadline().is_some_and(|at| at <= world.now) {
                world.feed(Event::Tick);
                if !std::mem::replace(&mut world.connected, true) {
                    world.feed(Event::Connected);
                }
            }
        };
        if below(&mut self.random, 2) == 0 {
            tick(self);
        }
        self.ended();
        while let Some(entry) = self
            .to_worker
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let assign = entry.remove();
            self.feed(Event::Assign(assign));
        }
        tick(self);
        self.ended();
        let mut held = self.session.holds.held.values();
        let runs = held.any(|held| !matches!(held.state, State::Stopping | State::Deferred));
        let lapsed = self.runner.lease.is_none_or(|lease| lease.stop_at <= self.now);
        assert!(!(runs && lapsed), "at {:?} it goes on without a lease", self.now);
    }

    fn ended(&mut self) {
        if self.runner.running.is_some() {
            return;
        }
        if let Some(epoch) = self.runner.ordered.take() {
            self.feed(stopped("x", epoch.counter()));
        } else if let Some(held) = self
            .session
            .inventory()
            .first()
            .filter(|held| held.state == streamkeeper_protocol::RunState::Running)
        {
            let (stream, epoch) = (held.stream.clone(), held.epoch);
            self.feed(Event::StreamExited {
                stream,
                epoch,
                reason: "it ended".to_owned(),
            });
            if let Some(epoch) = self.runner.ordered.take() {
                self.feed(stopped("x", epoch.counter()));
            }
        }
    }

    #[track_caller]
    fn check(&self) {
        let both = self.leader.elsewhere && self.runner.running.is_some();
        assert!(!both, "at {:?} {:?} runs twice", self.now, self.runner.running);
    }
}

#[test]
fn an_exclusive_stream_runs_only_while_the_leader_leaves_it_to_the_worker() {
    let (mut starts, mut moves, mut expired, mut guard) = (0, 0, 0, 0);
    for seed in 0..120 {
        let mut world = World::new(seed);
        world.leader.granted = Some(epoch(1));
        world.leader.counter = 1;
        world.leader.generation = 1;
        for _ in 0..5_000 {
            world.step();
        }
        starts += world.runner.starts;
        moves += world.leader.moves;
        expired += world.leader.expired;
        guard += world.runner.ends_by_guard;
    }
    assert!(starts > 200 && moves > 200, "{starts} {moves}");
    assert!(expired > 50 && guard > 20, "{expired} {guard}");
}
