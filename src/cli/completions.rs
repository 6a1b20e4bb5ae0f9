//! `completions`: for the user's shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::command::Cli;
use crate::failure::Failure;
use crate::screen;

const EXAMPLES: &str = "\
Examples:
  source <(streamkeeper completions bash)
  streamkeeper completions fish > ~/.config/fish/completions/streamkeeper.fish";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "streamkeeper", &mut script);
    screen::line(String::from_utf8_lossy(&script).trim_end())
}
