//! Measurements over time, in three levels of detail.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "metric_sample";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table(TABLE)
            .col(ColumnDef::new("level").big_integer().not_null())
            .col(ColumnDef::new("name").text().not_null())
            .col(ColumnDef::new("labels").text().not_null())
            .col(ColumnDef::new("at_ms").big_integer().not_null())
            .col(ColumnDef::new("low").double().not_null())
            .col(ColumnDef::new("high").double().not_null())
            .col(ColumnDef::new("total").double().not_null())
            .col(ColumnDef::new("count").big_integer().not_null())
            // In the order of the questions: one metric, a span of time.
            .primary_key(Index::create().col("level").col("name").col("at_ms").col("labels"));
        manager.create_table(table).await?;
        // For what is rolled up, and forgotten.
        let mut index = Index::create();
        index
            .name("metric_sample_at")
            .table(TABLE)
            .col("level")
            .col("at_ms");
        manager.create_index(index).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await
    }
}
