//! sea-orm entities, without logic.

pub mod alert;
pub mod assignment;
pub mod directive;
pub mod leadership;
pub mod silence;
pub mod stream;
