//! After the story: says when a channel has not exactly one listener, and starts again what somebody has killed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cast::{Cast, ORCHESTRATOR};
use super::judge::one_each;
use super::score::Death;
use super::story::seconds;
use crate::failure::Failure;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long what was killed stays down, so that one can see what happens.
const DOWN: Duration = Duration::from_secs(5);

/// Watches for so long, or for ever.
pub(super) async fn watch(cast: &mut Cast, limit: Option<Duration>) -> Result<(), Failure> {
    if limit.is_none() {
        cast.stage.say("it goes on until Ctrl-C")?;
    }
    let start = Instant::now();
    let mut disturbed: Option<Instant> = None;
    while limit.is_none_or(|limit| start.elapsed() < limit) {
        match (one_each(cast.audience()), disturbed) {
            (Err(wrong), None) => {
                disturbed = Some(Instant::now());
                cast.stage.bad(&wrong)?;
            }
            (Ok(_), Some(since)) => {
                disturbed = None;
                cast.stage.good(&format!(
                    "every channel has exactly one listener again after {}",
                    seconds(since.elapsed())
                ))?;
            }
            _ => {}
        }
        restart(cast)?;
        sleep(LOOK).await;
    }
    Ok(())
}

/// Starts again what has been down for long enough.
fn restart(cast: &mut Cast) -> Result<(), Failure> {
    let now_us = cast.audience().now_us();
    let parts = std::iter::once(&mut cast.orchestrator).chain(&mut cast.agents);
    for part in parts {
        let Some(status) = part.ended() else {
            continue;
        };
        let down = part.down_for();
        if down.is_zero() {
            cast.stage.part(&part.name, "ended");
            cast.stage.bad(&format!(
                "{} ended ({status}); it is started again in {} s",
                part.name,
                DOWN.as_secs()
            ))?;
            if part.name != ORCHESTRATOR {
                cast.deaths.push(Death {
                    agent: part.name.clone(),
                    // It may have died right after the look before.
                    at_us: now_us.saturating_sub(u64::try_from(LOOK.as_micros()).unwrap_or_default()),
                });
            }
        }
        if down >= DOWN {
            let pid = part.start()?;
            cast.stage.part(&part.name, &format!("process {pid}"));
            cast.stage.say(&format!("{}: process {pid}", part.name))?;
        }
    }
    Ok(())
}
