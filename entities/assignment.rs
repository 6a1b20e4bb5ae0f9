//! Who may run a stream.

use sea_orm::entity::prelude::*;

/// One row of table `assignment`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "assignment")]
pub struct Model {
    /// The stream's name.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub stream: String,
    /// The worker.
    #[sea_orm(column_type = "Text", indexed)]
    pub worker: String,
    /// The worker's session: 32 hexadecimal digits.
    #[sea_orm(column_type = "Text")]
    pub session: String,
    /// The fencing token.
    pub epoch: i64,
    /// When the row was written, in milliseconds since 1970. For people only: no decision reads it.
    pub updated_at: i64,
}

/// No foreign keys: a stream may be deleted while its assignment is still being ended.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
