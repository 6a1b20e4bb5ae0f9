//! `bench`: what is promised in figures, measured with real processes.

mod cluster;
mod failover;
mod fleet;
mod heartbeats;
mod judge;
mod lead;
mod machine;
mod memory;
mod placement;
mod reader;
mod round;
mod store;
mod tally;

use clap::Subcommand;

pub(crate) use reader::{READER, reader_main};

use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measures how long streams are away when their worker dies, freezes or leaves, or their leader changes
    Failover(failover::FailoverArgs),
    /// Measures how long changes of assignments take to be stored
    Store(store::StoreArgs),
    /// Measures what a plan of placement costs, and how good it is
    Placement(placement::PlacementArgs),
    /// Measures how many heartbeats are handled, and how soon they are answered
    Heartbeats(heartbeats::HeartbeatsArgs),
    /// Measures what streams and workers cost in memory
    Memory(memory::MemoryArgs),
}

pub(crate) fn run(command: BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Failover(args) => failover::run(&args),
        BenchCommand::Store(args) => store::run(&args),
        BenchCommand::Placement(args) => placement::run(&args),
        BenchCommand::Heartbeats(args) => heartbeats::run(&args),
        BenchCommand::Memory(args) => memory::run(&args),
    }
}
