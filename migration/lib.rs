//! Schema changes, one per file.

use sea_orm_migration::MigrationTrait;
pub use sea_orm_migration::MigratorTrait;

mod m20261124_000001_create_stream;
mod m20261124_000002_create_assignment;
mod m20261124_000003_create_leadership;
mod m20261124_000004_create_progress;
mod m20261124_000005_create_directive;
mod m20261124_000006_add_placement;
mod m20261124_000007_add_owner_policies;
mod m20261124_000010_index_key_order;
mod m20261124_000011_create_alert;
mod m20261124_000018_create_audit_event;
mod m20261124_000019_create_metric_sample;
mod m20261124_000020_create_silence;
mod m20261124_000022_add_incident;
mod m20261124_000025_create_move;

/// Every schema change that this version knows, oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261124_000001_create_stream::Migration),
            Box::new(m20261124_000002_create_assignment::Migration),
            Box::new(m20261124_000003_create_leadership::Migration),
            Box::new(m20261124_000004_create_progress::Migration),
            Box::new(m20261124_000005_create_directive::Migration),
            Box::new(m20261124_000006_add_placement::Migration),
            Box::new(m20261124_000007_add_owner_policies::Migration),
            Box::new(m20261124_000010_index_key_order::Migration),
            Box::new(m20261124_000011_create_alert::Migration),
            Box::new(m20261124_000018_create_audit_event::Migration),
            Box::new(m20261124_000019_create_metric_sample::Migration),
            Box::new(m20261124_000020_create_silence::Migration),
            Box::new(m20261124_000022_add_incident::Migration),
            Box::new(m20261124_000025_create_move::Migration),
        ]
    }
}
