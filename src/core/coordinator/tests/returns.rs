//! What comes back: streams whose move was not stored, copies of former lives, copies of deleted streams.

use streamkeeper_protocol::{Epoch, Heartbeat, Ownership, Phase};

use super::*;

#[test]
fn a_stream_that_was_stopped_for_a_move_that_is_not_stored_runs_again_where_it_was() {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare_as(&["s1", "s2"], Ownership::Exclusive);
    world.place_all("a");
    let epoch = world.rows[&id("s1")].epoch;
    world.broken.extend(std::iter::repeat_n(
        Persisted::Failed {
            reason: "database away".into(),
        },
        3,
    ));
    world.send(Event::Propose(vec![Proposal {
        stream: id("s1"),
        planned_on: Some(epoch),
        to: worker("b"),
        reason: MoveReason::Balance,
    }]));
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.state("s1"), StreamState::Running);
    assert_eq!(world.rows[&id("s1")].epoch, epoch);

    // As long as transactions fail, nothing is stopped for a move.
    let starts = world.starts.len();
    world.now += 2_000;
    world.send(Event::Tick);
    world.send(Event::Propose(vec![Proposal {
        stream: id("s2"),
        planned_on: Some(world.rows[&id("s2")].epoch),
        to: worker("b"),
        reason: MoveReason::Balance,
    }]));
    world.assert_runs("s2", &["a"]);
    assert_eq!(world.starts.len(), starts);
}

#[test]
fn nothing_is_granted_to_a_worker_before_its_first_inventory() {
    let mut world = World::new();
    world.declare(&["s1"]);
    let world_term = world.cluster().leadership.term;
    let beat = |seq, whole: bool| {
        let mut heartbeat = first_heartbeat();
        heartbeat.seq = seq;
        if seq > 1 {
            heartbeat.applied.term = world_term;
            heartbeat.highest_term = heartbeat.applied.term;
        }
        heartbeat.inventory.parts = u32::from(whole);
        Event::Heartbeat(Box::new(heartbeat))
    };
    world.send(beat(1, true));
    world.place_all("a");
    assert!(world.rows.is_empty(), "it may run this very stream");
    world.send(beat(2, true));
    world.place_all("a");
    let granted = world.rows[&id("s1")].epoch;
    world.place_all("a");
    assert_eq!(world.rows[&id("s1")].epoch, granted);
    assert_eq!(world.state("s1"), StreamState::Starting);
}

/// Of worker `a` in session 1, which runs nothing.
fn first_heartbeat() -> Heartbeat {
    let mut sample = World::new();
    sample.join("a", 1);
    sample.workers.get_mut(&worker("a")).unwrap().applied = Default::default();
    let mut heartbeat = sample.report(&worker("a")).unwrap();
    heartbeat.phase = Phase::Ready;
    heartbeat
}

#[test]
fn an_old_copy_of_a_stream_that_was_deleted_and_declared_anew_is_not_adopted() {
    let mut world = running_world();
    world.deaf.insert(worker("a"));
    world.judge("a", 1, Availability::Lost);
    world.send(Event::Apply {
        request: 2,
        change: ApplyStreams {
            delete: vec![id("s1")],
            ..ApplyStreams::default()
        },
    });
    world.declare(&["s1"]);
    world.workers.get_mut(&worker("a")).unwrap().applied = Default::default();
    // Its seat was taken meanwhile and is free again, so that its inventory is the first one.
    world.coordinator.as_mut().unwrap().seats.remove(&worker("a"));
    world.deaf.clear();
    world.beat("a");
    world.beat("a");
    assert_ne!(
        world.state("s1"),
        StreamState::Running,
        "{:?}",
        world.cluster().streams[&id("s1")].slot
    );
    world.place_all("b");
    world.assert_runs("s1", &["b"]);
}

#[test]
fn a_copy_that_a_new_life_started_from_what_it_had_saved_goes_on_until_a_fresh_epoch_is_stored() {
    let mut world = running_world();
    let epoch = world.rows[&id("s1")].epoch;
    let former = world.workers.remove(&worker("a")).unwrap();
    world.restart();
    world.beat("b");
    world.judge("a", 1, Availability::Dead);
    assert_eq!(world.state("s1"), StreamState::Orphaned);
    world.join("a", 3);
    world.workers.get_mut(&worker("a")).unwrap().running = former.running;
    world.workers.get_mut(&worker("a")).unwrap().version += 1;
    world.restart();
    world.judge("a", 1, Availability::Dead);
    world.beat("a");
    world.beat("a");
    world.assert_runs("s1", &["a"]);
    world.place_all("a");
    assert!(
        world.rows[&id("s1")].epoch > epoch,
        "{:?} {:?}",
        world.cluster().streams[&id("s1")],
        world.cluster().workers
    );
    assert_eq!(world.rows[&id("s1")].session, SessionId::from_u128(3));
}

#[test]
fn a_copy_that_was_saved_gives_way_to_one_that_was_granted_later_and_never_stored() {
    let mut world = running_world();
    let old = world.rows[&id("s1")].epoch;
    let later = Epoch::new(old.term(), old.counter() + 10);
    let former = world.workers.remove(&worker("a")).unwrap();
    let b = world.workers.get_mut(&worker("b")).unwrap();
    b.running.insert(id("s1"), later);
    b.version += 1;
    world.join("a", 3);
    world.workers.get_mut(&worker("a")).unwrap().running = former.running;
    world.workers.get_mut(&worker("a")).unwrap().version += 1;
    world.restart();
    world.judge("a", 1, Availability::Dead);
    world.beat("a");
    world.beat("a");
    world.beat("b");
    world.beat("b");
    assert_eq!(world.rows[&id("s1")].epoch, later);
    world.beat("a");
    world.assert_runs("s1", &["b"]);
    assert_eq!(world.state("s1"), StreamState::Running);
}

#[test]
fn a_generation_that_nobody_ever_told_is_not_counted_on() {
    let mut world = running_world();
    let mut heartbeat = world.report(&worker("a")).unwrap();
    heartbeat.applied.generation = u64::MAX;
    world.send(Event::Heartbeat(Box::new(heartbeat)));
    world.beat("a");
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.state("s1"), StreamState::Running);
}

#[test]
fn a_late_message_of_a_session_that_is_lost_makes_the_failure_detector_say_so_again() {
    let mut world = running_world();
    world.judge("a", 1, Availability::Lost);
    world.expected.clear();
    world.beat("a");
    let session = (worker("a"), SessionId::from_u128(1));
    assert_eq!(world.expected, [session]);
    world.beat("a");
    assert_eq!(world.expected.len(), 1, "who is not lost is not asked for");
}

#[test]
fn whoever_gets_its_seat_back_applies_nothing_that_was_sent_to_it_before_it_lost_it() {
    let mut world = running_world();
    world.deaf.insert(worker("a"));
    // What is sent now comes late.
    world.declare(&["late"]);
    world.place_all("a");
    let late = *world.versions.last().unwrap();
    let former = world.workers.remove(&worker("a")).unwrap();
    world.judge("a", 1, Availability::Lost);
    world.join("a", 9);
    world.judge("a", 9, Availability::Dead);
    world.workers.insert(worker("a"), former);
    world.deaf.clear();
    world.versions.clear();
    let mut digest = world.report(&worker("a")).unwrap();
    digest.inventory.parts = 0;
    world.send(Event::Heartbeat(Box::new(digest)));
    assert!(world.versions[0] > late, "{:?} {late:?}", world.versions);
    assert!(world.versions[1] > late, "{:?} {late:?}", world.versions);
}
