//! L4: whatever happened, every alert that fired is resolved once all conditions have ended.

use proptest::prelude::*;

use super::*;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Happening {
    Worker(u8, u8),
    Heard(u8, bool),
    Session(u8, u8),
    Leaving(u8),
    Forgotten(u8),
    Stream(u8, u8),
    Observed(u8, u8, u8),
    Findings(Vec<u8>),
    Mass(bool),
    Emergency(u8, u8),
    Rival(u8),
    Exhausted(u8, bool),
    Role(u8),
    Term,
    Restart,
    Wait(u16),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3_u8, 0..4_u8).prop_map(|(worker, to)| Happening::Worker(worker, to)),
        1 => (0..3_u8, any::<bool>()).prop_map(|(worker, heard)| Happening::Heard(worker, heard)),
        1 => (0..3_u8, 1..4_u8).prop_map(|(worker, session)| Happening::Session(worker, session)),
        1 => (0..3_u8).prop_map(Happening::Leaving),
        1 => (0..3_u8).prop_map(Happening::Forgotten),
        3 => (0..4_u8, 0..5_u8).prop_map(|(stream, to)| Happening::Stream(stream, to)),
        4 => (0..4_u8, 0..4_u8, 0..4_u8).prop_map(|(s, state, restarts)| Happening::Observed(s, state, restarts)),
        2 => proptest::collection::vec(0..5_u8, 0..4).prop_map(Happening::Findings),
        1 => any::<bool>().prop_map(Happening::Mass),
        2 => (0..3_u8, 1..4_u8).prop_map(|(worker, session)| Happening::Emergency(worker, session)),
        1 => (0..3_u8).prop_map(Happening::Rival),
        1 => (0..3_u8, any::<bool>()).prop_map(|(worker, exhausted)| Happening::Exhausted(worker, exhausted)),
        1 => (0..3_u8).prop_map(Happening::Role),
        1 => Just(Happening::Term),
        1 => Just(Happening::Restart),
        6 => (0..30_000_u16).prop_map(Happening::Wait),
    ]
}

fn worker_name(index: u8) -> String {
    format!("w{index}")
}

fn stream_name(index: u8) -> String {
    format!("x{index}")
}

fn start() -> World {
    let mut world = World::new();
    world.change(|c| {
        for index in 0..3 {
            add_worker(c, &worker_name(index));
        }
        for index in 0..4 {
            put_stream(c, at(0), &stream_name(index), Slot::Held(assignment("w0", 1)));
            observe(c, &stream_name(index), RunState::Running, 0);
        }
    });
    world
}

/// Changes of the state.
fn change(c: &mut ClusterState, now: u64, happening: &Happening) {
    let present = |c: &ClusterState, index: u8| c.workers.contains_key(&worker_id(&worker_name(index)));
    match happening {
        Happening::Worker(index, to) if present(c, *index) => {
            turn(c, &worker_name(*index), now, Availability::ALL[usize::from(*to)]);
        }
        Happening::Heard(index, heard) if present(c, *index) => {
            worker(c, &worker_name(*index)).heard = *heard
        }
        Happening::Session(index, number) if present(c, *index) => {
            worker(c, &worker_name(*index)).session = session(u128::from(*number));
        }
        Happening::Leaving(index) if present(c, *index) => {
            worker(c, &worker_name(*index)).phase = Phase::Leaving;
        }
        Happening::Forgotten(index) => drop(c.workers.remove(&worker_id(&worker_name(*index)))),
        Happening::Stream(index, to) => {
            let name = stream_name(*index);
            let last = assignment("w1", 2);
            match to {
                0 => put_stream(c, at(now), &name, Slot::Vacant),
                1 => unplaced(c, at(now), &name, UnplacedReason::NoLabels),
                2 => put_stream(c, at(now), &name, Slot::Orphaned { last }),
                3 => put_stream(c, at(now), &name, Slot::Held(last)),
                _ => drop(c.streams.remove(&stream_id(&name))),
            }
        }
        Happening::Observed(index, state, restarts) => {
            let state = [
                RunState::Starting,
                RunState::Running,
                RunState::Failing,
                RunState::Stopping,
            ][usize::from(*state)];
            if c.streams.contains_key(&stream_id(&stream_name(*index))) {
                observe(c, &stream_name(*index), state, u32::from(*restarts));
            }
        }
        Happening::Role(role) => {
            c.leadership.role = [Role::Standby, Role::TakingOver, Role::Leading][usize::from(*role)];
        }
        Happening::Term => {
            let from = c.leadership.term;
            c.inherited = std::sync::Arc::new(Inherited {
                from,
                alerts: Vec::new(),
            });
            c.leadership.term = Term::new(from.get() + 16).unwrap();
            c.leadership.since = at(now);
        }
        _ => {}
    }
}

