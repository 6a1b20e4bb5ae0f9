//! The actors: each hosts one machine of the core, performs its commands and arms one timer.
//!
//! There is no decision here: what a machine's command means for others is `streamkeeper_core::router`'s part. Every
//! actor runs on a thread of its own, so that one that is stuck stops no other.

mod alerts;
mod breakers;
mod gateway;
mod host;
mod hosted;
mod inbox;
mod lead;
mod mailbox;
mod perform;
mod shell;
mod start;
mod supervise;
#[cfg(test)]
mod tests;

pub use gateway::ActorGateway;
pub use inbox::ActorInbox;
pub use shell::{Ports, Settings, Shell};
pub use start::Actors;
pub use supervise::{Fatal, Supervision};
