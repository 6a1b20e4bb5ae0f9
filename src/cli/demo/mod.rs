//! `demo`: the whole on one machine, with real processes and live audio, and what happens when they die.

mod audience;
mod board;
mod cast;
mod judge;
mod need;
mod radio;
mod score;
mod stage;
mod story;
mod tone;
mod verdict;
mod wait;
mod watch;

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::{screen, shutdown};
use cast::Cast;
use stage::Stage;

const EXAMPLES: &str = "\
Needs ffmpeg and nats-server on this machine. Everything that it starts ends with it. On a terminal a live table shows \
who listens to what; elsewhere there are plain lines.

All numbers come from the log of the audio server, which is asked to play and knows nothing of streamkeeper:
  duplicates      connections that began while another one to the same channel was open, unless it was handed over:
                  another agent listened already when the old one, for at most 10 s, still did
  moves_needless  changes of the agent though the old one lived and had not at least two channels more
  failover        from the kill until a channel that lost its listener was heard again
The exit code is 0 only if every stream runs on exactly one agent at the end, nothing was duplicated or moved \
needlessly, and streams returned to the agent that was killed.

Examples:
  streamkeeper demo
  streamkeeper demo --agents 2 --channels 6
  streamkeeper demo --seconds 45 --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// How many agents run the channels
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=20))]
    agents: u16,
    /// How many live channels there are
    #[arg(long, value_name = "COUNT", default_value_t = 30, value_parser = clap::value_parser!(u16).range(2..=200))]
    channels: u16,
    /// Folder for everything that is kept [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Port of the API [default: 8001, or a free one where it is taken]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Ends after so many seconds in all, but not before an agent was killed and has come back; without it, it goes on
    /// until Ctrl-C
    #[arg(long, value_name = "COUNT")]
    seconds: Option<u64>,
    /// Ends where the story ends
    #[arg(long, conflicts_with = "seconds")]
    once: bool,
    /// Leaves out the part where the orchestrator is killed
    #[arg(long)]
    no_orchestrator_kill: bool,
    /// Ends with one JSON object on standard output; the story goes to standard error
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    need::check()?;
    crate::runtime()?.block_on(perform(args))
}

async fn perform(args: &DemoArgs) -> Result<(), Failure> {
    let shutdown = shutdown::on_signal()?;
    let stage = Stage::new(args.json);
    let (folder, temporary) = folder(args)?;
    let mut cast = Cast::new(args, folder.clone(), stage.clone()).await?;
    let audience = cast.audience().clone();
    let outcome = tokio::select! {
        outcome = story::tell(&mut cast, args) => outcome,
        drawing = stage.keep_drawing(&audience) => drawing.map(|never| match never {}),
        () = shutdown.cancelled() => Ok(()),
    };
    let score = verdict::count(&cast).await;
    let outcome = outcome.and_then(|()| verdict::judge(&cast, &score));
    stage.leave_table();
    stage.heading("The end")?;
    for line in verdict::summary(&score) {
        stage.say(&line)?;
    }
    stage.say("ending everything that was started")?;
    cast.stop().await;
    if args.json {
        let score = serde_json::to_value(&score)
            .map_err(|error| Failure::failed(format!("demo: the numbers cannot be written: {error}")))?;
        screen::json(&score)?;
    }
    let Err(failure) = outcome else {
        return Ok(());
    };
    if shutdown.is_cancelled() && !cast.told {
        // Who ends it early wants no logs.
        return Err(Failure::new(failure.exit, format!("demo: {}", failure.text)));
    }
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
