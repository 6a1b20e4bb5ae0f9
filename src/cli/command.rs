//! The verbs.

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::{
    agent, alerts, bench, completions, config, consistency, db, demo, doctor, events, history, incidents,
    leader, moves, serve, status, streams, wait, workers,
};

const EXIT_CODES: &str = "\
Examples:
  streamkeeper demo
  streamkeeper serve
  streamkeeper agent --exec 'ffmpeg -nostdin -i {source} -f null -'
  streamkeeper streams apply -f streams.yaml
  streamkeeper help streams apply

Exit codes:
  0  done
  1  tried and failed
  2  wrong usage, file or configuration
  3  the server cannot be reached
  4  the server refused it";

/// Keeps every long-lived stream running on exactly one healthy worker of a fleet.
#[derive(Debug, Parser)]
#[command(name = "streamkeeper", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows it all on this machine: live audio, an orchestrator, agents, and what happens when they die
    Demo(demo::DemoArgs),
    /// Runs an orchestrator
    Serve(serve::ServeArgs),
    /// Runs a worker: one command per stream
    Agent(Box<agent::AgentArgs>),
    /// Declares and shows streams
    #[command(subcommand)]
    Streams(streams::StreamsCommand),
    /// Shows workers, and takes them out of use
    #[command(subcommand)]
    Workers(workers::WorkersCommand),
    /// Evens load out now, or pauses that
    Rebalance(moves::RebalanceArgs),
    /// Shows what moves, and what would move
    #[command(subcommand)]
    Plan(moves::PlanCommand),
    /// Lists moves of streams, with their reasons
    Migrations(moves::MigrationsArgs),
    /// Compares memory, database and workers, and repairs what differs
    #[command(subcommand)]
    Consistency(consistency::ConsistencyCommand),
    /// Shows alerts, and notes who has taken one on
    #[command(subcommand)]
    Alerts(alerts::AlertsCommand),
    /// Shows incidents: alerts that have one cause
    #[command(subcommand)]
    Incidents(incidents::IncidentsCommand),
    /// Keeps quiet what is known: silences and maintenance windows
    #[command(subcommand, visible_alias = "maintenance")]
    Silences(alerts::SilencesCommand),
    /// Shows who leads, and hands the lead over
    #[command(subcommand)]
    Leader(leader::LeaderCommand),
    /// Shows what happened, and follows what happens
    Events(events::EventsArgs),
    /// Shows a metric over time
    History(history::HistoryArgs),
    /// Shows how the whole is
    Status(status::StatusArgs),
    /// Waits until database, message server or API are there
    Wait(wait::WaitArgs),
    /// Shows and checks the configuration of `serve`
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Looks after the database: schema, copies, another kind of database
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Looks at everything that `serve` needs, and says what to do about what is not well
    Doctor(doctor::DoctorArgs),
    /// Measures what is promised in figures, with real processes on this machine
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Prints completions for a shell
    Completions(completions::CompletionsArgs),
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Demo(args) => demo::run(&args),
            Self::Serve(args) => serve::run(&args),
            Self::Agent(args) => agent::run(*args),
            Self::Streams(command) => streams::run(command),
            Self::Workers(command) => workers::run(command),
            Self::Rebalance(args) => crate::runtime()?.block_on(moves::rebalance(&args)),
            Self::Plan(command) => crate::runtime()?.block_on(moves::plan(&command)),
            Self::Migrations(args) => crate::runtime()?.block_on(moves::migrations(&args)),
            Self::Consistency(command) => consistency::run(command),
            Self::Alerts(command) => alerts::alerts(command),
            Self::Incidents(command) => incidents::run(command),
            Self::Silences(command) => alerts::silences(command),
            Self::Leader(command) => leader::run(command),
            Self::Events(args) => events::run(&args),
            Self::History(args) => history::run(&args),
            Self::Status(args) => status::run(&args),
            Self::Wait(args) => wait::run(&args),
            Self::Config(command) => config::run(command),
            Self::Db(command) => db::run(command),
            Self::Doctor(args) => doctor::run(&args),
            Self::Bench(command) => bench::run(command),
            Self::Completions(args) => completions::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_an_example_in_its_help() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                for inner in command.get_subcommands() {
                    visit(inner, &path);
                }
                return;
            }
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Example"), "{path} has no example");
            assert!(command.get_about().is_some(), "{path} says nothing of itself");
        }
        for command in Cli::command().get_subcommands() {
            visit(command, "streamkeeper");
        }
    }
}
