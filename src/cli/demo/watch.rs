//! After the story: says when a channel has not exactly one listener, and starts again what somebody has killed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cast::Cast;
use super::story::{say, seconds};
use crate::failure::Failure;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long what was killed stays down, so that one can see what happens.
const DOWN: Duration = Duration::from_secs(5);

/// Watches for so long, or for ever.
pub(super) async fn watch(cast: &mut Cast, limit: Option<Duration>) -> Result<(), Failure> {
    if limit.is_none() {
        say("it goes on until Ctrl-C")?;
    }
    let start = Instant::now();
    let mut disturbed: Option<Instant> = None;
    while limit.is_none_or(|limit| start.elapsed() < limit) {
        match (cast.judge.one_each().await, disturbed) {
            (Err(wrong), None) => {
                disturbed = Some(Instant::now());
                say(&wrong)?;
            }
            (Ok(_), Some(since)) => {
                disturbed = None;
                say(&format!(
                    "every channel has exactly one listener again after {}",
                    seconds(since)
                ))?;
            }
            _ => {}
        }
        restart(cast).await?;
        sleep(LOOK).await;
    }
    Ok(())
}

/// Starts again what has been down for long enough.
async fn restart(cast: &mut Cast) -> Result<(), Failure> {
    let parts = std::iter::once(&mut cast.orchestrator).chain(&mut cast.agents);
    for part in parts {
        if let Some(status) = part.ended() {
            let down = part.down_for();
            if down.is_zero() {
                say(&format!(
                    "{} ended ({status}); it is started again in {} s",
                    part.name,
                    DOWN.as_secs()
                ))?;
            }
            if down >= DOWN {
                let pid = part.start()?;
                say(&format!("{}: process {pid}", part.name))?;
            }
        }
    }
    Ok(())
}
