//! Who may run a stream.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("assignment")
            .col(ColumnDef::new("stream").text().not_null().primary_key())
            .col(ColumnDef::new("worker").text().not_null())
            .col(ColumnDef::new("session").text().not_null())
            .col(ColumnDef::new("epoch").big_integer().not_null())
            .col(ColumnDef::new("updated_at").big_integer().not_null());
        manager.create_table(table).await?;
        let mut index = Index::create();
        index.name("assignment_worker").table("assignment").col("worker");
        manager.create_index(index).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("assignment").to_owned())
            .await
    }
}
