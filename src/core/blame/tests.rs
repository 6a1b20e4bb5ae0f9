//! Source or worker at fault.

use super::*;

struct World {
    blame: Blame,
    now: u64,
}

fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

fn worker(id: &str) -> WorkerId {
    WorkerId::new(id).unwrap()
}

impl World {
    fn new() -> Self {
        let blame = Blame::default();
        Self { blame, now: 0 }
    }

    fn says(&mut self, id: &str, name: &str, state: RunState, restarts: u32) {
        let now = Timestamp::from_ms(self.now);
        let config = Config::default();
        self.blame
            .observe(now, &config, &stream(name), &worker(id), (state, restarts));
    }

    fn wait(&mut self, seconds: u64) -> Vec<Verdict> {
        self.now += seconds * 1_000;
        self.blame.check(Timestamp::from_ms(self.now), &Config::default())
    }

    /// The stream fails on the worker for as long as it takes.
    fn fails(&mut self, id: &str, name: &str) -> Vec<Verdict> {
        self.says(id, name, RunState::Failing, 1);
        self.wait(31)
    }
}

fn elsewhere(name: &str, tried: &[&str]) -> Vec<Verdict> {
    vec![Verdict::Elsewhere {
        stream: stream(name),
        tried: tried.iter().map(|id| worker(id)).collect(),
    }]
}

#[test]
fn a_stream_that_fails_on_one_worker_is_tried_on_others_and_then_left_alone_for_longer_and_longer() {
    let mut world = World::new();
    assert_eq!(world.fails("a", "s"), elsewhere("s", &["a"]));
    assert_eq!(world.fails("b", "s"), elsewhere("s", &["a", "b"]));
    assert_eq!(world.fails("c", "s"), []);
    assert_eq!(world.blame.quarantined()[&stream("s")].tried.len(), 3);
    assert_eq!(world.wait(590), [], "ten minutes of rest");
    assert_eq!(world.wait(20), elsewhere("s", &["c"]));
    assert!(world.blame.quarantined().is_empty());
    world.fails("d", "s");
    world.fails("e", "s");
    assert_eq!(world.wait(1_100), [], "twenty minutes the second time");
    assert_eq!(world.wait(120), elsewhere("s", &["e"]));
}

#[test]
fn one_failure_and_a_steady_run_is_no_trouble() {
    let mut world = World::new();
    world.says("a", "s", RunState::Failing, 1);
    world.says("a", "s", RunState::Running, 1);
    assert_eq!(world.wait(11), []);
    assert_eq!(world.wait(60), []);
    assert_eq!(world.blame.next_check(), None);

    // One that is restarted again and again runs for a moment each time.
    let mut verdicts = Vec::new();
    for restarts in 1..7 {
        world.says("a", "s", RunState::Failing, restarts);
        world.says("a", "s", RunState::Running, restarts);
        verdicts.extend(world.wait(5));
    }
    assert_eq!(verdicts, elsewhere("s", &["a"]));
}

#[test]
fn a_worker_on_which_several_streams_fail_that_run_elsewhere_is_suspected() {
    let mut world = World::new();
    for name in ["s1", "s2", "s3"] {
        world.fails("bad", name);
        world.says("good", name, RunState::Starting, 0);
        world.says("good", name, RunState::Running, 0);
    }
    let verdicts = world.wait(15);
    let names = ["s1", "s2", "s3"].map(stream);
    let suspect = Verdict::Suspect {
        worker: worker("bad"),
        streams: names.into_iter().collect(),
    };
    assert_eq!(verdicts, std::slice::from_ref(&suspect));
    assert_eq!(world.wait(10), [suspect], "until something is done about it");
    world.blame.absolve(&worker("bad"));
    assert_eq!(world.wait(10), []);

    // A source that fails everywhere speaks against nobody.
    let mut world = World::new();
    for name in ["s1", "s2", "s3", "s4"] {
        for id in ["a", "b", "c"] {
            world.fails(id, name);
        }
    }
    let verdicts = world.wait(10);
    assert!(
        !verdicts
            .iter()
            .any(|verdict| matches!(verdict, Verdict::Suspect { .. }))
    );
}
