//! The decisions of streamkeeper. No clock, no entropy, no IO, no runtime: every module is driven by events and
//! answers with commands, so that the orchestrator and the simulator run the same code.

pub mod alert_manager;
pub mod balancer;
pub mod blame;
pub mod cluster;
pub mod consistency_checker;
pub mod contradiction;
pub mod coordinator;
pub mod directive;
pub mod effect;
pub mod election;
pub mod forecast;
pub mod graveyard;
pub mod heartbeat_tracker;
pub mod invariant;
pub mod kept;
pub mod labels;
pub mod machine;
pub mod migration;
pub mod notice;
pub mod placement;
pub mod record;
pub mod recovery_manager;
pub mod request;
pub mod revive;
pub mod router;
pub mod spec;
pub mod system_health;
pub mod time;

pub use machine::Machine;
