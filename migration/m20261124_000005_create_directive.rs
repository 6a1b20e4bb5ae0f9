//! What operators ordered and what stands until they take it back.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("directive")
            .col(ColumnDef::new("kind").text().not_null())
            .col(ColumnDef::new("subject").text().not_null())
            .col(ColumnDef::new("reason").text().not_null())
            .col(ColumnDef::new("until_ms").big_integer().not_null())
            .primary_key(Index::create().col("kind").col("subject"));
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("directive").to_owned())
            .await
    }
}
