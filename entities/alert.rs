//! Alerts: one row for each time that one fired.

use sea_orm::entity::prelude::*;

/// One row of table `alert`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alert")]
pub struct Model {
    /// Names the alert over all its changes: 16 hexadecimal digits.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub fingerprint: String,
    /// When it began, in milliseconds since 1970.
    #[sea_orm(primary_key, auto_increment = false)]
    pub began_ms: i64,
    /// The rule's name.
    #[sea_orm(column_type = "Text")]
    pub rule: String,
    /// `info`, `warning` or `critical`.
    #[sea_orm(column_type = "Text")]
    pub severity: String,
    /// A JSON object: what it is about.
    #[sea_orm(column_type = "Text")]
    pub labels: String,
    /// A JSON object of texts for people.
    #[sea_orm(column_type = "Text")]
    pub annotations: String,
    /// When it changed last.
    pub changed_ms: i64,
    /// When it was over; 0: it fires.
    pub resolved_ms: i64,
    /// Who has taken it on; empty: nobody.
    #[sea_orm(column_type = "Text")]
    pub acknowledged_by: String,
    /// When that was.
    pub acknowledged_ms: i64,
    /// Until when that holds; 0: as long as it fires.
    pub acknowledged_until_ms: i64,
    /// Counts what consumers are to be told.
    pub change_count: i64,
    /// A JSON object: the newest change that each sink has taken.
    #[sea_orm(column_type = "Text")]
    pub delivered: String,
    /// Whether a sink has not taken the newest change yet.
    pub pending: bool,
    /// A JSON object: where what it is about is, such as the zone of its worker.
    #[sea_orm(column_type = "Text")]
    pub context: String,
    /// The silence that keeps it quiet; empty: none.
    #[sea_orm(column_type = "Text")]
    pub suppressed_by: String,
    /// The term under which its incident began; 0: it was stored before there were incidents.
    pub incident_term: i64,
    /// The number of its incident within that term.
    pub incident_number: i64,
    /// The fingerprint of the alert that explains it; empty: none.
    #[sea_orm(column_type = "Text")]
    pub explained_by: String,
}

/// Alerts outlive what they are about.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
