//! The decisions of streamkeeper. No clock, no entropy, no IO, no runtime: every module is driven by events and
//! answers with commands, so that the orchestrator and the simulator run the same code.

pub mod balancer;
pub mod cluster;
pub mod coordinator;
pub mod heartbeat_tracker;
pub mod record;
pub mod request;
pub mod spec;
pub mod time;
