//! What actors and adapters may ask of each other: traits and plain values, no implementation.

pub mod bus;
pub mod store;

pub use bus::{Bus, BusError, Inbox};
pub use store::{Store, StoreError, TakenOver};
