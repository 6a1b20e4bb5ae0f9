//! Pure building blocks for retries and overload; time and randomness are arguments.

pub mod backoff;
pub mod breaker;
pub mod budget;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerState};
pub use budget::Budget;
