//! The fence row: which leadership may write.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("leadership")
            .col(ColumnDef::new("id").integer().not_null().primary_key())
            .col(ColumnDef::new("term").big_integer().not_null())
            .col(ColumnDef::new("nonce").big_integer().not_null())
            .col(ColumnDef::new("longest_lease_ms").big_integer().not_null());
        manager.create_table(table).await?;
        let mut row = Query::insert();
        row.into_table("leadership")
            .columns(["id", "term", "nonce", "longest_lease_ms"])
            .values_panic([1.into(), 0_i64.into(), 0_i64.into(), 0_i64.into()]);
        manager.execute(row).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("leadership").to_owned())
            .await
    }
}
