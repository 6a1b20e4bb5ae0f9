//! Moves on real parts, judged by icecast2: nobody misses a moment of an `available` stream, and whoever is killed in
//! mid-move, one listener is left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::icecast::Icecast;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

const EXCLUSIVE: &str = "channel-4";

struct Scene {
    agents: Vec<Agent>,
    orchestrator: Orchestrator,
    icecast: Arc<Icecast>,
    // Last, because fields are dropped in this order: it kills what is left.
    world: World,
}

impl Scene {
    /// Agents a and b, and every channel on a.
    async fn start(name: &str, channels: usize) -> Self {
        let world = World::new(name);
        let icecast = Arc::new(Icecast::start(&world, channels).await);
        let settings = [
            "--set",
            "balancer.band_relative=1",
            "--set",
            "balancer.band_absolute=1",
            // What was asked for waits for as long as a busy machine may take.
            "--set",
            "migration.start_timeout=2m",
        ];
        let orchestrator = Orchestrator::start(&world, &settings).await;
        let mut scene = Self {
            agents: Vec::new(),
            orchestrator,
            icecast,
            world,
        };
        scene.agent("a");
        scene.orchestrator.api().workers_alive(1).await;
        let streams: Vec<Value> = scene
            .icecast
            .mounts()
            .iter()
            .map(|mount| {
                let ownership = if mount == EXCLUSIVE {
                    "exclusive"
                } else {
                    "available"
                };
                json!({ "name": mount, "source": scene.icecast.url(mount), "ownership": ownership })
            })
            .collect();
        let change = json!({ "streams": streams });
        scene.send(Method::PUT, "/api/v1/streams", &change, 200).await;
        scene.all_running().await;
        scene.agent("b");
        scene.orchestrator.api().workers_alive(2).await;
        scene.icecast.one_each(scene.icecast.mounts()).await;
        scene
    }

    fn agent(&mut self, id: &str) {
        let data = self.orchestrator.data().to_string_lossy().into_owned();
        let reader = self.world.folder().join("reader.sh");
        let overlaps = self.overlaps();
        // Icecast counts a listener that has gone until it next writes to it; a lock is given up when its holder ends.
        let script = format!(
            "if [ \"$1\" = {EXCLUSIVE} ]; then\n  exec 9>'{0}.lock'\n  \
             flock -n 9 || {{ echo second reader >>'{0}'; exit 1; }}\nfi\n\
             exec ffmpeg -nostdin -loglevel error -progress pipe:1 -i \"$2\" -f null -\n",
            overlaps.display()
        );
        std::fs::write(&reader, script).unwrap();
        let command = format!("sh {} {{stream}} {{source}}", reader.display());
        // It tells of its progress when it reads.
        let args = ["--exec", &command, "--ready-line", "progress=", "--data", &data];
        self.agents.push(Agent::start(&self.world, id, &args));
    }

    /// Where a reader of the exclusive channel writes that it was not the only one.
    fn overlaps(&self) -> PathBuf {
        self.world.folder().join("overlaps")
    }

    async fn send(&self, method: Method, path: &str, body: &Value, status: u16) -> Value {
        let answer = self
            .orchestrator
            .api()
            .send(method, path, Some(body))
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        answer.body
    }

    async fn all_running(&self) {
        let channels = self.icecast.mounts().len();
        self.orchestrator.api().all_running(channels).await;
    }

    async fn say(&self, args: &[&str], code: i32) -> String {
        let api = self.orchestrator.api();
        let args = [args, &["--server", api.base()]].concat();
        let said = self.world.run(&args).await;
        said.expect(code, &[]);
        said.stdout
    }

    /// Before its first inventory nothing is given to b.
    async fn b_takes_streams(&self) {
        let told = wait::until(wait::GENEROUS, async || {
            let b = self.orchestrator.api().get("/api/v1/workers/b").await?;
            let known = b["desired"]["generation"].as_u64().unwrap_or_default() > 0;
            if known && b["takes_streams"] == json!(true) {
                Ok(())
            } else {
                Err(b.to_string())
            }
        });
        told.await.unwrap_or_else(|b| panic!("{b}"));
    }

