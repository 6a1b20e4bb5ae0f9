//! The last moves that ended.

use sea_orm::entity::prelude::*;

/// One row of table `migration_move`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "migration_move")]
pub struct Model {
    /// Term of its leader << 32 | its number.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// The stream.
    #[sea_orm(column_type = "Text")]
    pub stream: String,
    /// Where it came from.
    #[sea_orm(column_type = "Text")]
    pub from_worker: String,
    /// Where it went.
    #[sea_orm(column_type = "Text")]
    pub to_worker: String,
    /// Why, as in the API.
    #[sea_orm(column_type = "Text")]
    pub reason: String,
    /// How, as in the API.
    #[sea_orm(column_type = "Text")]
    pub way: String,
    /// How it ended, as in the API.
    #[sea_orm(column_type = "Text")]
    pub state: String,
    /// What went wrong, in words; empty: nothing.
    #[sea_orm(column_type = "Text")]
    pub detail: String,
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: i64,
    /// How long nobody ran it; -1: not known.
    pub gap_ms: i64,
    /// How long both ran it; -1: not known.
    pub overlap_ms: i64,
}

/// The stream may be deleted after its move.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
