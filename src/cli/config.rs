//! `config`: what `serve` would run with, and whether it is right.

use clap::{Args, Subcommand};
use serde_json::json;
use streamkeeper_orchestrator::config::{self, Effective};

use crate::failure::Failure;
use crate::screen::{self, Format, OutputArgs};
use crate::settings::{self, SettingsArgs};

const SHOW_EXAMPLES: &str = "\
Examples:
  streamkeeper config show
  streamkeeper config show --config production.toml -o json";
const CHECK_EXAMPLES: &str = "\
Examples:
  streamkeeper config check --config production.toml
  STREAMKEEPER__HEARTBEAT__TIMEOUT=10x streamkeeper config check    # exit code 2";

const SAMPLE_EXAMPLES: &str = "\
Examples:
  streamkeeper config sample > streamkeeper.toml
  streamkeeper config check --config streamkeeper.toml";

/// Every setting with its default and what it is for.
const SAMPLE: &str = include_str!("../../config/default.toml");

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints every setting, its value and where it came from
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Names every mistake; exit code 2 where there is one
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Prints a file with every setting, its default and what it is for, to start from
    #[command(after_help = SAMPLE_EXAMPLES)]
    Sample,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show(args) => {
            let effective = explain(&args.settings)?;
            match args.output.output {
                Format::Table => show(&effective),
                Format::Json => screen::json(&json!(
                    effective
                        .iter()
                        .map(|setting| json!({"key": setting.key, "value": setting.value, "place": setting.place}))
                        .collect::<Vec<_>>()
                )),
            }
        }
        ConfigCommand::Check(args) => {
            let count = explain(&args.settings)?.len();
            match args.output.output {
                Format::Table => screen::line(&format!("the configuration is right: {count} settings")),
                Format::Json => screen::json(&json!({ "right": true, "settings": count })),
            }
        }
        ConfigCommand::Sample => screen::line(SAMPLE.trim_end()),
    }
}

fn explain(args: &SettingsArgs) -> Result<Vec<Effective>, Failure> {
    config::explain(&args.layers()?)
        .map(|loaded| loaded.effective)
        .map_err(|errors| settings::refused(&errors))
}

fn show(effective: &[Effective]) -> Result<(), Failure> {
    let mut table = screen::table(&["SETTING", "VALUE", "FROM"]);
    for setting in effective {
        table.add_row([&setting.key, &setting.value, &setting.place]);
    }
    screen::print_table(&table)
}