    /// Channel 1 is on its way from a to b, which is frozen.
    async fn moving(&self) {
        // Frozen it would never send an inventory.
        self.b_takes_streams().await;
        self.agents[1].process().signal(Signal::STOP);
        self.say(&["streams", "move", "channel-1", "--to", "b"], 0).await;
        let begun = wait::until(wait::GENEROUS, async || {
            let plan = self.say(&["plan", "show"], 0).await;
            if plan.contains("make_before_break") && plan.contains("preparing") {
                Ok(())
            } else {
                Err(plan)
            }
        });
        begun.await.unwrap_or_else(|plan| panic!("{plan}"));
    }

    async fn is_on(&self, channel: &str, worker: &str) {
        let moved = wait::until(wait::GENEROUS, async || {
            let assignments = self.orchestrator.api().assignments().await?;
            let owner = assignments[channel].worker.clone();
            if owner == worker {
                Ok(())
            } else {
                Err(format!("{channel} is on {owner}"))
            }
        });
        moved.await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    async fn runs_on(&self, worker: &str) {
        self.is_on("channel-1", worker).await;
        self.all_running().await;
        self.icecast.one_each(self.icecast.mounts()).await;
    }
}

/// Fewest and most listeners of each channel, as long as it is watched.
async fn watch(icecast: Arc<Icecast>, end: Arc<AtomicBool>) -> BTreeMap<String, (u64, u64)> {
    let mut seen: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    while !end.load(Ordering::Relaxed) {
        for (mount, count) in icecast.counts().await.unwrap_or_default() {
            let (fewest, most) = seen.entry(mount).or_insert((count, count));
            *fewest = count.min(*fewest);
            *most = count.max(*most);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen
}

#[tokio::test]
async fn a_drain_takes_no_available_channel_off_and_measures_the_gap_of_an_exclusive_one() {
    let scene = Scene::start("drained", 4).await;
    let end = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(Arc::clone(&scene.icecast), Arc::clone(&end)));
    scene
        .say(&["workers", "drain", "a", "--reason", "kernel update"], 0)
        .await;
    scene.all_running().await;
    scene.icecast.one_each(scene.icecast.mounts()).await;
    end.store(true, Ordering::Relaxed);
    let seen = watching.await.unwrap();
    let moved = scene.orchestrator.api().get("/api/v1/migrations").await.unwrap();
    for (mount, (fewest, _)) in seen.iter().filter(|(mount, _)| *mount != EXCLUSIVE) {
        assert!(
            *fewest >= 1,
            "{mount} had no listener for a moment: {seen:?}: {moved}"
        );
    }
    let locked = scene.overlaps().with_extension("lock");
    assert!(locked.exists(), "the exclusive channel was never locked");
    assert!(!scene.overlaps().exists(), "{EXCLUSIVE} had two readers");
    let owners = scene.orchestrator.api().assignments().await.unwrap();
    assert!(owners.values().all(|owner| owner.worker == "b"), "{owners:?}");

    let moves = wait::until(wait::GENEROUS, async || {
        let moves = scene
            .orchestrator
            .api()
            .get("/api/v1/migrations?worker=a")
            .await?;
        let list = moves["migrations"].as_array().cloned().unwrap_or_default();
        if list.len() == 4 && list.iter().all(|one| one["state"] == "done") {
            Ok(list)
        } else {
            Err(format!("{list:?}"))
        }
    });
    for one in moves.await.unwrap_or_else(|reason| panic!("{reason}")) {
        assert_eq!(one["reason"], "drain", "{one}");
        let (way, measured) = if one["stream"] == EXCLUSIVE {
            ("break_before_make", "gap_ms")
        } else {
            ("make_before_break", "overlap_ms")
        };
        assert_eq!(one["way"], way, "{one}");
        assert!(one[measured].is_u64(), "{one}");
    }

    // It stays out of use when the orchestrator is another one, until somebody says otherwise.
    let mut scene = scene;
    scene.orchestrator.kill9();
    scene.orchestrator.restart(&scene.world).await;
    scene.orchestrator.api().workers_alive(2).await;
    let a = scene.orchestrator.api().get("/api/v1/workers/a").await.unwrap();
    assert_eq!(
        (&a["cordoned"], &a["takes_streams"]),
        (&json!(true), &json!(false)),
        "{a}"
    );
    let answer = scene
        .send(Method::POST, "/api/v1/workers/b/drain", &Value::Null, 412)
        .await;
    assert!(
        answer["detail"].as_str().unwrap().contains("no other worker"),
        "{answer}"
    );
    scene.say(&["workers", "fill", "a"], 0).await;
    scene.say(&["streams", "move", "channel-2", "--to", "a"], 0).await;
}

/// A stream is pinned and goes there; what nobody can keep is refused, and what is not so today is told.
async fn pins_are_kept_and_contradictions_told(scene: &Scene) {
    scene.b_takes_streams().await;
    let said = scene.say(&["streams", "pin", "channel-2", "--to", "b"], 0).await;
    assert!(said.contains("channel-2 may run on b alone"), "{said}");
    scene.is_on("channel-2", "b").await;
    let refused = scene
        .send(
            Method::POST,
            "/api/v1/streams/channel-2/pin",
            &json!({ "to": "nobody" }),
            422,
        )
        .await;
    assert_eq!(refused["errors"][0]["pointer"], "/to", "{refused}");
    let pinned = |name: &str, pin: &str| {
        let source = scene.icecast.url("channel-1");
        json!({ "name": name, "source": source, "enabled": true, "spread": "pair", "pin": pin, "weight": 0.1 })
    };
    let change = json!({ "streams": [pinned("one", "b"), pinned("two", "b")] });
    let refused = scene.send(Method::PUT, "/api/v1/streams", &change, 422).await;
    assert_eq!(refused["errors"][0]["pointer"], "/streams/0/pin", "{refused}");
    assert_eq!(refused["errors"].as_array().map(Vec::len), Some(2), "{refused}");
    let change = json!({ "streams": [pinned("one", "b"), pinned("two", "nobody")] });
    let taken = scene
        .send(Method::PUT, "/api/v1/streams?dry_run=true", &change, 200)
        .await;
    let warnings = taken["warnings"].as_array().cloned().unwrap_or_default();
    assert_eq!(warnings.len(), 1, "{taken}");
    assert_eq!(
        (&warnings[0]["stream"], &warnings[0]["field"]),
        (&json!("two"), &json!("pin"))
    );
    scene.say(&["streams", "unpin", "channel-2"], 0).await;
    let free = scene
        .orchestrator
        .api()
        .get("/api/v1/streams/channel-2")
        .await
        .unwrap();
    assert_eq!(
        (&free["pin"], &free["worker"]),
        (&Value::Null, &json!("b")),
        "{free}"
    );
    scene.say(&["streams", "move", "channel-2", "--to", "a"], 0).await;
    scene.is_on("channel-2", "a").await;
    scene.all_running().await;
    scene.icecast.one_each(scene.icecast.mounts()).await;
}

#[tokio::test]
async fn whoever_is_killed_in_mid_move_one_listener_is_left() {
    let mut scene = Scene::start("mid-move", 2).await;
    pins_are_kept_and_contradictions_told(&scene).await;

    scene.moving().await;
    let before = scene.icecast.listeners().await.unwrap();
    scene.orchestrator.kill9();
    scene.orchestrator.restart(&scene.world).await;
    scene.agents[1].process().signal(Signal::CONT);
    // The move was acknowledged: the next leader makes it, whether b has heard of it or not.
    scene.runs_on("b").await;
    let after = scene.icecast.listeners().await.unwrap();
    assert_eq!(
        before["channel-2"], after["channel-2"],
        "it had nothing to do with the move"
    );

    // The target dies: the source's connection is the very same.
    scene.say(&["streams", "move", "channel-1", "--to", "a"], 0).await;
    scene.runs_on("a").await;
    let before = scene.icecast.listeners().await.unwrap();
    scene.moving().await;
    scene.agents[1].kill9();
    scene.world.gone("b").await;
    scene.runs_on("a").await;
    assert_eq!(scene.icecast.listeners().await.unwrap(), before);

    // The source dies: the target has it.
    scene.agents[1].restart(&scene.world);
    scene.orchestrator.api().workers_alive(2).await;
    scene.moving().await;
    scene.agents[0].kill9();
    scene.world.gone("a").await;
    scene.agents[1].process().signal(Signal::CONT);
    scene.runs_on("b").await;
}
