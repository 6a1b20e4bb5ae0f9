//! How SQLite answers what is asked often: by an index, never by a look through a whole table. It decides without knowing how
//! many rows there are, so that a few say what a million would. PostgreSQL decides by their number, see
//! `tests/integration/store/plans.rs`.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::StreamId;

use super::{SeaStore, StoreOptions, page, write};

const BACKEND: DbBackend = DbBackend::Sqlite;

/// The steps of the plan of a statement.
async fn plan(database: &DatabaseConnection, mut statement: Statement) -> Vec<String> {
    statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
    let rows = database.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| row.try_get("", "detail").unwrap())
        .collect()
}

fn looks_through(plan: &[String]) -> bool {
    let whole = ["SCAN stream", "SCAN assignment", "SCAN stored", "USE TEMP B-TREE"];
    plan.iter()
        .any(|step| whole.iter().any(|begin| step.starts_with(begin)))
}

#[tokio::test]
async fn what_is_asked_often_is_found_by_index() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SeaStore::open(&url, &StoreOptions::default()).await.unwrap();
    let name = StreamId::new("s").unwrap();
    let grant = || ["s".into(), "w".into(), "0".into(), 1_i64.into(), 1_i64.into()];
    let often = [
        write::put_streams(
            BACKEND,
            vec![write::stream_row(&StreamSpec::new(name.clone(), "x"))],
        ),
        write::delete_streams(BACKEND, vec![["s".into()]]),
        write::put_rows(BACKEND, vec![grant()], "<"),
        write::put_rows(BACKEND, vec![grant()], "<="),
        write::clear_rows(BACKEND, vec![["s".into(), 1_i64.into()]]),
        page::statement(BACKEND, page::STREAMS, "a", None, 10),
        page::statement(BACKEND, page::STREAMS, "a", Some(&name), 10),
        page::statement(BACKEND, page::ASSIGNMENTS, "a", None, 10),
        page::statement(BACKEND, page::ASSIGNMENTS, "a", Some(&name), 10),
    ];
    let database = &store.pool.database;
    for statement in often {
        let text = statement.sql.clone();
        let plan = plan(database, statement).await;
        assert!(!looks_through(&plan), "{text}: {plan:#?}");
    }
    let all = Statement::from_string(BACKEND, "SELECT * FROM stream WHERE source = 'x'");
    assert!(
        looks_through(&plan(database, all).await),
        "nothing would be found"
    );
}
