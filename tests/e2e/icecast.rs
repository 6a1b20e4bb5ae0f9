//! The main promise on real input: an icecast2 with twelve channels has exactly one listener on each, whatever is
//! killed, and says so itself.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use serde_json::Value;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::icecast::{Icecast, Listeners};
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::state::per_worker;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio::time::Instant;

const CHANNELS: usize = 12;

/// Longer than a new leader waits for silent workers (the lease, 15 s by default): what it may do wrong after that wait
/// is seen as well.
const PAST_GRACE: Duration = Duration::from_secs(20);

/// `balancer.probation`, as it is where nobody sets it.
const PROBATION: TimeDelta = TimeDelta::seconds(30);

const ACTORS: [&str; 7] = [
    "election",
    "coordinator",
    "heartbeat_tracker",
    "balancer",
    "consistency_checker",
    "recovery_manager",
    "alert_manager",
];

struct Scene {
    agents: Vec<Agent>,
    orchestrator: Orchestrator,
    icecast: Icecast,
    // Last, because fields are dropped in this order: it kills what is left.
    world: World,
}

impl Scene {
    /// Twelve channels, one spare, three agents, and exactly one listener per channel.
    async fn start(name: &str, more: &[&str]) -> Self {
        let world = World::new(name);
        let icecast = Icecast::start(&world, CHANNELS + 1).await;
        let mut settings = vec![
            "--set",
            "http.fault_injection=true",
            // Evening out is to be over before the next fault comes.
            "--set",
            "balancer.stream_cooldown=1s",
        ];
        settings.extend(more);
        let orchestrator = Orchestrator::start(&world, &settings).await;
        let data = orchestrator.data().to_string_lossy().into_owned();
        let command = "ffmpeg -nostdin -loglevel error -i {source} -f null -";
        // So little capacity that one channel more or less is worth a move.
        let args = ["--exec", command, "--data", &data, "--weight", "10"];
        let agents = ["a", "b", "c"].map(|id| Agent::start(&world, id, &args));
        let scene = Self {
            agents: agents.into(),
            orchestrator,
            icecast,
            world,
        };
        scene.apply_channels().await;
        scene.orchestrator.api().all_running(CHANNELS).await;
        scene.icecast.one_each(scene.channels()).await;
        scene
    }

    fn channels(&self) -> &[String] {
        &self.icecast.mounts()[..CHANNELS]
    }

    fn spare(&self) -> &str {
        &self.icecast.mounts()[CHANNELS]
    }

    /// As a user does it: a file and the command line.
    async fn apply_channels(&self) {
        let mut file = "streams:\n".to_owned();
        for mount in self.channels() {
            file.push_str(&format!(
                "  - name: {mount}\n    source: {}\n",
                self.icecast.url(mount)
            ));
        }
        let file = self.world.write("streams.yaml", &file);
        let api = self.orchestrator.api();
        let file = file.to_string_lossy();
        let said = self
            .world
            .run(&["streams", "apply", "-f", &file, "--server", api.base()])
            .await;
        said.expect(0, &[]);
    }

