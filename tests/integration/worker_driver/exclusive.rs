//! Exclusive streams of a worker: their lease, and the lack of a guard.

use std::sync::atomic::Ordering;

use streamkeeper_protocol::{Mode, RunState};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::{GENEROUS, until};

use super::fixture::{TestWorker, urls};
use super::leader::{FIRST_TERM, Leader};

#[tokio::test]
async fn exclusive_streams_end_when_no_leader_renews_the_lease() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.lease(6_000);
    leader.want(&[("a", 5, "x"), ("e", 6, "exclusive")]);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    worker.streams.run_exactly(&["a", "e"]).await;
    let told = leader
        .hear("a lease", |heartbeat| heartbeat.lease_left_ms > 0)
        .await;
    assert!(told.guarded && told.lease_left_ms <= 6_000, "{told:?}");
    let lease = worker.streams.lease.borrow().unwrap();
    assert_eq!(lease.kill_at.since(lease.stop_at), 1_500);
    let renewed = until(GENEROUS, async || match *worker.streams.lease.borrow() {
        Some(newer) if newer.stop_at > lease.stop_at => Ok(()),
        other => Err(format!("{other:?} after {lease:?}")),
    });
    renewed.await.unwrap();

    drop(leader);
    worker.streams.run_exactly(&["a"]).await;
    let lease = worker.streams.lease.borrow().unwrap();
    assert!(streamkeeper_worker::now() >= lease.stop_at, "not before");

    // A leader that keeps what runs renews the lease and starts nothing; one that grants it does.
    let leader = Leader::start(&server.url(), "w", FIRST_TERM + 1).await;
    leader.want(&[("a", 5, "x")]);
    leader
        .hear("a lease", |heartbeat| {
            heartbeat.lease_left_ms > 0 && heartbeat.mode == Mode::Connected
        })
        .await;
    leader.want(&[("a", 5, "x"), ("e", 7, "exclusive")]);
    worker.streams.run_exactly(&["a", "e"]).await;
    assert_eq!(
        leader.hear_stream("e", RunState::Running).await.epoch.counter(),
        7
    );
    assert_eq!(worker.streams.starts().len(), 3, "{:?}", worker.streams.starts());
    assert_eq!(
        worker.streams.unleased.load(Ordering::Relaxed),
        0,
        "the runner knows the lease first"
    );
}

#[tokio::test]
async fn without_a_guard_exclusive_streams_are_refused() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x"), ("e", 6, "exclusive")]);
    let worker = TestWorker::start_unguarded("w", urls(&server.url()));
    worker.streams.run_exactly(&["a"]).await;
    let refused = leader.hear_stream("e", RunState::Failing).await;
    assert!(refused.reason.unwrap().contains("need a guard"));
    let told = leader
        .hear("a running stream", |heartbeat| heartbeat.inventory.count == 2)
        .await;
    assert_eq!((told.guarded, told.lease_left_ms), (false, 0));
    assert_eq!(worker.streams.starts().len(), 1);
}
