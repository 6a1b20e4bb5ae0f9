//! What a leader knows of moves and of streams in trouble, for the next one.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("open_move")
            .col(ColumnDef::new("stream").text().not_null().primary_key())
            .col(ColumnDef::new("to_worker").text().not_null())
            .col(ColumnDef::new("reason").text().not_null());
        manager.create_table(table).await?;
        let mut table = Table::create();
        table
            .table("migration_move")
            .col(ColumnDef::new("id").big_integer().not_null().primary_key());
        for column in TEXTS {
            table.col(ColumnDef::new(column).text().not_null());
        }
        for column in NUMBERS {
            table.col(ColumnDef::new(column).big_integer().not_null());
        }
        manager.create_table(table).await?;
        let mut table = Table::create();
        table
            .table("quarantine")
            .col(ColumnDef::new("stream").text().not_null().primary_key())
            .col(ColumnDef::new("tried").text().not_null())
            .col(ColumnDef::new("rounds").integer().not_null())
            .col(ColumnDef::new("until_ms").big_integer().not_null());
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["quarantine", "migration_move", "open_move"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

const TEXTS: [&str; 7] = [
    "stream",
    "from_worker",
    "to_worker",
    "reason",
    "way",
    "state",
    "detail",
];
const NUMBERS: [&str; 4] = ["began_ms", "ended_ms", "gap_ms", "overlap_ms"];