    /// Kills the managed message server, which comes back by itself.
    async fn kill_message_server(&self) {
        let servers = || self.orchestrator.message_servers(&self.world);
        let before = servers();
        assert_eq!(before.len(), 1, "one message server runs");
        let pid = Pid::from_raw(before[0]).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        let back = wait::until(wait::GENEROUS, async || match servers() {
            after if after.len() == 1 && after != before => Ok(()),
            after => Err(format!("message servers: {after:?}")),
        });
        back.await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    async fn listeners(&self) -> Listeners {
        self.icecast.listeners().await.unwrap()
    }

    /// Watches for a while that every connection stays the very same.
    async fn nobody_reconnects(&self, before: &Listeners, watch: Duration) {
        let end = Instant::now() + watch;
        while Instant::now() < end {
            assert_eq!(&self.listeners().await, before, "listeners came or went");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Waits until the three agents have the same number of channels, and no listener moves any more.
    async fn evened_out(&self) -> Listeners {
        let even = wait::until(wait::GENEROUS * 2, async || {
            let counts = per_worker(&self.orchestrator.api().assignments().await?);
            if counts.len() == 3 && counts.values().all(|count| *count == CHANNELS / 3) {
                Ok(())
            } else {
                Err(format!("channels per worker: {counts:?}"))
            }
        });
        even.await.unwrap_or_else(|reason| panic!("{reason}"));
        self.icecast.one_each(self.channels()).await
    }
}

#[tokio::test]
async fn one_listener_on_every_channel_whatever_is_killed_on_sqlite() {
    let mut scene = Scene::start("killed", &[]).await;
    whatever_is_killed(&mut scene).await;

    // Nobody notices that somebody else holds the database for longer than any time-out.
    let before = scene.listeners().await;
    let file = scene.orchestrator.data().join("streamkeeper.db");
    let database = sea_orm::Database::connect(format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let holder = database.begin().await.unwrap();
    holder
        .execute_unprepared("UPDATE leadership SET id = 1")
        .await
        .unwrap();
    scene.nobody_reconnects(&before, PAST_GRACE).await;
    holder.rollback().await.unwrap();
    scene.orchestrator.api().all_running(CHANNELS).await;
    scene.nobody_reconnects(&before, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_listener_on_every_channel_whatever_is_killed_on_postgresql() {
    let mut postgres = Postgres::start().await;
    let mut scene = Scene::start("killed-postgresql", &["--database", &postgres.url()]).await;
    whatever_is_killed(&mut scene).await;

    // Nobody notices that the database is gone for longer than any time-out.
    let before = scene.listeners().await;
    postgres.kill();
    scene.nobody_reconnects(&before, PAST_GRACE).await;
    postgres.start_again().await;
    scene.orchestrator.api().all_running(CHANNELS).await;
    scene.nobody_reconnects(&before, Duration::from_secs(5)).await;
}

async fn whatever_is_killed(scene: &mut Scene) {
    let before = scene.evened_out().await;

    // A worker's death moves its own streams and no other ones.
    let assignments = scene.orchestrator.api().assignments().await.unwrap();
    scene.agents[0].kill9();
    scene.world.gone("a").await;
    let after = scene.icecast.one_each(scene.channels()).await;
    for mount in scene.channels() {
        let moved = assignments[mount].worker == "a";
        assert_eq!(
            before[mount] != after[mount],
            moved,
            "{mount} of {:?}",
            assignments[mount]
        );
    }

    // It comes back and gets its share again, a little at a time.
    let back = Utc::now();
    scene.agents[0].restart(&scene.world);
    let before = scene.evened_out().await;
    refilled_gradually(scene, back).await;

    // Nobody notices that the orchestrator is gone, comes back, and takes over.
    let assignments = scene.orchestrator.api().assignments().await.unwrap();
    scene.orchestrator.kill9();
    scene.nobody_reconnects(&before, Duration::from_secs(3)).await;
    scene.orchestrator.restart(&scene.world).await;
    scene.orchestrator.api().all_running(CHANNELS).await;
    scene.nobody_reconnects(&before, PAST_GRACE).await;
    assert_eq!(scene.icecast.one_each(scene.channels()).await, before);
    assert_eq!(scene.orchestrator.api().assignments().await.unwrap(), assignments);

    // Nor that the message server is.
    scene.kill_message_server().await;
    scene.nobody_reconnects(&before, Duration::from_secs(15)).await;
    scene.orchestrator.api().all_running(CHANNELS).await;
    assert_eq!(scene.orchestrator.api().assignments().await.unwrap(), assignments);
}

/// Agent a, which was back at the earliest at this moment, got its share after its probation, one channel a round: each is more
/// than `balancer.max_share_per_round`. Nothing else was moved for it.
async fn refilled_gradually(scene: &Scene, back: DateTime<Utc>) {
    let api = scene.orchestrator.api();
    let moves = api.get("/api/v1/migrations?limit=1000").await.unwrap();
    let moves = moves["migrations"].as_array().cloned().unwrap_or_default();
    let moment = |one: &Value| one["began"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let mut began = Vec::new();
    for one in moves
        .iter()
        .filter(|one| one["reason"] == "balance" && moment(one) >= back)
    {
        assert_eq!(one["to"], "a", "{one}");
        began.push(moment(one));
    }
    began.sort_unstable();
    assert_eq!(began.len(), CHANNELS / 3, "{moves:?}");
    assert!(began[0] >= back + PROBATION, "{back}: {began:?}");
    // Rounds are a second apart, and the next one waits for the moves of the last; how long orders are on their way inside
    // a busy orchestrator nobody knows, so that two of the three seconds are given away.
    let took = began[began.len() - 1] - began[0];
    assert!(took >= TimeDelta::seconds(1), "all at once: {began:?}");
}

#[tokio::test]
async fn listeners_do_not_notice_a_panicking_actor() {
    let scene = Scene::start("panics", &[]).await;
    let before = scene.evened_out().await;
    let api = scene.orchestrator.api();
    for actor in ACTORS {
        let restarts = api.restarts(actor).await.unwrap();
        let path = format!("/api/v1/faults/panic/{actor}");
        let answer = api.send(Method::POST, &path, None).await.unwrap();
        assert!(answer.status < 300, "{actor}: {answer:?}");
        let restarted = wait::until(wait::GENEROUS, async || {
            let now = api.restarts(actor).await?;
            if now > restarts {
                Ok(())
            } else {
                Err(format!("{now} restarts of {actor}"))
            }
        });
        restarted.await.unwrap_or_else(|reason| panic!("{reason}"));

        // The work goes on as well: a new stream comes, and goes.
        let spare = scene.spare();
        api.declare(&[(spare, &scene.icecast.url(spare))]).await;
        let with_spare = scene.icecast.one_each(scene.icecast.mounts()).await;
        same_connections(actor, &before, &with_spare, scene.channels());
        api.delete(spare).await;
        let without_spare = scene.icecast.one_each(scene.channels()).await;
        same_connections(actor, &before, &without_spare, scene.channels());
    }
}

#[track_caller]
fn same_connections(actor: &str, before: &Listeners, after: &Listeners, channels: &[String]) {
    let changed: BTreeSet<_> = channels
        .iter()
        .filter(|channel| before[*channel] != after[*channel])
        .collect();
    assert!(
        changed.is_empty(),
        "after the panic of {actor}, listeners reconnected on {changed:?}"
    );
}
