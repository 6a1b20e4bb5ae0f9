//! How many transactions the present leadership has committed: a database that knows fewer was put back to an older copy.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("progress")
            .col(ColumnDef::new("id").integer().not_null().primary_key())
            .col(ColumnDef::new("transactions").big_integer().not_null());
        manager.create_table(table).await?;
        let mut row = Query::insert();
        row.into_table("progress")
            .columns(["id", "transactions"])
            .values_panic([1.into(), 0_i64.into()]);
        manager.execute(row).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("progress").to_owned())
            .await
    }
}
