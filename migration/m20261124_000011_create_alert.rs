//! Alerts from their beginning to their end, and what consumers were told of them.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("alert")
            .col(ColumnDef::new("fingerprint").text().not_null())
            .col(ColumnDef::new("began_ms").big_integer().not_null())
            .col(ColumnDef::new("rule").text().not_null())
            .col(ColumnDef::new("severity").text().not_null())
            .col(ColumnDef::new("labels").text().not_null())
            .col(ColumnDef::new("annotations").text().not_null())
            .col(ColumnDef::new("changed_ms").big_integer().not_null())
            .col(ColumnDef::new("resolved_ms").big_integer().not_null())
            .col(ColumnDef::new("acknowledged_by").text().not_null())
            .col(ColumnDef::new("acknowledged_ms").big_integer().not_null())
            .col(ColumnDef::new("acknowledged_until_ms").big_integer().not_null())
            .col(ColumnDef::new("change_count").big_integer().not_null())
            .col(ColumnDef::new("delivered").text().not_null())
            .col(ColumnDef::new("pending").boolean().not_null())
            .primary_key(Index::create().col("fingerprint").col("began_ms"));
        manager.create_table(table).await?;
        // What a new leadership reads: what fires, and what somebody still has to be told. Old ones are looked for by age.
        for (name, column) in INDEXES {
            let mut index = Index::create();
            index.name(name).table("alert").col(column);
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("alert").to_owned()).await
    }
}

const INDEXES: [(&str, &str); 2] = [("alert_resolved", "resolved_ms"), ("alert_pending", "pending")];
