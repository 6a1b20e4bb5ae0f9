//! Restarts, takeovers, inhibition, and what happens while another orchestrator leads.

use super::*;
use crate::consistency_checker::fixture as consistency_fixture;

fn lost(world: &mut World) {
    availability(world, Availability::Lost);
    assert_eq!(world.news(), ["+worker_lost worker=a"]);
}

/// The same orchestrator takes a higher term, and nobody else has led since.
fn lead_on(cluster: &mut ClusterState) {
    let from = cluster.leadership.term;
    cluster.inherited = Arc::new(Inherited {
        from,
        alerts: Vec::new(),
    });
    cluster.leadership.term = Term::new(from.get() + 16).unwrap();
}

/// A new manager that goes on with the alerts of `old`, told of a healthy state.
fn restarted(old: &World) -> World {
    let alerts: Vec<ActiveAlert> = old.firing.values().cloned().collect();
    let mut world = World {
        manager: AlertManager::new(Config::default()),
        now: old.now,
        cluster: healthy(),
        firing: old.firing.clone(),
        news: Vec::new(),
        pages: Vec::new(),
        newest: old.newest,
        over: None,
        adopted: Vec::new(),
    };
    world.tell(Event::Restore {
        term: Some(world.cluster.leadership.term),
        alerts,
        newest: old.newest,
    });
    world
}

#[test]
fn restored_alerts_go_on_and_are_resolved_when_the_state_is_known() {
    let mut old = World::new();
    lost(&mut old);
    let mut world = restarted(&old);
    world.show();
    world.wait(10 * SECOND - 1);
    assert_eq!(world.news, [""; 0]);
    world.wait(1);
    assert_eq!(world.news(), ["-worker_lost worker=a"]);
}

#[test]
fn restored_alerts_whose_condition_holds_are_not_told_again() {
    let mut old = World::new();
    lost(&mut old);
    let mut world = restarted(&old);
    availability(&mut world, Availability::Lost);
    world.wait(100 * SECOND);
    assert_eq!(world.news(), [""; 0]);
    back(&mut world);
    assert_eq!(world.news(), ["-worker_lost worker=a"]);
}

#[test]
fn a_restored_alert_that_was_seen_to_hold_ends_with_its_condition() {
    let mut old = World::new();
    lost(&mut old);
    let mut world = restarted(&old);
    availability(&mut world, Availability::Lost);
    assert_eq!(world.news(), [""; 0]);
    back(&mut world);
    assert_eq!(
        world.news(),
        ["-worker_lost worker=a"],
        "without waiting for the others"
    );
}

#[test]
fn a_restored_worker_alert_waits_for_the_worker() {
    let mut old = World::new();
    lost(&mut old);
    let (worker_a, session) = (worker_id("a"), session(1));
    old.tell(Event::Emergency {
        worker: worker_a,
        session,
    });
    old.wait(SECOND);
    let mut world = restarted(&old);
    world.change(|c| worker(c, "a").heard = false);
    world.wait(100 * SECOND);
    assert_eq!(world.news(), [""; 0]);
    world.change(|c| worker(c, "a").heard = true);
    assert_eq!(
        world.news(),
        ["-worker_emergency worker=a", "-worker_lost worker=a"]
    );
}

#[test]
fn a_restored_failing_stream_waits_until_it_runs() {
    let mut old = World::new();
    old.change(|c| observe(c, "s1", RunState::Failing, 3));
    old.wait(61 * SECOND);
    assert_eq!(old.news(), ["+stream_failing stream=s1"]);
    let mut world = restarted(&old);
    world.change(|c| observe(c, "s1", RunState::Failing, 3));
    world.wait(30 * SECOND);
    assert_eq!(world.news(), [""; 0]);
    world.change(|c| observe(c, "s1", RunState::Running, 4));
    world.wait(10 * SECOND);
    assert_eq!(world.news(), ["-stream_failing stream=s1"]);
}

#[test]
fn who_does_not_lead_says_nothing() {
    for role in [Role::Standby, Role::TakingOver] {
        let mut world = World::new();
        world.change(|c| c.leadership.role = role);
        availability(&mut world, Availability::Lost);
        world.tell(Event::MassFailure {
            held: true,
            silent: 2,
            of: 2,
        });
        world.wait(100 * SECOND);
        assert_eq!(world.news(), [""; 0], "{role:?}");
        assert_eq!(world.manager.next_deadline(), None);
    }
    let mut world = World::new();
    lost(&mut world);
    world.change(|c| c.leadership.role = Role::Standby);
    back(&mut world);
    world.wait(100 * SECOND);
    assert_eq!(world.news(), [""; 0], "nothing resolves");
}

