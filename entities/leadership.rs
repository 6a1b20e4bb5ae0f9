//! The fence: which leadership may write.

use sea_orm::entity::prelude::*;

/// The only row of table `leadership`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "leadership")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The leadership's term; 0 in a new database.
    pub term: i64,
    /// The bits of the leadership's random number.
    pub nonce: i64,
    /// The longest lease that any leadership ever used, in milliseconds.
    pub longest_lease_ms: i64,
}

/// The table stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
