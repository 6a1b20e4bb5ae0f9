//! Streams that wait for their lost owners.

use std::time::Duration;

use streamkeeper_protocol::Ownership;

use super::world::{World, id, worker};
use super::*;
use crate::cluster::Awaited;
use crate::spec::OnOwnerLost;

impl World {
    fn apply(&mut self, change: ApplyStreams) {
        self.send(Event::Apply { request: 9, change });
    }

    fn declare_spec(&mut self, change: impl FnOnce(&mut StreamSpec)) {
        let mut spec = StreamSpec::new(id("s"), "http://source");
        change(&mut spec);
        self.apply(ApplyStreams {
            streams: vec![spec],
            ..ApplyStreams::default()
        });
    }

    fn release(&mut self, owner_is_dead: bool) -> Result<Vec<StreamId>, ApplyError> {
        self.apply(ApplyStreams {
            release: vec![id("s")],
            owner_is_dead,
            ..ApplyStreams::default()
        });
        let last = self.replies.last().unwrap().clone();
        last.map(|applied| applied.released)
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds * 1_000;
        self.send(Event::Tick);
        self.place_all("b");
    }

    /// Worker `a` is killed with everything that it runs; nobody proves it.
    fn lose_a(&mut self) {
        self.workers.remove(&worker("a"));
        self.judge("a", 1, Availability::Lost);
        self.place_all("b");
    }

    fn waits_because(&self) -> Option<Awaited> {
        let record = &self.cluster().streams[&id("s")];
        record.awaits.map(|(why, _)| why)
    }
}

/// `s` runs on `a`; `b` is idle.
fn world_of(change: impl FnOnce(&mut StreamSpec)) -> World {
    let mut world = World::new();
    world.join("a", 1);
    world.declare_spec(change);
    world.place_all("a");
    world.join("b", 2);
    world.assert_runs("s", &["a"]);
    world
}

fn hold(spec: &mut StreamSpec) {
    spec.on_owner_lost = OnOwnerLost::Hold;
}

fn exclusive_hold(spec: &mut StreamSpec) {
    spec.ownership = Ownership::Exclusive;
    hold(spec);
}

#[test]
fn a_held_stream_is_not_replaced_by_silence() {
    for policy in [hold, exclusive_hold] {
        let mut world = world_of(policy);
        world.lose_a();
        world.wait(3_600);
        world.assert_runs("s", &[]);
        assert_eq!(world.state("s"), StreamState::Waiting);
        assert_eq!(world.waits_because(), Some(Awaited::Hold));
        let told = world.notices.iter().any(|notice| {
            matches!(
                notice,
                Notice::OwnerAwaited {
                    why: Awaited::Hold,
                    ..
                }
            )
        });
        assert!(told, "{:?}", world.notices);
        world.judge("a", 1, Availability::Dead);
        world.place_all("b");
        world.assert_runs("s", &["b"]);
    }
}

#[test]
fn a_held_stream_goes_on_when_its_owner_is_heard_again() {
    let mut world = world_of(hold);
    let starts = world.starts.clone();
    world.deaf.insert(worker("a"));
    world.judge("a", 1, Availability::Lost);
    world.wait(600);
    world.deaf.clear();
    world.judge("a", 1, Availability::Alive);
    world.beat("a");
    world.place_all("b");
    world.assert_runs("s", &["a"]);
    assert_eq!(world.waits_because(), None);
    assert_eq!(world.starts, starts);
}

#[test]
fn a_held_stream_goes_home_to_the_next_life_of_its_owner() {
    for policy in [hold, exclusive_hold] {
        // With proof of the former life's death, before or after it is heard, and without any.
        for proof in [Some(true), Some(false), None] {
            let mut world = world_of(policy);
            world.lose_a();
            world.wait(60);
            if proof == Some(true) {
                world.judge("a", 1, Availability::Dead);
            }
            world.join("a", 9);
            if proof == Some(false) {
                world.judge("a", 1, Availability::Dead);
            }
            world.place_all("b");
            world.beat("a");
            world.place_all("b");
            world.beat("a");
            world.assert_runs("s", &["a"]);
            assert_eq!(world.rows[&id("s")].session, SessionId::from_u128(9));
        }
    }
}

#[test]
fn an_owner_that_comes_back_without_room_gives_the_stream_away() {
    let mut world = world_of(hold);
    world.lose_a();
    world.join("a", 9);
    // It was called home, and its worker leaves again before it is there.
    world.judge("a", 9, Availability::Lost);
    world.place_all("b");
    let on_b = world.rows[&id("s")].worker == worker("b");
    let on_a = world.rows[&id("s")].session == SessionId::from_u128(9);
    assert!(on_b || on_a, "{:?}", world.rows);
}

