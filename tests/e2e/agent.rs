//! What the agent shows of its streams, the reader that is built into it, and how it ends.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::icecast::Icecast;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(
    what_commands_write_and_why_they_end_is_seen,
    a_program_that_is_not_there_is_named,
    the_built_in_reader_is_one_listener_of_each_channel,
    a_second_signal_ends_the_agent_at_once_and_its_guard_cleans_up,
    an_agent_tells_the_load_of_its_machine,
    a_stream_runs_when_its_command_says_so,
    what_commands_use_is_seen_per_stream_and_as_a_sum,
);

const CHANNELS: usize = 4;
/// Longer than a move takes whose target counts as running at once.
const NOT_READY: Duration = Duration::from_secs(2);

/// Waits until the API tells that the stream failed for a reason that holds every one of `parts`.
async fn fails(api: &Api, stream: &str, parts: &[&str]) {
    let told = wait::until(wait::GENEROUS, async || {
        let found = api.get(&format!("/api/v1/streams/{stream}")).await?;
        let reason = found["failure"].as_str().unwrap_or_default();
        if parts.iter().all(|part| reason.contains(part)) {
            Ok(())
        } else {
            Err(format!("{parts:?} is wanted, but: {found}"))
        }
    });
    told.await.unwrap_or_else(|reason| panic!("{stream}: {reason}"));
}

/// Waits until the API tells such a performance of the stream.
async fn performs(api: &Api, stream: &str, fits: impl Fn(&Value) -> bool) {
    let told = wait::until(wait::GENEROUS, async || {
        let found = api.get(&format!("/api/v1/streams/{stream}")).await?;
        if fits(&found["performance"]) {
            Ok(())
        } else {
            Err(format!("its performance is {}", found["performance"]))
        }
    });
    told.await.unwrap_or_else(|reason| panic!("{stream}: {reason}"));
}

/// The lines of commands in an agent's log: stream, output, text.
fn lines(agent: &Agent) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let log = agent.process().output();
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["target"] == "stream")
        .map(|line| {
            let fields = &line["fields"];
            (
                text(&fields["stream"]),
                text(&fields["fd"]),
                text(&fields["line"]),
            )
        })
        .collect()
}

async fn what_commands_write_and_why_they_end_is_seen(kind: DatabaseKind) {
    let world = World::on(kind, "seen");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    // The source is the script.
    let args = [
        "--exec",
        "sh -c {source}",
        "--log-format",
        "json",
        "--data",
        &data,
    ];
    let agent = Agent::start(&world, "seen-a", &args);
    let api = orchestrator.api();
    let scripts = [
        (
            "talks",
            "echo hear rtsp://u:s3cret@h/live; echo me >&2; exec sleep 100000",
        ),
        ("fails", "echo rtsp://u:s3cret@h/live is off air >&2; exit 3"),
        ("killed", "kill -KILL $$"),
    ];
    api.declare(&scripts).await;
    fails(
        &api,
        "fails",
        &["exit status 3", "rtsp://u:***@h/live is off air"],
    )
    .await;
    fails(
        &api,
        "killed",
        &["killed by signal 9 (SIGKILL)", "not by the agent"],
    )
    .await;
    let wanted = [("stdout", "hear rtsp://u:***@h/live"), ("stderr", "me")]
        .map(|(fd, line)| ("talks".to_owned(), fd.to_owned(), line.to_owned()));
    let logged = wait::until(wait::GENEROUS, async || {
        let lines = lines(&agent);
        if wanted.iter().all(|line| lines.contains(line)) {
            Ok(())
        } else {
            Err(format!("{lines:?}"))
        }
    });
    logged.await.unwrap_or_else(|reason| panic!("{reason}"));
    assert!(
        !agent.process().output().contains("s3cret"),
        "the log shows a password"
    );
}

async fn a_program_that_is_not_there_is_named(kind: DatabaseKind) {
    let world = World::on(kind, "not-there");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let _agent = Agent::start(
        &world,
        "not-there-a",
        &["--exec", "no-such-program", "--data", &data],
    );
    let api = orchestrator.api();
    api.declare(&[("one", "x")]).await;
    fails(&api, "one", &["no-such-program: not found; install it"]).await;
}

async fn the_built_in_reader_is_one_listener_of_each_channel(kind: DatabaseKind) {
    let world = World::on(kind, "reader");
    let icecast = Icecast::start(&world, CHANNELS).await;
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let args = ["--runner", "http", "--data", &data];
    let mut agents = ["reader-a", "reader-b"].map(|id| Agent::start(&world, id, &args));
    let api = orchestrator.api();
    let channels: Vec<(String, String)> = icecast
        .mounts()
        .iter()
        .map(|mount| (mount.clone(), icecast.url(mount)))
        .collect();
    let mut streams: Vec<(&str, &str)> = channels
        .iter()
        .map(|(name, url)| (name.as_str(), url.as_str()))
        .collect();
    let nowhere = icecast.url("nowhere");
    streams.push(("nowhere", &nowhere));
    api.declare(&streams).await;
    icecast.one_each(icecast.mounts()).await;
    fails(&api, "nowhere", &["/nowhere: answers 404"]).await;
    for mount in icecast.mounts() {
        performs(&api, mount, |performance| {
            performance["bytes_per_second"].as_u64() > Some(0)
                && (&performance["stalls"], &performance["reconnects"]) == (&0.into(), &0.into())
        })
        .await;
    }
    // The reader has no command; its own words are the stream's lines.
    let told = api.get("/api/v1/streams/nowhere/logs").await.unwrap();
    let line = &told["lines"][0];
    let text = line["text"].as_str().unwrap_or_default();
    assert!(
        line["fd"] == "worker" && text.contains("/nowhere: answers 404"),
        "{told}"
    );

    agents[0].kill9();
    world.gone(agents[0].id()).await;
    icecast.one_each(icecast.mounts()).await;
    assert_eq!(agents[1].terminate().await.code(), Some(0));
}

