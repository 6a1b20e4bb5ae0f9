//! The shape of every decision module.

use crate::time::Timestamp;

/// A decision module: driven by events and time, answering with commands. It reads no clock and does no IO, so the
/// orchestrator's actors and the simulator run the same code.
pub trait Machine {
    /// What it is told.
    type Event;
    /// What it wants done.
    type Command;

    /// Takes one event.
    fn handle(&mut self, now: Timestamp, event: Self::Event) -> Vec<Self::Command>;

    /// When [`Self::tick`] is due, if nothing happens before.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// The event that says "time passed".
    fn tick() -> Self::Event;
}
