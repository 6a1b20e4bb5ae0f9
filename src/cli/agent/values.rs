//! The values that flags of `agent` take.

use std::time::Duration;

use clap::ValueEnum;

/// Least bytes of `--memory-max`: with less, hardly a program starts.
const MIN_MEMORY: u64 = 1024 * 1024;

/// What runs streams instead of a command.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum BuiltIn {
    /// Reads live HTTP and Icecast streams
    Http,
}

/// Where the output of commands goes.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum Output {
    /// Line by line into the log, passwords of URLs masked, 20 lines a second of each and 200 at once
    #[default]
    Log,
    /// Nowhere; only the end of stderr is kept, as the reason of a failure
    Discard,
    /// To the agent's stderr as it is
    Inherit,
}

/// What to do where limits cannot be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Strictness {
    /// Go on without
    #[default]
    Try,
    /// Do not start
    Required,
}

/// A number that something may be divided by.
pub(super) fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight > 0.0 => Ok(weight),
        _ => Err("write a number above 0".to_owned()),
    }
}

/// A time that something may take.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("write a time above 0, such as 10s".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// A part of a line.
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.contains('\n') {
        return Err("write what is in one line, such as progress=".to_owned());
    }
    Ok(text.to_owned())
}

/// A number of bytes with one of the units K, M, G, each 1,024 times the one before.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(number) if text.ends_with('K') => (number, 10),
        Some(number) if text.ends_with('M') => (number, 20),
        Some(number) => (number, 30),
        None => (text, 0),
    };
    let bytes = number
        .parse()
        .ok()
        .and_then(|count: u64| count.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes >= MIN_MEMORY => Ok(bytes),
        Some(_) => Err("write at least 1M".to_owned()),
        None => Err("write a whole number with K, M or G, such as 200M".to_owned()),
    }
}
