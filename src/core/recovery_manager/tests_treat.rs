//! Attempts beyond asking: what has to hold before them, how they are judged, what they take back, who comes when.

use streamkeeper_protocol::StreamId;

use super::*;
use crate::cluster::Slot;
use crate::consistency_checker::Policy;
use crate::consistency_checker::fixture::worker_id;
use crate::consistency_checker::fixture::{add_worker, assignment, at, healthy, put_stream, session, worker};
use crate::directive::{DirectiveWrite, Key, RECOVERING};

const SECOND: u64 = 1_000;

/// A leader with two workers; one resync, and what comes then is due at second 5.
struct Scene {
    manager: RecoveryManager,
    cluster: ClusterState,
    now: u64,
}

impl Scene {
    fn with(config: Config) -> Self {
        let mut scene = Self {
            manager: RecoveryManager::new(config),
            cluster: healthy(),
            now: 0,
        };
        scene.show();
        scene
    }

    fn new() -> Self {
        Self::with(Config {
            max_attempts: 1,
            ..Config::default()
        })
    }

    fn send(&mut self, event: Event) -> Vec<String> {
        short(&self.manager.handle(at(self.now), event))
    }

    fn show(&mut self) -> Vec<String> {
        self.send(Event::Snapshot(self.cluster.clone()))
    }

    /// Everything that time alone brings.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        let end = self.now + seconds * SECOND;
        let mut all = Vec::new();
        while let Some(due) = self.manager.next_deadline().filter(|due| due.as_ms() <= end) {
            self.now = self.now.max(due.as_ms());
            all.extend(self.send(Event::Tick));
            assert!(all.len() < 1_000, "it never rests: {all:#?}");
        }
        self.now = end;
        all
    }

    fn found(&mut self, workers: &[&str]) -> Vec<String> {
        let finding = |worker: &&str| Finding {
            kind: FindingKind::Ghost,
            stream: Some(StreamId::new("s").unwrap()),
            worker: Some(worker_id(worker)),
            detail: "differs".into(),
            repair: Some(Repair::Resync {
                worker: worker_id(worker),
            }),
            policy: Policy::Repair,
            since: Timestamp::ZERO,
        };
        self.send(Event::Findings(workers.iter().map(finding).collect()))
    }

    fn ask(&mut self, worker: &str, level: Level) -> Vec<String> {
        let reason = "the operator says so".to_owned();
        let worker = worker_id(worker);
        self.send(Event::Recover(Asked {
            id: 77,
            worker,
            level,
            reason,
        }))
    }

    /// The worker has lost its streams to the other one.
    fn emptied(&mut self, from: &str, to: &str) -> Vec<String> {
        let names: Vec<StreamId> = worker(&mut self.cluster, from).assigned.iter().cloned().collect();
        for (number, name) in (10..).zip(names) {
            let slot = Slot::Held(assignment(to, number));
            put_stream(&mut self.cluster, at(self.now), name.as_str(), slot);
        }
        self.show()
    }

    fn checked(&mut self, sweeps: u64, passes: u64) -> Vec<String> {
        self.send(Event::Checked(Checks {
            sweeps,
            passes,
            ..Checks::default()
        }))
    }
}

fn short(commands: &[Command]) -> Vec<String> {
    let text = |command: &Command| {
        Some(match command {
            Command::Order { worker, kind, .. } => format!("{kind:?} {worker}"),
            Command::Measure(Measure::Drain { worker, reason }) => {
                assert!(reason.starts_with(RECOVERING), "{reason}");
                format!("drain {worker}")
            }
            Command::Measure(Measure::ForceRelease { worker, .. }) => format!("take {worker}"),
            Command::Measure(Measure::Restore { worker }) => format!("restore {worker}"),
            Command::Measure(Measure::Reset { worker }) => format!("reset {worker}"),
            Command::Check => "check".to_owned(),
            Command::Tried(attempt) => {
                let (level, outcome) = (attempt.level.as_str(), attempt.outcome.as_str());
                format!("{level} {} {outcome}", attempt.worker)
            }
            Command::Exhausted {
                worker, exhausted, ..
            } => format!("exhausted {worker} {exhausted}"),
            Command::Publish(_) => return None,
        })
    };
    commands.iter().filter_map(text).collect()
}

