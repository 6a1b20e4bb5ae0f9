//! However a part ends, it leaves nothing behind.

use rustix::process::Signal;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(
    sigterm_ends_everything_orderly,
    sigint_ends_the_orchestrator_as_well,
    a_killed_orchestrator_finds_its_nats_server_again,
    a_killed_orchestrator_that_does_not_come_back_leaves_nothing,
    a_nats_server_that_nobody_looks_after_any_more_ends,
    a_killed_agent_leaves_nothing_however_stubborn,
    a_killed_guard_is_replaced_and_its_commands_end,
);

async fn scene(world: &World, id: &str, command: &str, args: &[&str]) -> (Orchestrator, Agent) {
    let orchestrator = Orchestrator::start(world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let mut all = vec!["--exec", command, "--data", data.as_str()];
    all.extend(args);
    let agent = Agent::start(world, id, &all);
    let api = orchestrator.api();
    api.declare(&[("one", "100000"), ("two", "100000")]).await;
    api.all_running(2).await;
    (orchestrator, agent)
}

fn runs(world: &World, name: &str, what: &str) -> bool {
    world
        .living(name)
        .iter()
        .any(|process| process.command.contains(what))
}

async fn sigterm_ends_everything_orderly(kind: DatabaseKind) {
    let world = World::on(kind, "sigterm");
    let (mut orchestrator, mut agent) = scene(&world, "sigterm-a", "sleep {source}", &[]).await;
    assert_eq!(orchestrator.message_servers(&world).len(), 1);
    assert!(runs(&world, agent.id(), "sleep"));

    assert_eq!(agent.terminate().await.code(), Some(0));
    // Orderly: the end is the end, nothing is left to die later.
    assert_eq!(world.living(agent.id()), []);
    assert_eq!(orchestrator.terminate().await.code(), Some(0));
    assert_eq!(world.living(orchestrator.name()), []);
}

async fn sigint_ends_the_orchestrator_as_well(kind: DatabaseKind) {
    let world = World::on(kind, "sigint");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    orchestrator.process().signal(Signal::INT);
    let status = wait::until(wait::GENEROUS, async || {
        orchestrator.ended().ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(status.await.unwrap().code(), Some(0));
    assert_eq!(world.living(orchestrator.name()), []);
}

async fn a_killed_orchestrator_finds_its_nats_server_again(kind: DatabaseKind) {
    let world = World::on(kind, "survivor");
    let (mut orchestrator, agent) = scene(&world, "survivor-a", "sleep {source}", &[]).await;
    let (before, running) = (orchestrator.message_servers(&world), agent.commands(&world));
    assert_eq!(before.len(), 1);
    // Twice: who was taken over is taken over again.
    for _ in 0..2 {
        orchestrator.kill9();
        orchestrator.restart(&world).await;
        orchestrator.api().all_running(2).await;
        assert_eq!(orchestrator.message_servers(&world), before);
        assert_eq!(agent.commands(&world), running);
    }
    let said = agent.process().output();
    assert!(!said.contains("is lost"), "the agent lost its connection: {said}");
    assert_eq!(orchestrator.terminate().await.code(), Some(0));
    assert_eq!(world.living(orchestrator.name()), []);
}

async fn a_killed_orchestrator_that_does_not_come_back_leaves_nothing(kind: DatabaseKind) {
    let world = World::on(kind, "orphan");
    let mut orchestrator = Orchestrator::start(&world, &["--set", "nats.linger=1s"]).await;
    assert_eq!(orchestrator.message_servers(&world).len(), 1);
    orchestrator.kill9();
    world.gone(orchestrator.name()).await;
}

async fn a_nats_server_that_nobody_looks_after_any_more_ends(kind: DatabaseKind) {
    let world = World::on(kind, "unattended");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let before = orchestrator.message_servers(&world);
    let keeper = world
        .living(orchestrator.name())
        .into_iter()
        .find(|process| process.command.contains(" linger "))
        .expect("somebody looks after it");
    let pid = rustix::process::Pid::from_raw(keeper.pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let replaced = wait::until(wait::GENEROUS, async || {
        let now = orchestrator.message_servers(&world);
        if now.len() == 1 && now != before {
            Ok(())
        } else {
            Err(format!("{before:?} {now:?}"))
        }
    });
    replaced.await.unwrap();
}

async fn a_killed_agent_leaves_nothing_however_stubborn(kind: DatabaseKind) {
    let world = World::on(kind, "stubborn");
    // A command that ignores SIGTERM, with a child that left its process group and session.
    let command = "sh -c \"trap '' TERM; setsid sleep {source} & while :; do sleep 1; done\"";
    let (orchestrator, mut agent) = scene(&world, "stubborn-a", command, &["--stop-grace", "1s"]).await;
    let escaped = wait::until(wait::GENEROUS, async || {
        let sleepers = world
            .living(agent.id())
            .into_iter()
            .filter(|p| p.command == "sleep 100000");
        if sleepers.count() == 2 {
            Ok(())
        } else {
            Err("the children are not there".to_owned())
        }
    });
    escaped.await.unwrap();
    agent.kill9();
    world.gone(agent.id()).await;

    // A stop by the orchestrator ends them as well.
    agent.restart(&world);
    let api = orchestrator.api();
    api.all_running(2).await;
    let started = wait::until(wait::GENEROUS, async || {
        let commands = agent.commands(&world);
        if commands.len() == 2 {
            Ok(())
        } else {
            Err(format!("{commands:?}"))
        }
    });
    started.await.unwrap();
    api.delete("one").await;
    let stopped = wait::until(wait::GENEROUS, async || {
        let commands = agent.commands(&world);
        if commands.keys().eq(["two"]) {
            Ok(())
        } else {
            Err(format!("{commands:?}"))
        }
    });
    stopped.await.unwrap();
}

async fn a_killed_guard_is_replaced_and_its_commands_end(kind: DatabaseKind) {
    let world = World::on(kind, "guard");
    let (orchestrator, agent) = scene(&world, "guard-a", "sleep {source}", &[]).await;
    let before = agent.commands(&world);
    let guard = world
        .living(agent.id())
        .into_iter()
        .find(|process| process.command.ends_with(" guard"))
        .expect("a guard");
    let pid = rustix::process::Pid::from_raw(guard.pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let replaced = wait::until(wait::GENEROUS, async || {
        let now = agent.commands(&world);
        let fresh = now
            .iter()
            .all(|(stream, pids)| pids.len() == 1 && before.get(stream) != Some(pids));
        if now.len() == before.len() && fresh {
            Ok(())
        } else {
            Err(format!("{before:?} {now:?}"))
        }
    });
    replaced.await.unwrap();
    orchestrator.api().all_running(2).await;
}
