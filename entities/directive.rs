//! What operators ordered and what stands until they take it back.

use sea_orm::entity::prelude::*;

/// One row of table `directive`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "directive")]
pub struct Model {
    /// `cordon`, `drain`, `freeze` or `pause`.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub kind: String,
    /// The worker or the stream; `fleet` for a pause.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub subject: String,
    /// Why, as the operator said.
    #[sea_orm(column_type = "Text")]
    pub reason: String,
    /// When it ends by itself, in milliseconds since 1970; 0: when it is taken back.
    pub until_ms: i64,
}

/// A worker or a stream may be unknown while something is ordered for it.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
