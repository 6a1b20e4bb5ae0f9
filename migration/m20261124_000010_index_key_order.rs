//! Both tables in the order of their keys' bytes: the consistency check reads them page by page, beside its own sorted
//! memory. PostgreSQL orders texts by the rules of a language otherwise, and its primary keys as well; SQLite does not.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table, column) in INDEXES {
            let sql = format!("CREATE INDEX {name} ON {table} ({column} COLLATE \"C\")");
            on_postgres(manager, &sql).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, ..) in INDEXES {
            on_postgres(manager, &format!("DROP INDEX {name}")).await?;
        }
        Ok(())
    }
}

const INDEXES: [(&str, &str, &str); 2] = [
    ("stream_name_bytes", "stream", "name"),
    ("assignment_stream_bytes", "assignment", "stream"),
];

async fn on_postgres(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Postgres {
        manager.get_connection().execute_unprepared(sql).await?;
    }
    Ok(())
}
