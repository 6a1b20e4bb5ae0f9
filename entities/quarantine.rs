//! Streams that are left alone, because their source is at fault.

use sea_orm::entity::prelude::*;

/// One row of table `quarantine`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "quarantine")]
pub struct Model {
    /// The stream.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub stream: String,
    /// A JSON list of the workers on which it failed.
    #[sea_orm(column_type = "Text")]
    pub tried: String,
    /// How often it was left alone so far, this time included.
    pub rounds: i32,
    /// When other workers are tried again, in milliseconds since 1970.
    pub until_ms: i64,
}

/// The stream may be deleted before its quarantine is over.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
