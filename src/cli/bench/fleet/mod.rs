//! A fleet that costs nearly nothing, so that the orchestrator is what is measured: one connection speaks for all workers,
//! and none of them runs anything. The orchestrator, its message server and its database are real.

mod puppets;
mod serve;
mod wire;

pub(super) use puppets::Puppets;
pub(super) use serve::Serve;
