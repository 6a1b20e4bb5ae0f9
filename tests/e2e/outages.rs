//! Faults of real databases, one after the other under a running fleet whose streams are changed all the time. During each:
//! what runs goes on, and what is not stored is refused. After each: everything that was acknowledged is there, the alert
//! is over, and memory, database and workers agree.

mod scene;

use std::time::Duration;

use rustix::process::Signal;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, TransactionTrait};
use streamkeeper_tests::disk::SmallDisk;
use streamkeeper_tests::postgres::Postgres;
use tempfile::TempDir;

use scene::Scene;

/// How long a fault lasts that does not stop everything.
const WHILE: Duration = Duration::from_secs(4);

/// A transaction of somebody else.
async fn foreign(url: &str, sql: &str) -> (DatabaseConnection, DatabaseTransaction) {
    let database = sea_orm::Database::connect(url).await.unwrap();
    let held = database.begin().await.unwrap();
    held.execute_unprepared(sql).await.unwrap();
    (database, held)
}

const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE application_name LIKE 'streamkeeper%' AND pid <> pg_backend_pid()";

/// Some transactions fail as if they had met another one, and others wait at their commit, so that terminations find
/// them there.
const STORM: &str = "CREATE OR REPLACE FUNCTION storm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     IF random() < 0.4 THEN RAISE EXCEPTION 'provoked' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$; \
     CREATE TRIGGER storm BEFORE INSERT ON stream FOR EACH ROW EXECUTE FUNCTION storm()";
const SLOW_COMMIT: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     PERFORM pg_sleep(0.05); RETURN NEW; END $$; \
     CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON stream DEFERRABLE INITIALLY DEFERRED \
     FOR EACH ROW EXECUTE FUNCTION slow()";

#[tokio::test]
async fn postgresql_that_collides_ends_connections_and_is_locked() {
    let server = Postgres::start().await;
    let mut scene = Scene::start("outages-busy", &server.url()).await;

    let writer = scene.writer("storm");
    server.sql(STORM);
    tokio::time::sleep(WHILE).await;
    server.sql("DROP TRIGGER storm ON stream");
    scene.recovers("storm", writer).await;

    // So many of them that no retry helps.
    let writer = scene.writer("hurricane");
    server.sql(&STORM.replace("0.4", "2"));
    scene.noticed(&writer).await;
    server.sql("DROP TRIGGER storm ON stream");
    scene.recovers("hurricane", writer).await;

    // In the middle of transactions, and of commits.
    let writer = scene.writer("terminated");
    server.sql(SLOW_COMMIT);
    for _ in 0..12 {
        tokio::time::sleep(WHILE / 12).await;
        server.sql(TERMINATE);
    }
    server.sql("DROP TRIGGER slow ON stream");
    scene.recovers("terminated", writer).await;

    let writer = scene.writer("locked");
    let lock = "LOCK TABLE stream IN ACCESS EXCLUSIVE MODE";
    let (_database, held) = foreign(&server.url(), lock).await;
    scene.noticed(&writer).await;
    held.rollback().await.unwrap();
    scene.recovers("locked", writer).await;

    let writer = scene.writer("read-only");
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    server.sql("SELECT pg_reload_conf()");
    scene.noticed(&writer).await;
    // It writes a file and no table, so that it may be taken back here.
    server.sql("ALTER SYSTEM RESET default_transaction_read_only");
    server.sql("SELECT pg_reload_conf()");
    scene.recovers("read-only", writer).await;
    scene.begins_anew().await;
}

#[tokio::test]
async fn postgresql_that_is_full_of_connections_frozen_killed_and_restarted() {
    let mut server = Postgres::start().await;
    let mut scene = Scene::start("outages-away", &server.url()).await;

    let writer = scene.writer("connections");
    server.sql("ALTER ROLE keeper CONNECTION LIMIT 0");
    server.sql(TERMINATE);
    scene.noticed(&writer).await;
    server.sql("ALTER ROLE keeper CONNECTION LIMIT -1");
    scene.recovers("connections", writer).await;

    let writer = scene.writer("frozen");
    server.freeze(Signal::STOP);
    scene.noticed(&writer).await;
    server.freeze(Signal::CONT);
    scene.recovers("frozen", writer).await;

    let writer = scene.writer("killed");
    server.kill();
    scene.noticed(&writer).await;
    server.start_again().await;
    scene.recovers("killed", writer).await;

    let writer = scene.writer("restarted");
    server.stop().await;
    server.start_again().await;
    scene.recovers("restarted", writer).await;
    scene.begins_anew().await;
}

#[tokio::test]
async fn postgresql_on_a_full_disk() {
    let folder = TempDir::with_prefix("streamkeeper-postgres-").unwrap();
    let disk = SmallDisk::mount(folder.path(), 160);
    let mut server = Postgres::start_on(folder).await;
    let mut scene = Scene::start("outages-full", &server.url()).await;
    let writer = scene.writer("full");
    disk.fill();
    scene.noticed(&writer).await;
    disk.free();
    // A server that found no room for its log has ended.
    if !server.lives() {
        server.start_again().await;
    }
    scene.recovers("full", writer).await;
    scene.begins_anew().await;
    drop(scene);
    drop(server);
    drop(disk);
}

#[tokio::test]
async fn sqlite_that_is_locked_moved_away_full_read_only_and_removed() {
    let folder = TempDir::with_prefix("streamkeeper-sqlite-").unwrap();
    let mut disk = SmallDisk::mount(folder.path(), 8);
    let file = disk.folder().join("streams.db");
    let url = format!("sqlite://{}", file.display());
    let mut scene = Scene::start("outages-file", &url).await;

    let writer = scene.writer("locked");
    let (_database, held) = foreign(&url, "UPDATE leadership SET id = 1").await;
    scene.noticed(&writer).await;
    held.rollback().await.unwrap();
    scene.recovers("locked", writer).await;

    let writer = scene.writer("moved");
    let elsewhere = disk.folder().join("elsewhere.db");
    std::fs::rename(&file, &elsewhere).unwrap();
    scene.noticed(&writer).await;
    std::fs::rename(&elsewhere, &file).unwrap();
    scene.recovers("moved", writer).await;

    let writer = scene.writer("full");
    disk.fill();
    scene.noticed(&writer).await;
    disk.free();
    scene.recovers("full", writer).await;

    // Seen by connections that are made from now on; none of them is used for long.
    let writer = scene.writer("read-only");
    disk.forbid_writes();
    scene.noticed(&writer).await;
    disk.allow_writes();
    scene.recovers("read-only", writer).await;
    scene.begins_anew().await;
    scene.removed_for_good(&file, &url).await;
    drop(scene);
    drop(disk);
}
