//! What a stream wants of its place: preferred labels, a spread key, a pin.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One by one: SQLite adds one column at a time.
        for column in [
            ColumnDef::new("prefers")
                .text()
                .not_null()
                .default("{}")
                .to_owned(),
            // Neither is ever empty: an empty text is none.
            ColumnDef::new("spread").text().not_null().default("").to_owned(),
            ColumnDef::new("pin").text().not_null().default("").to_owned(),
        ] {
            let mut table = Table::alter();
            table.table("stream").add_column(column);
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["prefers", "spread", "pin"] {
            let mut table = Table::alter();
            table.table("stream").drop_column(column);
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
