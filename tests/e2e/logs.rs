//! `streams logs`: what the commands of agents write is read from outside, wherever a stream moves; and verbs that take
//! many streams at once.

use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::process::Process;
use streamkeeper_tests::program::program;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(streams_without_lines_say_why_and_many_are_changed_by_one_request);

/// Writes again and again; its password stands alone in one line.
const TALKS: &str = ": rtsp://cam:s3cret-pw@h/; echo login with s3cret-pw >&2; \
                     i=0; while :; do i=$((i+1)); echo \"line $i of $$\"; sleep 0.2; done";

struct Fleet {
    orchestrator: Orchestrator,
    agents: Vec<Agent>,
}

impl Fleet {
    async fn start(world: &World, name: &str) -> Self {
        let orchestrator = Orchestrator::start(world, &[]).await;
        let data = orchestrator.data().to_string_lossy().into_owned();
        let args = ["--exec", "sh -c {source}", "--data", &data];
        let agents = ["a", "b"].map(|id| Agent::start(world, &format!("{name}-{id}"), &args));
        Self {
            orchestrator,
            agents: agents.into(),
        }
    }

    async fn run(&self, world: &World, args: &[&str]) -> streamkeeper_tests::world::Said {
        let api = self.orchestrator.api();
        world.run(&[args, &["--server", api.base()]].concat()).await
    }

    /// `streams logs -f` of a stream, as a process whose output is its log.
    fn reader(&self, world: &World, name: &str, args: &[&str]) -> Process {
        let api = self.orchestrator.api();
        world.spawn(name, program(), |command| {
            command
                .args(["streams", "logs", "--follow", "--server", api.base()])
                .args(args);
        })
    }

    /// The agent that runs the stream.
    async fn owner(&self, stream: &str) -> usize {
        let api = self.orchestrator.api();
        let owner = wait::until(wait::GENEROUS, async || {
            let found = api.get(&format!("/api/v1/streams/{stream}")).await?;
            let running = found["state"] == "running";
            let owner = self.agents.iter().position(|agent| found["worker"] == agent.id());
            owner.filter(|_| running).ok_or_else(|| found.to_string())
        });
        owner.await.unwrap_or_else(|reason| panic!("{stream}: {reason}"))
    }
}

/// Waits until the reader has written something that fits.
async fn reads(reader: &Process, what: &str, fits: impl Fn(&str) -> bool) {
    let read = wait::until(wait::GENEROUS, async || {
        let output = reader.output();
        if fits(&output) {
            Ok(())
        } else {
            Err(format!("{what} is not in:\n{output}"))
        }
    });
    read.await.unwrap_or_else(|reason| panic!("{reason}"));
}

#[tokio::test]
async fn lines_are_followed_through_the_death_of_their_agent() {
    let world = World::new("logs");
    let mut fleet = Fleet::start(&world, "logs").await;
    let api = fleet.orchestrator.api();
    api.declare(&[("talks", TALKS), ("quiet", "exec sleep 100000")])
        .await;
    let first = fleet.owner("talks").await;
    let (owner, other) = (
        fleet.agents[first].id().to_owned(),
        fleet.agents[1 - first].id().to_owned(),
    );

    // The owner's newest lines, those of the agent itself too, and no secret.
    let said = wait::until(wait::GENEROUS, async || {
        let said = fleet.run(&world, &["streams", "logs", "talks"]).await;
        let lines = said.stdout.lines();
        let ours = lines.filter(|line| line.starts_with(&owner)).count();
        if ours > 3 {
            Ok(said)
        } else {
            Err(format!("{said:?}"))
        }
    });
    let said = said.await.unwrap();
    for part in [
        " worker command started, pid ",
        " stderr login with ***",
        " stdout line 1 of ",
    ] {
        assert!(said.stdout.contains(part), "{part:?}: {said:?}");
    }
    assert!(!said.stdout.contains("s3cret"), "{said:?}");
    let said = fleet
        .run(
            &world,
            &["streams", "logs", "--lines", "2", "talks", "-o", "json"],
        )
        .await;
    assert_eq!(said.json()["lines"].as_array().map(Vec::len), Some(2), "{said:?}");

    let reader = fleet.reader(&world, "reader", &["--timestamps", "talks"]);
    let mut json = fleet.reader(&world, "json-reader", &["--lines", "0", "-o", "json", "talks"]);
    reads(&reader, "a line of the first owner", |output| {
        output.contains(&format!("Z {owner} "))
    })
    .await;

    fleet.agents[first].kill9();
    let note = format!("-- talks goes on with {other} (epoch ");
    reads(&reader, "a line of the second owner", |output| {
        let after = output.split_once(&note).map(|(_, after)| after);
        after.is_some_and(|after| after.contains(" stdout line 2 of "))
    })
    .await;
    let output = reader.output();
    // From its first line on, and nothing twice.
    for number in [1, 2] {
        let lines = output
            .lines()
            .filter(|line| line.contains(&other) && line.contains(&format!("stdout line {number} of")));
        assert_eq!(lines.count(), 1, "line {number}:\n{output}");
    }

    let said = fleet.run(&world, &["streams", "delete", "talks"]).await;
    said.expect(0, &[]);
    assert_eq!(json.wait().await.code(), Some(0), "{}", json.output());
    let kinds: Vec<String> = json
        .output()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"))
        })
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("owner"));
    assert_eq!(kinds.last().map(String::as_str), Some("end"));
    assert!(kinds.iter().any(|kind| kind == "line"), "{kinds:?}");

    // Its end is not the orchestrator's: that is told in another way.
    let mut quiet = fleet.reader(&world, "quiet-reader", &["quiet"]);
    reads(&quiet, "its start", |output| output.contains("command started")).await;
    fleet.orchestrator.terminate().await;
    assert_eq!(quiet.wait().await.code(), Some(3), "{}", quiet.output());
    assert!(quiet.output().contains("follow again when it is back"));
}

