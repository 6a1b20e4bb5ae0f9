//! What happened and who did what: one row each, appended only.

use sea_orm_migration::prelude::*;

/// The schema change.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "audit_event";

/// (name, columns): each question has its own. `origin` tells a batch that is written a second time.
const INDEXES: [(&str, &[&str]); 3] = [
    ("audit_event_at", &["at_ms", "id"]),
    ("audit_event_kind", &["kind", "id"]),
    ("audit_event_subject", &["subject", "id"]),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table(TABLE)
            .col(ColumnDef::new("id").big_integer().not_null().primary_key())
            .col(ColumnDef::new("origin").text().not_null().unique_key())
            .col(ColumnDef::new("at_ms").big_integer().not_null());
        for text in ["kind", "actor", "cause", "correlation", "subject", "fields"] {
            table.col(ColumnDef::new(text).text().not_null());
        }
        manager.create_table(table).await?;
        for (name, columns) in INDEXES {
            let mut index = Index::create();
            index.name(name).table(TABLE);
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await
    }
}
