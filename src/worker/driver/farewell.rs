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
            // An attempt that was cut short says less than one that was refused.
            Err(_) => {}
        }
        // Not left to the time-out alone: it never fires for attempts that fail without waiting, as without a network.
        if Instant::now() >= deadline {
            return Err(failed.unwrap_or_else(|| ConnectError::Server {
                urls: format!("{connect:?}"),
                problem: format!("no answer within {FAREWELL_TIMEOUT:?}"),
            }));
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

#[cfg(test)]
mod tests {
    use streamkeeper_protocol::WorkerId;

    use super::*;

    #[tokio::test]
    async fn it_ends_also_where_every_attempt_fails_at_once() {
        // No TCP connection goes to everybody: the system refuses without waiting.
        let nowhere = ConnectSource::Urls {
            urls: vec!["nats://255.255.255.255:4222".to_owned()],
            prefix: "sk".to_owned(),
            access: Box::default(),
        };
        let identity = Identity::new(WorkerId::new("a").unwrap());
        let long_enough = FAREWELL_TIMEOUT * 10;
        let sent = tokio::time::timeout(long_enough, send_farewell(&nowhere, &identity)).await;
        assert!(sent.expect("it ends").is_err());
    }
}