#[test]
fn what_does_not_help_is_followed_by_something_stronger_up_to_the_allowed_level_and_then_by_people() {
    let mut scene = Scene::new();
    assert_eq!(scene.found(&["a"]), ["Resync a"]);
    assert_eq!(
        scene.pass(1_000),
        [
            "soft a failed",
            "medium a running",
            "drain a",
            "restore a",
            "medium a failed",
            "hard a running",
            "Restart a",
            "hard a failed",
            "exhausted a true",
        ]
    );
    assert_eq!(scene.manager.next_deadline(), None);
    let status = &scene.manager.status;
    assert_eq!(status.exhausted, [worker_id("a")]);
    assert_eq!(status.rate(Level::Hard).share(), Some(0.0));
    assert_eq!(scene.found(&[]), ["exhausted a false"]);
}

#[test]
fn an_attempt_is_judged_by_what_is_seen_and_taken_back_when_it_helped() {
    let mut scene = Scene::new();
    scene.found(&["a"]);
    let begun = scene.pass(5);
    assert_eq!(begun.last().map(String::as_str), Some("drain a"));
    // Streams left, findings gone: that was the trouble.
    let over = scene.found(&[]);
    assert_eq!(over, ["restore a", "medium a succeeded"]);
    assert_eq!(scene.pass(1_000), [] as [&str; 0]);
}

#[test]
fn a_restart_is_seen_from_the_new_life_not_from_the_answer() {
    let mut scene = Scene::new();
    assert_eq!(scene.ask("a", Level::Hard), ["hard a running", "Restart a"]);
    let order = scene.manager.last_order;
    let outcome = Ok(());
    assert_eq!(scene.send(Event::Ordered { order, outcome }), [] as [&str; 0]);
    worker(&mut scene.cluster, "a").session = session(2);
    worker(&mut scene.cluster, "a").heard = false;
    assert_eq!(scene.show(), [] as [&str; 0]);
    worker(&mut scene.cluster, "a").heard = true;
    assert_eq!(scene.show(), ["hard a succeeded"]);
}

#[test]
fn an_operator_who_empties_a_worker_waits_until_it_is_empty() {
    let mut scene = Scene::new();
    assert_eq!(scene.ask("a", Level::Medium), ["medium a running", "drain a"]);
    assert_eq!(scene.show(), [] as [&str; 0]);
    assert_eq!(scene.emptied("a", "b"), ["restore a", "medium a succeeded"]);
}

#[test]
fn an_emergency_takes_redistributes_verifies_and_resets() {
    let mut scene = Scene::new();
    assert_eq!(
        scene.ask("a", Level::Emergency),
        ["emergency a running", "take a"]
    );
    assert_eq!(scene.pass(2), ["take a"], "what is left is taken once more");
    assert_eq!(scene.emptied("a", "b"), ["check"]);
    // What was checked before does not count, and neither does a half of it.
    assert_eq!(scene.checked(1, 1), [] as [&str; 0]);
    assert_eq!(scene.checked(2, 0), [] as [&str; 0]);
    scene.found(&["a"]);
    assert_eq!(scene.checked(2, 1), [] as [&str; 0], "something is still found");
    let over = scene.found(&[]);
    assert!(
        over.ends_with(&[
            "reset a".to_owned(),
            "restore a".to_owned(),
            "emergency a succeeded".to_owned()
        ]),
        "{over:?}"
    );
}

#[test]
fn an_emergency_that_finds_no_room_fails_and_is_taken_back() {
    let mut scene = Scene::new();
    scene.ask("a", Level::Emergency);
    let all = scene.pass(60);
    assert!(
        all.iter().filter(|what| *what == "take a").count() > 10,
        "{all:?}"
    );
    assert!(
        all.ends_with(&["restore a".to_owned(), "emergency a failed".to_owned()]),
        "{all:?}"
    );
    let detail = &scene.manager.status.ended[0].detail;
    assert_eq!(detail, "2 streams found no other worker");
}