#[test]
fn a_takeover_resolves_nothing_before_workers_could_be_heard() {
    let mut world = World::new();
    lost(&mut world);
    let now = at(world.now);
    world.change(|c| {
        turn(c, "a", 0, Availability::Alive);
        lead_on(c);
        c.leadership.since = now;
    });
    world.wait(10 * SECOND - 1);
    assert_eq!(world.news, [""; 0]);
    world.wait(1);
    assert_eq!(world.news(), ["-worker_lost worker=a"]);
}

#[test]
fn a_mass_failure_inhibits_new_alerts_of_workers() {
    let mass = |held| Event::MassFailure {
        held,
        silent: 2,
        of: 2,
    };
    let mut world = World::new();
    availability(&mut world, Availability::Warning);
    assert_eq!(world.news(), ["+worker_silent worker=a"]);
    world.tell(mass(true));
    assert_eq!(world.news(), ["+mass_failure"]);
    let now = world.now;
    world.change(|c| turn(c, "b", now, Availability::Warning));
    world.wait(60 * SECOND);
    assert_eq!(world.news(), [""; 0], "the old one goes on, no new one comes");
    availability(&mut world, Availability::Lost);
    assert_eq!(world.news(), ["-worker_silent worker=a"]);
    world.tell(mass(false));
    let expected = [
        "-mass_failure",
        "+worker_lost worker=a",
        "+worker_silent worker=b",
    ];
    assert_eq!(world.news(), expected);
}

#[test]
fn what_is_shorter_than_an_evaluation_is_no_alert() {
    let mut world = World::new();
    world.wait(SECOND);
    availability(&mut world, Availability::Dead);
    world.wait(100);
    back(&mut world);
    assert_eq!(
        world.manager.next_deadline(),
        Some(at(world.now + 150)),
        "changes are taken in together"
    );
    assert_eq!(world.news(), [""; 0]);
    assert_eq!(
        world.manager.next_deadline(),
        None,
        "nothing to do until something changes"
    );
}

#[test]
fn a_database_that_stores_nothing_is_an_alert_while_it_lasts() {
    let mut world = World::new();
    let since = consistency_fixture::at(world.now);
    let fails = |reason: &str| {
        let reason = reason.to_owned();
        Some(std::sync::Arc::new(crate::cluster::Outage { since, reason }))
    };
    world.change(|cluster| cluster.outage = fails("disk full"));
    world.wait(3 * SECOND - 1);
    assert_eq!(world.news, [""; 0], "not before database_after");
    world.wait(1);
    assert_eq!(world.news(), ["+database_failing"]);
    assert!(
        world.description().contains("disk full"),
        "{}",
        world.description()
    );
    world.change(|cluster| cluster.outage = None);
    assert_eq!(world.news(), ["-database_failing"]);
    // One that is over soon is none.
    let since = consistency_fixture::at(world.now);
    let reason = "locked".to_owned();
    let outage = Some(std::sync::Arc::new(crate::cluster::Outage { since, reason }));
    world.change(|cluster| cluster.outage = outage);
    world.wait(SECOND);
    world.change(|cluster| cluster.outage = None);
    world.wait(10 * SECOND);
    assert_eq!(world.news(), [""; 0]);
}

#[test]
fn a_stream_whose_source_is_at_fault_is_told_once_and_a_suspected_worker_until_it_is_trusted_again() {
    use streamkeeper_protocol::StreamId;

    use crate::blame::Quarantine;
    use crate::directive::{DirectiveWrite, Key};
    let mut world = World::new();
    let (name, worker) = (StreamId::new("s1").unwrap(), WorkerId::new("a").unwrap());
    let quarantine = Quarantine {
        tried: [worker.clone()].into(),
        since: Timestamp::ZERO,
        until: Timestamp::MAX,
    };
    world.change(|c| c.quarantined = Arc::new([(name.clone(), quarantine)].into()));
    assert_eq!(world.news(), ["+stream_quarantined stream=s1"]);
    world.wait(1_000 * SECOND);
    assert_eq!(world.news(), [""; 0]);
    world.change(|c| c.quarantined = Arc::default());
    assert_eq!(world.news(), ["-stream_quarantined stream=s1"]);

    let order = |reason: &str| DirectiveWrite::Put {
        key: Key::cordon(&worker),
        reason: reason.to_owned(),
        lasts: None,
    };
    let apply = |world: &mut World, write: DirectiveWrite| {
        world.change(|c| Arc::make_mut(&mut c.directives).apply(Timestamp::ZERO, write));
    };
    apply(&mut world, order("kernel update"));
    assert_eq!(world.news(), [""; 0], "an operator knows what he orders");
    apply(&mut world, order("suspected: 3 streams failed here"));
    assert_eq!(world.news(), ["+worker_suspected worker=a"]);
    apply(&mut world, DirectiveWrite::Delete(Key::cordon(&worker)));
    assert_eq!(world.news(), ["-worker_suspected worker=a"]);
}

