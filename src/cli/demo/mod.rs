//! `demo`: the whole on one machine, with real processes and live audio, and what happens when they die.

mod cast;
mod judge;
mod need;
mod part;
mod radio;
mod story;
mod tone;
mod watch;

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::{screen, shutdown};
use cast::Cast;

const EXAMPLES: &str = "\
Needs ffmpeg and nats-server on this machine. Everything that it starts ends with it.

Examples:
  streamkeeper demo
  streamkeeper demo --agents 3 --channels 12
  streamkeeper demo --once                  # for tests: ends after the story";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// How many agents run the channels
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..=20))]
    agents: u16,
    /// How many live channels there are
    #[arg(long, value_name = "COUNT", default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..=200))]
    channels: u16,
    /// Folder for everything that is kept [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Port of the API [default: 8001, or a free one where it is taken]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Ends so many seconds after the story; without it, it goes on until Ctrl-C
    #[arg(long, value_name = "COUNT")]
    seconds: Option<u64>,
    /// Ends after the story
    #[arg(long, conflicts_with = "seconds")]
    once: bool,
}

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    need::check()?;
    crate::runtime()?.block_on(perform(args))
}

async fn perform(args: &DemoArgs) -> Result<(), Failure> {
    let shutdown = shutdown::on_signal()?;
    let (folder, temporary) = folder(args)?;
    let mut cast = Cast::new(args, folder.clone()).await?;
    let seconds = if args.once { Some(0) } else { args.seconds };
    let outcome = tokio::select! {
        outcome = story::tell(&mut cast, seconds) => outcome,
        () = shutdown.cancelled() => Ok(()),
    };
    screen::line("")?;
    screen::line("ending everything that was started")?;
    cast.stop().await;
    match outcome {
        Ok(()) => Ok(()),
        Err(failure) => {
            if let Some(temporary) = temporary {
                // The logs are needed now.
                let _ = temporary.keep();
            }
            let logs = folder.join("logs");
            Err(Failure::new(
                failure.exit,
                format!("demo: {}\nall logs are in {}", failure.text, logs.display()),
            ))
        }
    }
}

/// The folder, and what removes it at the end if it is a temporary one.
fn folder(args: &DemoArgs) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    let failed = |error| {
        Failure::failed(format!(
            "demo: cannot make a temporary folder: {error}; give one with --data"
        ))
    };
    let (folder, temporary) = match &args.data {
        Some(data) => (data.clone(), None),
        None => {
            let temporary = tempfile::Builder::new()
                .prefix("streamkeeper-demo-")
                .tempdir()
                .map_err(failed)?;
            (temporary.path().to_path_buf(), Some(temporary))
        }
    };
    std::fs::create_dir_all(folder.join("logs"))
        .map_err(|error| Failure::failed(format!("demo: {}: cannot be made: {error}", folder.display())))?;
    Ok((folder, temporary))
}