#[test]
fn the_operator_releases_what_waits_and_nothing_else() {
    let mut world = world_of(hold);
    assert_eq!(world.release(true), Err(ApplyError::NotWaiting(id("s"))));
    world.lose_a();
    assert_eq!(world.release(false), Ok(vec![id("s")]));
    world.place_all("b");
    world.assert_runs("s", &["b"]);
    let reasons: Vec<_> = world
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Assigned { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");

    let mut world = world_of(exclusive_hold);
    world.lose_a();
    world.wait(60);
    assert_eq!(world.release(false), Err(ApplyError::OwnerMayLive(id("s"))));
    world.place_all("b");
    world.assert_runs("s", &[]);
    assert_eq!(world.release(true), Ok(vec![id("s")]));
    world.place_all("b");
    world.assert_runs("s", &["b"]);
}

#[test]
fn no_word_of_the_operator_shortens_a_lease() {
    let mut world = world_of(exclusive_hold);
    world.lose_a();
    assert_eq!(world.release(true), Ok(vec![id("s")]));
    world.place_all("b");
    world.assert_runs("s", &[]);
    world.now += 16_000;
    world.send(Event::Tick);
    assert_eq!(world.cluster().streams[&id("s")].reason, MoveReason::Released);
    world.place_all("b");
    world.assert_runs("s", &["b"]);
}

#[test]
fn a_change_of_the_policy_takes_effect_on_what_waits() {
    let mut world = world_of(hold);
    world.lose_a();
    world.wait(60);
    world.declare_spec(|_| ());
    world.place_all("b");
    world.assert_runs("s", &["b"]);
}

#[test]
fn a_stream_waits_as_long_as_it_says() {
    let mut world = world_of(|spec| spec.lost_after = Some(Duration::from_secs(30)));
    world.lose_a();
    assert_eq!(world.waits_because(), Some(Awaited::LostAfter));
    world.wait(29);
    world.assert_runs("s", &[]);
    world.wait(2);
    world.assert_runs("s", &["b"]);

    // An exclusive one waits for the later of the two.
    let mut world = world_of(|spec| {
        spec.ownership = Ownership::Exclusive;
        spec.lost_after = Some(Duration::from_millis(5_650));
    });
    world.lose_a();
    assert_eq!(world.waits_because(), Some(Awaited::Lease));
    world.wait(6);
    world.assert_runs("s", &[]);
    world.wait(10);
    world.assert_runs("s", &["b"]);
}

#[test]
fn an_exclusive_stream_cannot_be_lost_before_its_lease() {
    let mut world = World::new();
    world.declare_spec(|spec| {
        spec.ownership = Ownership::Exclusive;
        spec.lost_after = Some(Duration::from_millis(5_649));
    });
    let refused = world.replies.last().unwrap().clone().unwrap_err().to_string();
    for part in [
        "stream s",
        "5.649s",
        "(10s) + lost_after >=",
        "(15.65s)",
        "at least 5.65s",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    world.declare_spec(|spec| spec.lost_after = Some(Duration::from_millis(1)));
    assert!(world.replies.last().unwrap().is_ok(), "available streams may");
}

#[test]
fn what_its_user_ends_waits_for_nobody() {
    let mut world = world_of(hold);
    world.lose_a();
    world.apply(ApplyStreams {
        delete: vec![id("s")],
        ..ApplyStreams::default()
    });
    world.send(Event::Tick);
    assert!(world.cluster().streams.is_empty(), "{:?}", world.state("s"));
}

#[test]
fn a_new_leader_waits_too() {
    let mut world = world_of(hold);
    world.lose_a();
    world.restart();
    world.beat("b");
    world.judge("a", 1, Availability::Lost);
    world.wait(3_600);
    world.assert_runs("s", &[]);
    assert_eq!(world.state("s"), StreamState::Waiting);
    assert_eq!(world.release(false), Ok(vec![id("s")]));
    world.place_all("b");
    world.assert_runs("s", &["b"]);
}

#[test]
fn an_owner_that_lost_its_seat_for_a_while_is_awaited_no_more_when_it_is_back() {
    let mut world = World::new();
    world.join("a", 1);
    world.declare_as(&["s"], Ownership::Exclusive);
    world.place_all("a");
    let former = world.workers.remove(&worker("a")).unwrap();
    world.judge("a", 1, Availability::Lost);
    assert!(world.cluster().streams[&id("s")].awaits.is_some());
    world.join("a", 9);
    world.judge("a", 9, Availability::Dead);
    world.workers.insert(worker("a"), former);
    world.beat("a");
    assert_eq!(world.state("s"), StreamState::Running);
}

#[test]
fn streams_of_two_former_lives_go_to_the_third() {
    let mut world = world_of(hold);
    let mut other = StreamSpec::new(id("s2"), "http://source");
    hold(&mut other);
    world.apply(ApplyStreams {
        streams: vec![other],
        ..ApplyStreams::default()
    });
    world.place_all("a");
    world.workers.remove(&worker("a"));
    // Two processes had this name, one after the other, and each has a row.
    world.rows.get_mut(&id("s2")).unwrap().session = SessionId::from_u128(9);
    world.restart();
    world.beat("b");
    world.wait(60);
    for session in [1, 9] {
        world.judge("a", session, Availability::Lost);
    }
    world.wait(600);
    world.assert_runs("s", &[]);
    world.assert_runs("s2", &[]);
    world.join("a", 3);
    world.place_all("b");
    world.assert_runs("s", &["a"]);
    world.assert_runs("s2", &["a"]);
}
