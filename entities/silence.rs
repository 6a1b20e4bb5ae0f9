//! What people want to hear nothing of, and when.

use sea_orm::entity::prelude::*;

/// One row of table `silence`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "silence")]
pub struct Model {
    /// Its name.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub id: String,
    /// A JSON list of conditions on labels, such as `worker=a`.
    #[sea_orm(column_type = "Text")]
    pub matchers: String,
    /// When it begins, the first time, in milliseconds since 1970.
    pub starts_ms: i64,
    /// When it ends, the first time.
    pub ends_ms: i64,
    /// After which time it begins again; 0: never.
    pub every_ms: i64,
    /// Who wants it.
    #[sea_orm(column_type = "Text")]
    pub author: String,
    /// Why.
    #[sea_orm(column_type = "Text")]
    pub reason: String,
}

/// What is silent may not have happened yet.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
