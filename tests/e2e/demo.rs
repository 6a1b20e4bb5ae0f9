//! What a user sees first: the demonstration keeps what it promises and leaves nothing behind; the verbs do what they say.

use serde_json::{Value, json};
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::process::Process;
use streamkeeper_tests::program::program;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(
    a_file_is_compared_before_it_is_applied,
    streams_are_switched_and_restarted_by_name,
);

/// Longest failover, in milliseconds: what is promised, not what is measured.
const MAX_FAILOVER_MS: u64 = 12_000;
/// Documented in `streamkeeper --help`.
const USAGE: i32 = 2;
const REFUSED: i32 = 4;

#[tokio::test]
async fn the_demo_keeps_its_promises() {
    let world = World::new("demo");
    let data = world.folder().join("data");
    let port = free_port().to_string();
    let mut demo = world.spawn("demo", program(), |command| {
        command.args(["demo", "--seconds", "45", "--json", "--port", &port, "--data"]);
        command.arg(&data);
    });
    // It takes 45 seconds where nothing is in its way.
    let status = wait::until(3 * wait::GENEROUS, async || {
        demo.ended().ok_or_else(|| "the demo goes on".to_owned())
    });
    let status = status.await.unwrap_or_else(|reason| panic!("{reason}"));
    let said = demo.output();
    assert_eq!(status.code(), Some(0), "{said}");

    // The object comes last, after all that was told.
    let (told, object) = said
        .rsplit_once("\n{\n")
        .unwrap_or_else(|| panic!("no object: {said}"));
    let score: Value = serde_json::from_str(&format!("{{{object}"))
        .unwrap_or_else(|error| panic!("no JSON ({error}): {said}"));
    let number = |name: &str| {
        score[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name}: {said}"))
    };
    for (name, expected) in [
        ("streams", 30),
        ("running", 30),
        ("workers", 3),
        ("duplicates", 0),
        ("moves_needless", 0),
    ] {
        assert_eq!(number(name), expected, "{name}: {said}");
    }
    assert_eq!(score["killed_worker"], "agent-3", "{said}");
    assert!(
        number("streams_lost") > 0 && number("streams_returned") > 0,
        "{said}"
    );
    assert!(number("moves_total") >= number("streams_lost"), "{said}");
    assert!(
        number("failover_first_ms") <= number("failover_last_ms"),
        "{said}"
    );
    assert!(number("failover_last_ms") < MAX_FAILOVER_MS, "{said}");
    let gaps = told.lines().filter(|line| line.contains(": agent-3 -> ")).count();
    assert_eq!(gaps as u64, number("streams_lost"), "{said}");

    world.gone("demo").await;
}

/// A small demo whose agents have been started.
async fn begun(world: &World) -> Process {
    let data = world.folder().join("data");
    let port = free_port().to_string();
    let demo = world.spawn("demo", program(), |command| {
        command.args([
            "demo",
            "--agents",
            "2",
            "--channels",
            "4",
            "--port",
            &port,
            "--data",
        ]);
        command.arg(&data);
    });
    let begun = wait::until(wait::GENEROUS, async || {
        let said = demo.output();
        if said.contains("agent-2: process") {
            Ok(())
        } else {
            Err(said)
        }
    });
    begun.await.unwrap_or_else(|reason| panic!("{reason}"));
    demo
}

#[tokio::test]
async fn a_demo_that_is_ended_early_says_so_and_leaves_nothing() {
    let world = World::new("early");
    let mut demo = begun(&world).await;
    demo.signal(rustix::process::Signal::INT);
    let status = demo.wait().await;
    assert_eq!(status.code(), Some(1), "{}", demo.output());
    assert!(
        demo.output().contains("before the story was told"),
        "{}",
        demo.output()
    );
    world.gone("demo").await;
}

#[tokio::test]
async fn a_demo_that_is_killed_leaves_nothing() {
    let world = World::new("killed");
    let mut demo = begun(&world).await;
    demo.kill9();
    world.gone("demo").await;
}

