//! A database that is put back to an older copy under a running leader that has nothing to write.

use sea_orm::ConnectionTrait;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::state::Watermark;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(an_idle_leader_notices_an_older_copy);

const TABLES: [&str; 4] = ["stream", "assignment", "leadership", "progress"];

async fn sql(url: &str, statements: &[String]) {
    let database = sea_orm::Database::connect(url).await.unwrap();
    // In one transaction, as a restore is seen by others.
    let all = format!("BEGIN; {}; COMMIT", statements.join("; "));
    database.execute_unprepared(&all).await.unwrap();
    database.close().await.unwrap();
}

async fn an_idle_leader_notices_an_older_copy(kind: DatabaseKind) {
    let world = World::on(kind, "restored");
    let file = format!(
        "sqlite://{}?mode=rwc",
        world.folder().join("streams.db").display()
    );
    let (url, args) = match world.database_url() {
        Some(url) => (url.to_owned(), vec![]),
        None => (file.clone(), vec!["--database", &file]),
    };
    let orchestrator = Orchestrator::start(&world, &args).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let agent = Agent::start(
        &world,
        "restored-a",
        &["--exec", "sleep {source}", "--data", &data],
    );
    api.workers_alive(1).await;
    api.declare(&[("old-1", "100000"), ("old-2", "100000")]).await;
    let mut watermark = Watermark::default();
    let old = api.all_running(2).await;
    watermark.rises(&old);
    let copy = TABLES.map(|table| format!("CREATE TABLE copy_{table} AS SELECT * FROM {table}"));
    sql(&url, &copy).await;
    api.declare(&[("new", "100000")]).await;
    watermark.rises(&api.all_running(3).await);
    let mut commands = agent.commands(&world);
    commands.remove("new");

    let term = async || api.get("/api/v1/leader").await.unwrap()["term"].as_u64().unwrap();
    let before = term().await;
    let back =
        TABLES.map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy_{table}"));
    sql(&url, &back).await;
    let noticed = wait::until(wait::GENEROUS, async || match term().await {
        now if now > before => Ok(()),
        now => Err(format!("the term is {now}")),
    });
    noticed.await.unwrap();
    // What runs goes on under the epochs that it had; what the copy does not know has ended.
    assert_eq!(api.all_running(2).await, old);
    let ended = wait::until(wait::GENEROUS, async || match agent.commands(&world) {
        now if now == commands => Ok(()),
        now => Err(format!("{now:?} instead of {commands:?}")),
    });
    ended.await.unwrap();

    // A name that comes again gets an epoch that was never given.
    api.declare(&[("new", "100000")]).await;
    let again = api.all_running(3).await;
    watermark.rises(&again);
}

/// As `docs/STORE.md` says it, word for word.
#[tokio::test]
async fn an_older_dump_of_postgresql_gives_no_epoch_again() {
    let world = World::on(DatabaseKind::Postgresql, "dumped");
    let url = world.database_url().unwrap();
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let agent = Agent::start(&world, "dumped-a", &["--exec", "sleep {source}", "--data", &data]);
    api.workers_alive(1).await;
    api.declare(&[("old-1", "100000"), ("old-2", "100000")]).await;
    let mut watermark = Watermark::default();
    let old = api.all_running(2).await;
    watermark.rises(&old);
    let file = world.folder().join("streams.dump");
    let file = file.to_string_lossy();
    Postgres::program("pg_dump", &["--format=custom", &format!("--file={file}"), url]);
    api.declare(&[("new", "100000")]).await;
    watermark.rises(&api.all_running(3).await);
    let mut commands = agent.commands(&world);
    commands.remove("new");

    orchestrator.terminate().await;
    let dbname = format!("--dbname={url}");
    Postgres::program("pg_restore", &["--clean", "--if-exists", &dbname, &file]);
    let raised = world.run(&["db", "raise-term", "--database", url]).await;
    raised.expect(0, &[]);
    orchestrator.restart(&world).await;
    assert_eq!(api.all_running(2).await, old);
    let ended = wait::until(wait::GENEROUS, async || match agent.commands(&world) {
        now if now == commands => Ok(()),
        now => Err(format!("{now:?} instead of {commands:?}")),
    });
    ended.await.unwrap();
    api.declare(&[("new", "100000")]).await;
    watermark.rises(&api.all_running(3).await);
}
