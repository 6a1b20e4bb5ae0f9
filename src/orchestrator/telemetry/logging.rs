//! Logs go to stderr, because stdout belongs to the answers of the command line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error(
        "log filter {filter:?}: cannot be read; write one like \"info\" or \"info,streamkeeper_core=debug\""
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Sends logs of this process to stderr. A later call changes nothing: the first one holds.
///
/// # Errors
/// When the filter cannot be read.
pub fn init_logging(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let parsed = EnvFilter::try_new(filter).map_err(|source| LoggingError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let first = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    if first.is_err() {
        tracing::debug!("logging is set up already");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let error = init_logging(LogFormat::Text, "info,[").unwrap_err();
        assert!(error.to_string().contains("\"info,[\""), "{error}");
        assert!(init_logging(LogFormat::Json, "warn,actix_server=error").is_ok());
        assert!(init_logging(LogFormat::Text, "info").is_ok());
    }
}
