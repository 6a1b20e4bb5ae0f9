//! The worker SDK.

pub mod session;

pub use session::{Command, Event, Millis, Session, SessionConfig};