async fn a_second_signal_ends_the_agent_at_once_and_its_guard_cleans_up(kind: DatabaseKind) {
    let world = World::on(kind, "twice");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let stubborn = "sh -c \"trap '' TERM; while :; do sleep 1; done\"";
    let args = ["--exec", stubborn, "--stop-grace", "5s", "--data", &data];
    let mut agent = Agent::start(&world, "twice-a", &args);
    let api = orchestrator.api();
    api.declare(&[("one", "x")]).await;
    api.all_running(1).await;
    // Two different ones: of two equal ones that come close together, the system may deliver one.
    agent.process().signal(Signal::INT);
    // In order it would end with 0, after the stop grace.
    assert_eq!(agent.terminate().await.code(), Some(130));
    world.gone(agent.id()).await;
}

async fn an_agent_tells_the_load_of_its_machine(kind: DatabaseKind) {
    let world = World::on(kind, "load");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let _agent = Agent::start(&world, "load-a", &["--exec", "sleep 1000", "--data", &data]);
    let api = orchestrator.api();
    let told = wait::until(wait::GENEROUS, async || {
        let found = api.get("/api/v1/workers/load-a").await?;
        let total = found["host"]["memory_total_bytes"].as_u64().unwrap_or(0);
        let used = found["host"]["memory_used_bytes"].as_u64().unwrap_or(0);
        if total > used && used > 0 {
            Ok(())
        } else {
            Err(format!("no load in {found}"))
        }
    });
    told.await.unwrap_or_else(|reason| panic!("{reason}"));
}

async fn what_commands_use_is_seen_per_stream_and_as_a_sum(kind: DatabaseKind) {
    let world = World::on(kind, "usage");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let args = ["--exec", "sh -c {source}", "--data", &data];
    let _agent = Agent::start(&world, "usage-a", &args);
    let api = orchestrator.api();
    let holds = "head -c 40000000 /dev/zero | tail -c 40000000 | (sleep 100000; cat)";
    api.declare(&[("burns", "while :; do :; done"), ("holds", holds)])
        .await;
    let (burns, holds) = (
        |told: &Value| told["cpu_cores"].as_f64() > Some(0.05),
        |told: &Value| told["memory_bytes"].as_u64() > Some(40_000_000),
    );
    performs(&api, "burns", burns).await;
    performs(&api, "holds", holds).await;
    let worker = api.get("/api/v1/workers/usage-a").await.unwrap();
    let sum = &worker["performance"];
    assert!(burns(sum) && holds(sum), "{worker}");
    // What is switched off uses nothing.
    let off = serde_json::json!({"enabled": false});
    let patch = reqwest::Method::PATCH;
    let answer = api
        .send(patch, "/api/v1/streams/burns", Some(&off))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    performs(&api, "burns", Value::is_null).await;
}

async fn a_stream_runs_when_its_command_says_so(kind: DatabaseKind) {
    let world = World::on(kind, "ready");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let gate = world.folder().join("gate");
    // On each worker it is ready when a file is there.
    let command = "sh -c 'until [ -e {source}-$STREAMKEEPER_WORKER ]; do sleep 0.05; done; \
                   echo now it is ready; exec sleep 100000'";
    let agent = |id: &str| {
        let args = ["--exec", command, "--ready-line", "is ready", "--data", &data];
        Agent::start(&world, id, &args)
    };
    let open = |id: &str| std::fs::write(format!("{}-{id}", gate.display()), "").unwrap();
    let a = agent("ready-a");
    api.workers_alive(1).await;
    open("ready-a");
    api.declare(&[("slow", &gate.to_string_lossy())]).await;
    let running = api.all_running(1).await;
    assert_eq!(running["slow"].worker, "ready-a");
    let before = a.commands(&world);
    let b = agent("ready-b");
    api.workers_alive(2).await;
    let order = [
        "streams",
        "move",
        "slow",
        "--to",
        "ready-b",
        "--server",
        api.base(),
    ];
    world.run(&order).await.expect(0, &[]);
    let begun = wait::until(wait::GENEROUS, async || match b.commands(&world) {
        commands if commands.contains_key("slow") => Ok(()),
        commands => Err(format!("b runs {commands:?}")),
    });
    begun.await.unwrap_or_else(|reason| panic!("{reason}"));

    // A command that was started is not a stream that runs: the old one goes on.
    tokio::time::sleep(NOT_READY).await;
    assert_eq!(a.commands(&world), before);
    assert_eq!(api.assignments().await.unwrap()["slow"].worker, "ready-a");
    open("ready-b");
    let moved = wait::until(wait::GENEROUS, async || {
        let worker = api.assignments().await?["slow"].worker.clone();
        match a.commands(&world) {
            left if left.is_empty() && worker == "ready-b" => Ok(()),
            left => Err(format!("it is on {worker}, and a runs {left:?}")),
        }
    });
    moved.await.unwrap_or_else(|reason| panic!("{reason}"));
    api.all_running(1).await;
}
