//! What people want to hear nothing of; what an alert is about beyond its identity, and which silence keeps it quiet.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("silence")
            .col(ColumnDef::new("id").text().not_null().primary_key())
            .col(ColumnDef::new("matchers").text().not_null())
            .col(ColumnDef::new("starts_ms").big_integer().not_null())
            .col(ColumnDef::new("ends_ms").big_integer().not_null())
            .col(ColumnDef::new("every_ms").big_integer().not_null())
            .col(ColumnDef::new("author").text().not_null())
            .col(ColumnDef::new("reason").text().not_null());
        manager.create_table(table).await?;
        for (column, default) in ADDED {
            let mut table = Table::alter();
            table
                .table("alert")
                .add_column(ColumnDef::new(column).text().not_null().default(default));
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (column, _) in ADDED {
            let mut table = Table::alter();
            table.table("alert").drop_column(column);
            manager.alter_table(table).await?;
        }
        manager
            .drop_table(Table::drop().table("silence").to_owned())
            .await
    }
}

const ADDED: [(&str, &str); 2] = [("context", "{}"), ("suppressed_by", "")];
