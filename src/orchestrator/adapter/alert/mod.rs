//! Alerts on their way to people: the servers of an Alertmanager, and the log.

mod alertmanager;
mod log;
mod post;

use std::borrow::Cow;

pub use alertmanager::{Alertmanager, MAX_SERVERS};
pub use log::LogSink;

/// Hides secrets: what leaves the fleet holds none.
pub type Mask = for<'a> fn(&'a str) -> Cow<'a, str>;
