//! Declared streams.

use sea_orm::entity::prelude::*;

/// One row of table `stream`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "stream")]
pub struct Model {
    /// The stream's name.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub name: String,
    /// Where it comes from.
    #[sea_orm(column_type = "Text")]
    pub source: String,
    /// Whether it should run.
    pub enabled: bool,
    /// How much of a worker's capacity it takes.
    #[sea_orm(column_type = "Double")]
    pub weight: f64,
    /// Lower ones yield first.
    pub priority: i32,
    /// `available` or `exclusive`.
    #[sea_orm(column_type = "Text")]
    pub ownership: String,
    /// `replace` or `hold`.
    #[sea_orm(column_type = "Text")]
    pub on_owner_lost: String,
    /// How long after the time-out its owner counts as lost for it, in milliseconds; -1 where nothing is declared.
    pub lost_after_ms: i64,
    /// Labels, a JSON object of texts.
    #[sea_orm(column_type = "Text")]
    pub labels: String,
    /// Labels that the worker must have, a JSON object of texts.
    #[sea_orm(column_type = "Text")]
    pub requires: String,
    /// Labels that the worker should have, a JSON object of texts.
    #[sea_orm(column_type = "Text")]
    pub prefers: String,
    /// Streams of the same key keep apart; empty: none.
    #[sea_orm(column_type = "Text")]
    pub spread: String,
    /// The only worker that may run it; empty: any.
    #[sea_orm(column_type = "Text")]
    pub pin: String,
}

/// No foreign keys: a stream may be deleted while its assignment is still being ended.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