/// What another orchestrator stored, and leads now under a higher term, from `now` on.
fn led_by_another(world: &mut World, alerts: Vec<ActiveAlert>) {
    let now = at(world.now);
    world.change(|c| {
        let term = c.leadership.term.get();
        let from = Term::new(term + 1).unwrap();
        c.inherited = Arc::new(Inherited { from, alerts });
        c.leadership.term = Term::new(term + 16).unwrap();
        c.leadership.since = now;
    });
}

#[test]
fn a_new_leader_goes_on_with_what_its_predecessor_stored() {
    let mut old = World::new();
    lost(&mut old);
    old.change(|c| observe(c, "s1", RunState::Failing, 3));
    old.wait(61 * SECOND);
    assert_eq!(old.news(), ["+stream_failing stream=s1"]);
    let stored: Vec<ActiveAlert> = old.firing.values().cloned().collect();

    let mut world = World::new();
    led_by_another(&mut world, stored.clone());
    // The worker is late still, the stream runs.
    availability(&mut world, Availability::Lost);
    world.wait(9 * SECOND);
    assert_eq!(world.news, [""; 0], "told once, by the predecessor");
    assert_eq!(world.adopted, [false]);
    assert_eq!(world.firing.values().cloned().collect::<Vec<_>>(), stored);
    world.wait(30 * SECOND);
    assert_eq!(world.news(), ["-stream_failing stream=s1"]);
    back(&mut world);
    assert_eq!(world.news(), ["-worker_lost worker=a"]);
}

#[test]
fn a_worker_that_only_the_predecessor_knew_is_missed_until_it_comes_or_is_forgotten() {
    let stored = {
        let mut old = World::new();
        lost(&mut old);
        let (worker, session) = (worker_id("a"), session(1));
        old.tell(Event::Emergency { worker, session });
        old.wait(SECOND);
        assert_eq!(old.news(), ["+worker_emergency worker=a"]);
        old.firing.into_values().collect::<Vec<ActiveAlert>>()
    };
    let alone = || {
        let mut world = World::new();
        world.change(|c| {
            c.workers.remove(&worker_id("a"));
        });
        led_by_another(&mut world, stored.clone());
        world.wait(300 * SECOND);
        assert_eq!(world.news(), [""; 0]);
        world
    };
    let over = ["-worker_emergency worker=a", "-worker_lost worker=a"];
    let mut world = alone();
    world.change(|c| {
        *c = ClusterState {
            leadership: c.leadership,
            inherited: c.inherited.clone(),
            ..healthy()
        }
    });
    assert_eq!(world.news(), over);
    let mut world = alone();
    world.wait(300 * SECOND);
    assert_eq!(world.news(), over);
    assert_eq!(world.manager.next_deadline(), None);
}

#[test]
fn alerts_of_a_leader_that_was_deposed_and_leads_again_are_those_that_are_stored() {
    let mut world = World::new();
    lost(&mut world);
    world.change(|c| c.leadership.role = Role::Standby);
    // Its successor resolved that one meanwhile.
    world.cluster.leadership.role = Role::Leading;
    led_by_another(&mut world, Vec::new());
    back(&mut world);
    world.wait(60 * SECOND);
    assert_eq!(world.news(), [""; 0]);
    assert!(world.firing.is_empty(), "{:?}", world.firing);
    assert_eq!(world.adopted, [false, false]);
    // Its own memory counts as long as nobody else led.
    lost(&mut world);
    let now = at(world.now);
    world.change(|c| {
        lead_on(c);
        c.leadership.since = now;
    });
    world.wait(60 * SECOND);
    assert_eq!(world.news(), [""; 0], "the condition holds");
    assert_eq!(world.adopted, [false, false, true]);
}
