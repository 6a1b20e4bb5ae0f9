//! What operators do with the database, by the command line.

use serde_json::Value;
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::world::World;

#[tokio::test]
async fn a_user_outgrows_sqlite_and_takes_a_backup_along() {
    let world = World::new("operator");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    api.declare(&[("one", "x"), ("two", "x")]).await;
    let path = |name: &str| world.folder().join(name).to_string_lossy().into_owned();
    let (backup, export) = (path("backup.db"), path("export.jsonl"));
    let run = async |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--data", &data]).collect();
        world.run(&args).await
    };
    // Beside a running orchestrator.
    run(&["db", "backup", &backup]).await.expect(0, &[]);
    run(&["db", "export", &export]).await.expect(0, &[]);
    run(&["db", "export", &export]).await.expect(2, &[&export]);
    run(&["db", "restore", &backup])
        .await
        .expect(4, &["another streamkeeper serve"]);
    let status = run(&["db", "status", "-o", "json"]).await.json();
    assert_eq!(
        (&status["streams"], &status["backend"]),
        (&2.into(), &"sqlite".into())
    );
    let doctor = run(&["doctor", "-o", "json"]).await;
    doctor.expect(0, &[]);
    let areas: Vec<Value> = doctor.json()["findings"].as_array().unwrap().clone();
    for area in [
        "configuration",
        "data folder",
        "disk",
        "file limit",
        "ports",
        "clocks",
        "database",
        "nats",
    ] {
        let found = areas.iter().any(|finding| finding["area"] == area);
        assert!(found, "{area}: {areas:#?}");
    }

    // Back to the copy: what came after it is gone, and the rest is led again.
    api.declare(&[("three", "x")]).await;
    orchestrator.terminate().await;
    run(&["db", "restore", &backup]).await.expect(0, &[]);
    orchestrator.restart(&world).await;
    let names = |streams: &[Value]| -> Vec<String> {
        streams
            .iter()
            .map(|stream| stream["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&api.list("streams").await.unwrap()), ["one", "two"]);
    orchestrator.terminate().await;

    let server = Postgres::start().await;
    let url = server.url();
    run(&["db", "import", &export, "--database", &url])
        .await
        .expect(0, &[]);
    run(&["db", "import", &export, "--database", &url])
        .await
        .expect(4, &["in use already"]);
    let grown = Orchestrator::start_as(&world, "grown", &["--database", &url], &[]).await;
    let streams = grown.api().list("streams").await.unwrap();
    assert_eq!(names(&streams), ["one", "two"]);

    // Somebody is in the way, and is named.
    let database = sea_orm::Database::connect(&url).await.unwrap();
    let held = sea_orm::TransactionTrait::begin(&database).await.unwrap();
    let lock = "LOCK TABLE stream IN ACCESS EXCLUSIVE MODE";
    sea_orm::ConnectionTrait::execute_unprepared(&held, lock)
        .await
        .unwrap();
    let waits = tokio::spawn({
        let api = grown.api();
        async move {
            let change = serde_json::json!({"streams": [{"name": "late", "source": "x"}]});
            let _ = api
                .send(reqwest::Method::PUT, "/api/v1/streams", Some(&change))
                .await;
        }
    });
    let named = streamkeeper_tests::wait::until(streamkeeper_tests::wait::GENEROUS, async || {
        // A look at the tables themselves would wait as well.
        match server.sql("SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")
        {
            none if none == "0" => Err("nobody waits".to_owned()),
            _ => Ok(()),
        }
    });
    named.await.unwrap();
    let said = run(&["doctor", "--database", &url]).await;
    assert!(said.stdout.contains("waits for a lock of process"), "{said:?}");
    held.rollback().await.unwrap();
    waits.await.unwrap();
    let said = run(&["doctor", "--database", "postgres://nobody@127.0.0.1:1/none"]).await;
    said.expect(1, &["one thing is an error"]);
}
