//! The message bus: NATS behind [`crate::port::Bus`], and a nats-server of our own where nobody else runs one.

mod address;
mod advisories;
mod alerts;
mod bus;
mod keep;
mod leader_key;
mod link;
mod managed;
mod metrics;
mod parts;
mod refusal;
mod write;

pub use address::{NatsError, NatsSettings};
pub use advisories::watch_advisories;
pub use bus::NatsBus;
pub use leader_key::NatsLeaderKey;
pub use managed::{ManagedError, ManagedNats, ManagedOptions, linger_main, locate_server};
