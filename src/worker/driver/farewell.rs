//! The last message of a session that is proven dead.

use std::time::Duration;

use streamkeeper_protocol::{Capacity, Heartbeat, Inventory, Mode, PROTOCOL_VERSION, Phase, Term, Version};
use tokio::time::{Instant, sleep, timeout_at};

use super::Identity;
use super::bus::{Bus, Name};
use crate::connect::{ConnectError, ConnectSource};

/// The farewell is worth no longer wait: the leader learns by silence then.
pub(super) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells the leader that nothing of this session runs any more (OWNERSHIP rule 18). To be called only by who has
/// proved it: the guard that reaped every process of the session.
///
/// # Errors
/// When no server took the message within two seconds.
pub async fn send_farewell(connect: &ConnectSource, identity: &Identity) -> Result<(), ConnectError> {
    let deadline = Instant::now() + FAREWELL_TIMEOUT;
    let mut failed = None;
    // The message server may be coming back just now, where a whole machine starts again.
    loop {
        match timeout_at(deadline, attempt(connect, identity)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => failed = Some(error),
            Err(_) => {
                return Err(failed.unwrap_or_else(|| ConnectError::Server {
                    urls: format!("{connect:?}"),
                    problem: format!("no answer within {FAREWELL_TIMEOUT:?}"),
                }));
            }
        }
        sleep(PAUSE).await;
    }
}

async fn attempt(connect: &ConnectSource, identity: &Identity) -> Result<(), ConnectError> {
    let target = connect.resolve().await?;
    let bus = Bus::open(&target, 0, &Name::of_guard(&identity.worker, identity.session)).await?;
    let subject = bus.subjects().heartbeat(&identity.worker);
    let refused = |problem| ConnectError::Server {
        urls: bus.server().to_owned(),
        problem,
    };
    bus.publish(subject, &farewell(identity)).await.map_err(refused)?;
    bus.flush(FAREWELL_TIMEOUT).await.map_err(refused)
}

fn farewell(identity: &Identity) -> Heartbeat {
    Heartbeat {
        v: PROTOCOL_VERSION,
        worker: identity.worker.clone(),
        session: identity.session,
        // After every heartbeat that the session can have sent.
        seq: u64::MAX,
        boot_id: identity.boot_id.clone(),
        supersedes: None,
        applied: Version::default(),
        highest_term: Term::ZERO,
        mode: Mode::Local,
        lease_left_ms: 0,
        guarded: false,
        phase: Phase::Gone,
        capacity: Capacity {
            max_streams: 0,
            weight: 0.0,
        },
        labels: std::collections::BTreeMap::new(),
        zone: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        inventory: Inventory::digest(0, 0),
        host: None,
        performance: Vec::new(),
        zlib: false,
    }
}
