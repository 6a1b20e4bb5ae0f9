//! `serve`: an orchestrator.

use std::time::Instant;

use clap::Args;
use streamkeeper_orchestrator::{app, config};

use crate::failure::Failure;
use crate::logging::LogArgs;
use crate::settings::{self, SettingsArgs};

const EXAMPLES: &str = "\
Settings come from the defaults, then --config, then the environment \
(STREAMKEEPER__HEARTBEAT__TIMEOUT=12s), then flags; the last one wins.

Examples:
  streamkeeper serve
  streamkeeper serve --data /var/lib/streamkeeper --bind 0.0.0.0:8001
  streamkeeper serve --nats nats://nats-1:4222 --database postgres://keeper@db/keeper
  streamkeeper serve --set heartbeat.timeout=12s --set balancer.max_moves_per_round=2";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let start = Instant::now();
    let config = config::load(&args.settings.layers()?).map_err(|errors| settings::refused(&errors))?;
    let loading = start.elapsed();
    args.log.start()?;
    let linger = vec![crate::program()?, "linger".into()];
    app::run(config, loading, linger).map_err(|error| Failure::failed(format!("serve: {error:#}")))
}
