//! sea-orm entities, without logic.

pub mod alert;
pub mod assignment;
pub mod directive;
pub mod leadership;
pub mod migration_move;
pub mod open_move;
pub mod quarantine;
pub mod silence;
pub mod stream;
