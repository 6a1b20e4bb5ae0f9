//! `doctor`: everything that `serve` needs, looked at from outside, and what to do about what is not well.

mod database;
mod machine;
mod nats;

use clap::Args;
use serde::Serialize;
use streamkeeper_orchestrator::config;

use crate::failure::Failure;
use crate::screen::{self, Format, OutputArgs};
use crate::settings::SettingsArgs;

const EXAMPLES: &str = "\
Changes nothing, and may run beside `serve`. Exit code 1 where something is an error.

Examples:
  streamkeeper doctor
  streamkeeper doctor --config production.toml -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Severity {
    Ok,
    /// It works, and somebody should look.
    Warning,
    /// `serve` would not work with it.
    Error,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    area: &'static str,
    severity: Severity,
    found: String,
    /// Empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    suggestion: String,
}

impl Finding {
    fn ok(area: &'static str, found: impl Into<String>) -> Self {
        Self {
            area,
            severity: Severity::Ok,
            found: found.into(),
            suggestion: String::new(),
        }
    }

    fn warning(area: &'static str, found: impl Into<String>, suggestion: &str) -> Self {
        Self {
            severity: Severity::Warning,
            suggestion: suggestion.to_owned(),
            ..Self::ok(area, found)
        }
    }

    fn error(area: &'static str, found: impl Into<String>, suggestion: &str) -> Self {
        Self {
            severity: Severity::Error,
            ..Self::warning(area, found, suggestion)
        }
    }
}

pub(crate) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let mut findings = Vec::new();
    match config::explain(&args.settings.layers()?) {
        // Without a configuration nobody knows where the rest is.
        Err(errors) => findings.extend(errors.0.iter().map(|error| {
            Finding::error(
                "configuration",
                error.to_string(),
                "correct it; `streamkeeper config check` shows the same",
            )
        })),
        Ok(loaded) => {
            let count = loaded.effective.len();
            findings.push(Finding::ok(
                "configuration",
                format!("{count} settings are right"),
            ));
            let config = loaded.config;
            findings.extend(machine::look(&config));
            let (database, nats) = crate::runtime()?
                .block_on(async { (database::look(&config).await, nats::look(&config).await) });
            findings.extend(database);
            findings.extend(nats);
        }
    }
    show(args, &findings)?;
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    match errors {
        0 => Ok(()),
        1 => Err(Failure::failed("doctor: one thing is an error")),
        errors => Err(Failure::failed(format!("doctor: {errors} things are errors"))),
    }
}

fn show(args: &DoctorArgs, findings: &[Finding]) -> Result<(), Failure> {
    if args.output.output == Format::Json {
        let worst = findings.iter().map(|finding| finding.severity).max();
        let worst = worst.unwrap_or(Severity::Ok);
        return screen::json(&serde_json::json!({ "worst": worst, "findings": findings }));
    }
    for finding in findings {
        screen::line(&format!(
            "{:<8} {}: {}",
            finding.severity.as_str(),
            finding.area,
            finding.found
        ))?;
        if !finding.suggestion.is_empty() {
            screen::line(&format!("         → {}", finding.suggestion))?;
        }
    }
    Ok(())
}
