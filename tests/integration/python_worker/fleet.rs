//! Workers in Python in a fleet with a real orchestrator.

use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::state::per_worker;
use streamkeeper_tests::wait::{GENEROUS, until};
use streamkeeper_tests::world::World;

use rustix::process::Signal;

use super::SLEEP;
use super::python::PythonWorker;

const STREAMS: [&str; 4] = ["s-1", "s-2", "s-3", "s-4"];

#[tokio::test]
async fn it_takes_part_in_a_fleet() {
    let world = World::new("python-fleet");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let connect = orchestrator
        .data()
        .join("connect.json")
        .to_string_lossy()
        .into_owned();
    let start = |id: &str| PythonWorker::start(&world, id, &["--connect", &connect]);
    let (mut one, two) = (start("py-1"), start("py-2"));
    let both = until(GENEROUS, async || match api.list("workers").await?.len() {
        2 => Ok(()),
        count => Err(format!("{count} workers are known")),
    });
    both.await.unwrap_or_else(|reason| panic!("{reason}"));
    let streams: Vec<(&str, &str)> = STREAMS.iter().map(|name| (*name, SLEEP)).collect();
    api.declare(&streams).await;
    let before = api.all_running(STREAMS.len()).await;
    assert_eq!(per_worker(&before).len(), 2, "both take streams: {before:?}");
    let running = (one.running(&world), two.running(&world));
    for (stream, assignment) in &before {
        let worker = if assignment.worker == "py-1" {
            &running.0
        } else {
            &running.1
        };
        let epochs: Vec<&str> = worker[stream]
            .iter()
            .map(|command| command.epoch.as_str())
            .collect();
        assert_eq!(epochs, [assignment.epoch.to_string()], "{stream}");
    }

    // With the orchestrator its managed server goes, and comes back on its own.
    orchestrator.kill9();
    orchestrator.restart(&world).await;
    assert_eq!(
        api.all_running(STREAMS.len()).await,
        before,
        "same workers, same epochs"
    );
    assert_eq!(
        (one.running(&world), two.running(&world)),
        running,
        "nothing was restarted"
    );

    // A farewell gives the streams free at once.
    one.process.signal(Signal::TERM);
    assert!(one.process.wait().await.success(), "{}", one.process.tail());
    world.gone("py-1").await;
    two.runs(&world, &STREAMS).await;
    let after = api.all_running(STREAMS.len()).await;
    assert_eq!(per_worker(&after)["py-2"], STREAMS.len());
    for (stream, assignment) in &after {
        let was = &before[stream];
        let moved = was.worker == "py-1";
        assert_eq!(
            assignment.epoch > was.epoch,
            moved,
            "{stream}: {was:?} {assignment:?}"
        );
    }
}
