//! What becomes of a stream whose owner is lost.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column each: SQLite adds no two at a time.
        for column in [
            ColumnDef::new("on_owner_lost")
                .text()
                .not_null()
                .default("replace"),
            ColumnDef::new("lost_after_ms")
                .big_integer()
                .not_null()
                .default(-1),
        ] {
            let table = Table::alter().table("stream").add_column(column).to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["on_owner_lost", "lost_after_ms"] {
            let table = Table::alter().table("stream").drop_column(column).to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
