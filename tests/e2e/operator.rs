//! What operators do with the database, by the command line.

use serde_json::Value;
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::http::Api;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

#[tokio::test]
async fn a_user_outgrows_sqlite_and_takes_a_backup_along() {
    let world = World::new("operator");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    api.declare(&[("one", "x"), ("two", "x")]).await;
    let base = api.base().to_owned();
    let silence = silence_unplaced(&world, &base).await;
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
    alert_is_silent_until_somebody_wants_it(&world, &api, &silence).await;
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

/// No worker is there yet, and nobody has to be told. Says the name of the silence.
async fn silence_unplaced(world: &World, server: &str) -> String {
    let add = ["silences", "add", "alertname=streams_unplaced", "--for", "1h"];
    let why = ["--by", "Ada", "--reason", "no worker yet", "--server", server];
    let wrong = [&["silences", "add", "alertname", "--for", "1h"][..], &why].concat();
    world.run(&wrong).await.expect(4, &["/matchers/0", "worker=a"]);
    let added = world.run(&[&add[..], &why, &["-o", "json"]].concat()).await;
    added.expect(0, &[]);
    added.json()["id"].as_str().unwrap().to_owned()
}

/// The silence came back with the copy, in which it was.
async fn alert_is_silent_until_somebody_wants_it(world: &World, api: &Api, silence: &str) {
    let server = api.base();
    let status = async |expected: &str| {
        let shown = wait::until(wait::GENEROUS, async || {
            let alerts = api.list("alerts").await?;
            let found = alerts.iter().find(|alert| alert["rule"] == "streams_unplaced");
            let found = found.filter(|alert| alert["status"] == expected);
            found
                .cloned()
                .ok_or_else(|| format!("no alert that is {expected}: {alerts:?}"))
        });
        shown.await.unwrap_or_else(|reason| panic!("{reason}"))
    };
    let quiet = status("suppressed").await;
    assert_eq!(quiet["suppressed_by"].as_str(), Some(silence));
    assert_eq!(quiet["delivery"]["alerts_nats"], "waiting", "{quiet}");
    let listed = world.run(&["silences", "list", "--server", server]).await;
    listed.expect(0, &[]);
    assert!(
        listed.stdout.contains(silence) && listed.stdout.contains("no worker yet"),
        "{listed:?}"
    );
    let fingerprint = quiet["fingerprint"].as_str().unwrap();
    let take = ["alerts", "ack", fingerprint, "--by", "Ada", "--server", server];
    world.run(&take).await.expect(0, &[]);
    let remove = ["maintenance", "remove", silence, "--server", server];
    world.run(&remove).await.expect(0, &[]);
    world.run(&remove).await.expect(4, &["silence"]);
    status("acknowledged").await;
    let told = api.told_alert("streams_unplaced").await;
    assert_eq!(told["acknowledged"]["by"], "Ada");
    let shown = world
        .run(&["alerts", "show", fingerprint, "--server", server])
        .await;
    assert!(shown.stdout.contains("acknowledged"), "{shown:?}");
}
