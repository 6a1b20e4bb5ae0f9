//! Moves that were acknowledged, and have not ended.

use sea_orm::entity::prelude::*;

/// One row of table `open_move`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "open_move")]
pub struct Model {
    /// The stream.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub stream: String,
    /// Where it goes.
    #[sea_orm(column_type = "Text")]
    pub to_worker: String,
    /// Why, as in the API.
    #[sea_orm(column_type = "Text")]
    pub reason: String,
}

/// The stream may be deleted before its move ends.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