async fn streams_without_lines_say_why_and_many_are_changed_by_one_request(kind: DatabaseKind) {
    let world = World::on(kind, "many");
    let fleet = Fleet::start(&world, "many").await;
    let api = fleet.orchestrator.api();
    let sleeps = "exec sleep 100000";
    api.declare(&[("radio-1", sleeps), ("radio-2", sleeps), ("radio-3", sleeps)])
        .await;
    for stream in ["radio-1", "radio-2", "radio-3"] {
        fleet.owner(stream).await;
    }
    let said = fleet.run(&world, &["streams", "logs", "radoi-1"]).await;
    said.expect(4, &["There is no such stream (404)", "did you mean radio-1"]);

    // One name is wrong: nothing is done to the others.
    let said = fleet
        .run(&world, &["streams", "disable", "radio-1", "none", "radio-2"])
        .await;
    said.expect(4, &["stream none does not exist"]);
    assert_eq!(said.stdout, "");
    for stream in ["radio-1", "radio-2"] {
        let found = api.get(&format!("/api/v1/streams/{stream}")).await.unwrap();
        assert_eq!(found["enabled"], true, "{found}");
    }
    let said = fleet
        .run(&world, &["streams", "disable", "radio-2", "radio-1"])
        .await;
    assert_eq!(said.stdout, "disabled radio-1\ndisabled radio-2\n", "{said:?}");
    let off = wait::until(wait::GENEROUS, async || {
        let said = fleet.run(&world, &["streams", "logs", "radio-1"]).await;
        if said.code == Some(4) {
            Ok(said)
        } else {
            Err(format!("{said:?}"))
        }
    });
    off.await
        .unwrap()
        .expect(4, &["The stream has no worker (409)", "It is switched off"]);
    // What nobody runs yet can be followed: lines come once it runs.
    let reader = fleet.reader(&world, "early-reader", &["radio-1"]);
    reads(&reader, "why it waits", |output| {
        output.contains("-- waiting: It is switched off")
    })
    .await;
    let said = fleet
        .run(&world, &["streams", "enable", "radio-1", "radio-2"])
        .await;
    said.expect(0, &[]);
    reads(&reader, "its start", |output| output.contains("command started")).await;

    let said = fleet
        .run(
            &world,
            &["streams", "restart", "radio-3", "radio-2", "-o", "json"],
        )
        .await;
    assert_eq!(
        said.json()["restarted"],
        serde_json::json!(["radio-2", "radio-3"]),
        "{said:?}"
    );
    let said = fleet
        .run(&world, &["streams", "delete", "radio-1", "radio-2", "radio-3"])
        .await;
    said.expect(0, &[]);
    let gone = wait::until(wait::GENEROUS, async || {
        let left = api.list("streams").await?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    gone.await.unwrap();
}
