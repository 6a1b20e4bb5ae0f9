//! Logs and metrics.

mod history;
mod logging;
pub mod metrics;
mod snapshot;

pub use history::{KEPT, samples};
pub use logging::{LogFormat, LoggingError, init_logging};
pub use metrics::{MetricsError, install_metrics};
pub use snapshot::{record_findings, record_snapshot};
