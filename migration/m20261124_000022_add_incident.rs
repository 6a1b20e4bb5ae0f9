//! Which alerts belong together, and which one explains them.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column each: SQLite adds no two at a time.
        for column in [
            ColumnDef::new("incident_term")
                .big_integer()
                .not_null()
                .default(0),
            ColumnDef::new("incident_number")
                .big_integer()
                .not_null()
                .default(0),
            ColumnDef::new("explained_by").text().not_null().default(""),
        ] {
            let table = Table::alter().table("alert").add_column(column).to_owned();
            manager.alter_table(table).await?;
        }
        let mut index = Index::create();
        index
            .name(INDEX)
            .table("alert")
            .col("incident_term")
            .col("incident_number");
        manager.create_index(index).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut index = Index::drop();
        index.name(INDEX).table("alert");
        manager.drop_index(index).await?;
        for column in ["incident_term", "incident_number", "explained_by"] {
            let table = Table::alter().table("alert").drop_column(column).to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}

const INDEX: &str = "alert_incident";
