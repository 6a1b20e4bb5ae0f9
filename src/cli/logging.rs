//! Where and how the long-running verbs log.

use clap::{Args, ValueEnum};
use streamkeeper_orchestrator::telemetry::{self, LogFormat};

use crate::failure::Failure;

/// The own words only: libraries report in their own way what this program reports already, and not always without
/// secrets.
const DEFAULT_FILTER: &str = "info,async_nats=off,sea_orm_migration=warn,actix_server=warn";

#[derive(Debug, Clone, Args)]
pub(crate) struct LogArgs {
    /// How log lines look; they go to stderr
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: Format,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,streamkeeper_core=debug
    #[arg(long, default_value = DEFAULT_FILTER, value_name = "LEVEL", env = "STREAMKEEPER_LOG")]
    log: String,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl LogArgs {
    pub(crate) fn start(&self) -> Result<(), Failure> {
        let format = match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        telemetry::init_logging(format, &self.log).map_err(|error| Failure::usage(format!("--log: {error}")))
    }
}
