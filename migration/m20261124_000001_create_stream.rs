//! Declared streams.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("stream")
            .col(ColumnDef::new("name").text().not_null().primary_key())
            .col(ColumnDef::new("source").text().not_null())
            .col(ColumnDef::new("enabled").boolean().not_null())
            .col(ColumnDef::new("weight").double().not_null())
            .col(ColumnDef::new("priority").integer().not_null())
            .col(ColumnDef::new("ownership").text().not_null())
            .col(ColumnDef::new("labels").text().not_null())
            .col(ColumnDef::new("requires").text().not_null());
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("stream").to_owned()).await
    }
}