#[test]
fn what_cannot_help_is_not_begun() {
    let refused = |scene: &mut Scene, level: Level| {
        let said = scene.ask("a", level);
        assert_eq!(said, [format!("{} a refused", level.as_str())]);
        scene.manager.status.ended.back().unwrap().detail.clone()
    };
    let mut scene = Scene::new();
    worker(&mut scene.cluster, "b").cordoned = true;
    scene.show();
    for level in [Level::Medium, Level::Emergency] {
        assert!(refused(&mut scene, level).contains("no other worker takes streams"));
    }
    worker(&mut scene.cluster, "a").availability = Availability::Lost;
    scene.show();
    for level in [Level::Soft, Level::Hard] {
        assert!(refused(&mut scene, level).contains("it is not heard"));
    }
    scene.cluster.workers.remove(&worker_id("a"));
    scene.show();
    assert!(refused(&mut scene, Level::Emergency).contains("not known"));
    let rate = scene.manager.status.rate(Level::Emergency);
    assert_eq!(rate.share(), None, "what was refused was not tried");
}

#[test]
fn restarts_that_nobody_asked_for_have_a_budget() {
    let mut scene = Scene::with(Config {
        max_attempts: 1,
        max_parallel: 10,
        hard_budget: 1,
        ..Config::default()
    });
    scene.found(&["a", "b"]);
    let all = scene.pass(1_000);
    let restarts = |all: &[String]| all.iter().filter(|what| what.starts_with("Restart")).count();
    assert_eq!(restarts(&all), 1, "{all:?}");
    assert!(all.contains(&"hard b refused".to_owned()), "{all:?}");
    // Who asks is not counted against it.
    assert_eq!(restarts(&scene.ask("b", Level::Hard)), 1);
}

#[test]
fn workers_wait_for_their_turn() {
    let mut scene = Scene::with(Config {
        max_attempts: 1,
        max_parallel: 1,
        ..Config::default()
    });
    add_worker(&mut scene.cluster, "c");
    put_stream(&mut scene.cluster, at(0), "s4", Slot::Held(assignment("c", 4)));
    scene.show();
    scene.found(&["a", "b", "c"]);
    let begun = scene.pass(5);
    assert_eq!(begun.iter().filter(|what| what.starts_with("drain")).count(), 1);
    assert_eq!(scene.manager.status.waiting.len(), 2);
    // Its findings are gone, and so is its turn.
    scene.found(&["a", "c"]);
    assert_eq!(scene.manager.status.waiting, [(worker_id("c"), Level::Medium)]);
    // An operator waits for nobody.
    assert_eq!(scene.ask("b", Level::Medium), ["medium b running", "drain b"]);
}

#[test]
fn an_operators_emergency_replaces_what_is_gentler() {
    let mut scene = Scene::new();
    scene.ask("a", Level::Medium);
    assert_eq!(
        scene.ask("a", Level::Emergency),
        ["restore a", "medium a failed", "emergency a running", "take a"]
    );
}

#[test]
fn a_new_leader_takes_back_what_its_predecessor_ordered_and_a_standby_tries_nothing() {
    let mut scene = Scene::new();
    scene.found(&["a"]);
    scene.pass(5);
    assert_eq!(scene.manager.treatments.len(), 1);
    scene.cluster.leadership.role = crate::cluster::Role::Standby;
    scene.show();
    assert_eq!(scene.manager.treatments.len(), 0);
    assert_eq!(scene.ask("a", Level::Emergency), [] as [&str; 0]);
    let mut next = Scene::new();
    let mut directives = crate::directive::Directives::default();
    for (worker, reason) in [("a", "recovery: 1 ghost"), ("b", "kernel update")] {
        directives.apply(
            at(0),
            DirectiveWrite::Put {
                key: Key::cordon(&worker_id(worker)),
                reason: reason.to_owned(),
                lasts: None,
            },
        );
    }
    next.cluster.directives = std::sync::Arc::new(directives);
    next.cluster.leadership.term = Term::new(2).unwrap();
    assert_eq!(next.show(), ["restore a"]);
    assert_eq!(next.show(), [] as [&str; 0]);
}
