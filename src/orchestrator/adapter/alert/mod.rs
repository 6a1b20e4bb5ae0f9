//! Alerts on their way to people: the servers of an Alertmanager, a webhook, and the log.

mod alertmanager;
mod log;
mod post;
mod webhook;

use std::borrow::Cow;

pub use alertmanager::{Alertmanager, MAX_SERVERS};
pub use log::LogSink;
pub use webhook::{Webhook, WebhookOptions};

/// Hides secrets: what leaves the fleet holds none.
pub type Mask = for<'a> fn(&'a str) -> Cow<'a, str>;