fn perform(world: &mut World, happening: &Happening) {
    let now = world.now;
    world.change(|c| change(c, now, happening));
    match happening {
        Happening::Findings(kinds) => {
            let kinds = kinds.iter().map(|kind| FindingKind::ALL[usize::from(*kind)]);
            let findings = kinds.map(|kind| finding(kind, "x0", Some("w0"))).collect();
            world.tell(Event::Findings(findings));
        }
        Happening::Mass(held) => world.tell(Event::MassFailure {
            held: *held,
            silent: 2,
            of: 3,
        }),
        Happening::Emergency(index, number) => world.tell(Event::Emergency {
            worker: worker_id(&worker_name(*index)),
            session: session(u128::from(*number)),
        }),
        Happening::Rival(index) => world.tell(Event::Rival {
            worker: worker_id(&worker_name(*index)),
            holder: session(1),
            refused: session(9),
        }),
        Happening::Exhausted(index, exhausted) => world.tell(Event::RecoveryExhausted {
            worker: worker_id(&worker_name(*index)),
            exhausted: *exhausted,
            detail: "tried".into(),
        }),
        Happening::Restart => {
            world.manager = AlertManager::new(Config::default());
            let alerts = world.firing.values().cloned().collect();
            let term = Some(world.cluster.leadership.term);
            let newest = world.newest;
            world.tell(Event::Restore { term, alerts, newest });
            world.show();
        }
        Happening::Wait(ms) => world.wait(u64::from(*ms)),
        _ => {}
    }
}

/// Everything is well again, and everybody says so.
fn heal(world: &mut World) {
    for index in 0..3 {
        world.tell(Event::RecoveryExhausted {
            worker: worker_id(&worker_name(index)),
            exhausted: false,
            detail: "over".into(),
        });
    }
    world.tell(Event::Findings(Vec::new()));
    world.tell(Event::MassFailure {
        held: false,
        silent: 0,
        of: 3,
    });
    let now = at(world.now);
    world.change(|c| {
        let term = c.leadership.term;
        *c = start().cluster;
        c.leadership.term = term;
        c.leadership.since = now;
    });
}

/// Somebody was paged for every incident in which something fires, or will be in a moment.
fn paged(world: &World) -> Result<(), TestCaseError> {
    for (incident, alerts) in world.incidents() {
        let explained = |alert: &String| alert.contains(" by ");
        let waits = alerts.iter().all(|alert| alert.ends_with("by what is over"));
        prop_assert!(waits || !alerts.iter().all(explained), "{incident}: {alerts:?}");
        let due = world.manager.next_deadline().map(Timestamp::as_ms);
        let soon = due.is_some_and(|due| due <= world.now + 15 * SECOND);
        let leads = world.cluster.leadership.role == Role::Leading;
        prop_assert!(
            !waits || soon || !leads,
            "{incident}: {alerts:?} until {due:?} at {}",
            world.now
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn every_alert_resolves(happenings in proptest::collection::vec(happening(), 1..60)) {
        let mut world = start();
        for happening in &happenings {
            perform(&mut world, happening);
            paged(&world)?;
        }
        heal(&mut world);
        world.wait(2 * 60 * SECOND);
        prop_assert!(world.firing.is_empty(), "{:?}", world.news);
        prop_assert!(world.manager.incidents.is_quiet());
        prop_assert_eq!(world.manager.next_deadline(), None, "it rests");
        prop_assert!(world.manager.active.is_empty());
    }
}
