//! The `streamkeeper` command: one binary for the orchestrator, the agent, the demo and the operator.

mod agent;
mod alerts;
mod api;
mod bench;
mod command;
mod completions;
mod config;
mod consistency;
mod db;
mod demo;
mod doctor;
mod events;
mod failure;
mod history;
mod http;
mod incidents;
mod leader;
mod logging;
mod moves;
mod part;
mod recovery;
mod screen;
mod serve;
mod settings;
mod shutdown;
mod status;
mod streams;
mod suggest;
mod wait;
mod workers;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use command::Cli;
use failure::Failure;
use streamkeeper_orchestrator::adapter::nats::linger_main;

/// The hidden verb that ties a process to its parent.
const TETHER: &str = "tether";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Those of the agent are started once per stream: they come before everything else.
    match args.next() {
        Some(verb) if verb == "guard" => return streamkeeper_agent::guard_main(),
        Some(verb) if verb == TETHER => return streamkeeper_agent::tether_main(args.collect()),
        Some(verb) if verb == "linger" => return linger(args.collect()),
        Some(verb) if verb == bench::READER => return bench::reader_main(args.next()),
        _ => {}
    }
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen::complain(&failure.text);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Looks after a managed message server.
fn linger(args: Vec<OsString>) -> ExitCode {
    match program() {
        Ok(program) => linger_main(args, &[program, TETHER.into()]),
        Err(failure) => {
            screen::complain(&failure.text);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// This program, as the first words of a command that starts it again.
fn program() -> Result<OsString, Failure> {
    std::env::current_exe()
        .map(Into::into)
        .map_err(|error| Failure::failed(format!("cannot find the path of this program: {error}")))
}

/// A runtime whose every task is on this thread, which lives as long as the process.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))
}