async fn a_file_is_compared_before_it_is_applied(kind: DatabaseKind) {
    let world = World::on(kind, "apply");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let apply = async |name: &str, text: &str, flags: &[&str]| {
        let file = world.write(name, text).to_string_lossy().into_owned();
        let all = [&["streams", "apply", "-f", &file, "--server", api.base()], flags].concat();
        world.run(&all).await
    };
    let toml = "[[streams]]\nname = \"a\"\nsource = \"http://u:p@h/a\"\n[[streams]]\nname = \"b\"\nsource = \"http://h/b\"\n";
    let said = apply("s.toml", toml, &["--dry-run"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout.contains("dry run, nothing was done: 2 created"),
        "{said:?}"
    );
    assert_eq!(api.list("streams").await.unwrap(), Vec::<Value>::new());

    let said = apply("s.toml", toml, &[]).await;
    assert_eq!(
        said.stdout,
        "+ a\n    + source: http://u:***@h/a\n+ b\n    + source: http://h/b\n2 created, 0 changed, 0 deleted, 0 unchanged\n",
        "{said:?}"
    );
    let yaml = "- name: a\n  source: http://u:p@h/a\n  weight: 2\n  labels: {k: v}\n";
    let said = apply("s.yaml", yaml, &["--prune"]).await;
    assert_eq!(
        said.stdout,
        "~ a\n    + labels.k: v\n    ~ weight: 1.0 -> 2.0\n- b\n0 created, 1 changed, 1 deleted, 0 unchanged\n",
        "{said:?}"
    );
    let text = r#"[{"name": "a", "source": "http://u:q@h/a", "weight": 2, "labels": {"k": "v"}}]"#;
    let said = apply("s.json", text, &["-o", "json"]).await;
    let source = json!("http://u:***@h/a");
    assert_eq!(
        said.json()["differences"],
        json!([{"stream": "a", "fate": "changed", "fields": [{"field": "source", "from": source, "to": source}]}]),
        "{said:?}"
    );

    // All that is wrong at once, what only the server knows as well.
    let bad =
        "- name: a\n  sauce: x\n- name: b\n  source: http://h/b\n  weight: -1\n- name: a\n  source: ''\n";
    let said = apply("s.yaml", bad, &[]).await;
    said.expect(
        USAGE,
        &[
            "s.yaml:1: stream a: source is missing",
            "s.yaml:2: stream a: sauce",
            "s.yaml:5: stream b: weight",
            "s.yaml:6: stream a: name: \"a\" is the name of another stream too (line 1)",
            "s.yaml:7: stream a: source",
        ],
    );
    assert_eq!(said.stderr.lines().count(), 6, "{said:?}");
}

async fn streams_are_switched_and_restarted_by_name(kind: DatabaseKind) {
    let world = World::on(kind, "verbs");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let agent = Agent::start(&world, "verbs-a", &["--exec", "sleep {source}", "--data", &data]);
    api.declare(&[("one", "100000"), ("two", "100000")]).await;
    api.all_running(2).await;
    let one_command_each = async |streams: &[&str]| {
        let found = wait::until(wait::GENEROUS, async || {
            let commands = agent.commands(&world);
            if commands.keys().eq(streams) && commands.values().all(|pids| pids.len() == 1) {
                Ok(commands)
            } else {
                Err(format!("{streams:?} are wanted: {commands:?}"))
            }
        });
        found.await.unwrap_or_else(|reason| panic!("{reason}"))
    };
    let before = one_command_each(&["one", "two"]).await;
    let run = async |args: &[&str]| world.run(&[args, &["--server", api.base()]].concat()).await;

    let said = run(&["streams", "disable", "one"]).await;
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), "disabled one\n"),
        "{said:?}"
    );
    one_command_each(&["two"]).await;
    let said = run(&["streams", "disable", "one"]).await;
    assert_eq!(said.stdout, "unchanged one\n", "{said:?}");
    let said = run(&["streams", "enable", "one", "two", "-o", "json"]).await;
    assert_eq!(said.json()["changed"], json!(["one"]), "{said:?}");
    assert_eq!(said.json()["unchanged"], json!(["two"]), "{said:?}");
    let again = one_command_each(&["one", "two"]).await;
    assert_eq!(again["two"], before["two"], "it was switched on already");

    let said = run(&["streams", "restart", "two"]).await;
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), "restarted two\n"),
        "{said:?}"
    );
    let restarted = wait::until(wait::GENEROUS, async || {
        let now = one_command_each(&["one", "two"]).await;
        if now["two"] == before["two"] {
            Err(format!("{now:?}"))
        } else {
            Ok(now)
        }
    });
    let now = restarted.await.unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(now["one"], again["one"], "the other one is left alone");

    let said = run(&["workers", "get", "verbs-a", "-o", "json"]).await;
    assert_eq!(said.json()["assigned"], json!(["one", "two"]), "{said:?}");
    for (args, near) in [
        (["streams", "get", "tow"], "two"),
        (["streams", "restart", "on"], "one"),
        (["streams", "delete", "twoo"], "two"),
        (["workers", "get", "verbs-b"], "verbs-a"),
    ] {
        run(&args)
            .await
            .expect(REFUSED, &[args[2], &format!("did you mean {near}")]);
    }
    api.all_running(2).await;
}
