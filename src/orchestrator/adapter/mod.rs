//! Implementations of the ports: one folder per outside system.

pub mod alert;
pub mod breaker;
pub mod http;
pub mod nats;
pub mod store;
pub mod system;
