//! One cause is one incident and one page.

use super::*;
use crate::cluster::Outage;
use crate::spec::StreamSpec;

const PATIENCE: u64 = 15 * SECOND;

fn lose(world: &mut World, name: &str) {
    let now = world.now;
    world.change(|c| turn(c, name, now, Availability::Lost));
}

/// So many streams of worker a find no other.
fn orphan(c: &mut ClusterState, now: u64, count: usize) {
    for number in 0..count {
        let last = assignment("a", 9);
        put_stream(c, at(now), &format!("o{number}"), Slot::Orphaned { last });
        stream(c, &format!("o{number}")).unplaced = Some(UnplacedReason::NoCapacity);
    }
}

/// A stream from this source on worker b that does not keep running.
fn fail(c: &mut ClusterState, now: u64, name: &str, source: &str) {
    put_stream(c, at(now), name, Slot::Held(assignment("b", 9)));
    let record = stream(c, name);
    record.spec = Arc::new(StreamSpec::new(stream_id(name), source));
    observe(c, name, RunState::Failing, 3);
}

#[track_caller]
fn assert_incidents(world: &World, expected: &[(&str, &[&str])]) {
    let found = world.incidents();
    let found: Vec<(&str, Vec<&str>)> = found
        .iter()
        .map(|(id, alerts)| (id.as_str(), alerts.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<(&str, Vec<&str>)> = expected
        .iter()
        .map(|(id, alerts)| (*id, alerts.to_vec()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_thousand_streams_lost_with_one_worker_are_one_page() {
    let mut world = World::new();
    lose(&mut world, "a");
    let now = world.now;
    world.change(|c| orphan(c, now, 1_000));
    assert_eq!(world.pages(), ["1-1 worker_lost worker=a"]);
    world.wait(6 * SECOND);
    world.tell(Event::Emergency {
        worker: worker_id("a"),
        session: session(1),
    });
    world.tell(Event::Findings(vec![finding(
        FindingKind::Missing,
        "o1",
        Some("a"),
    )]));
    assert_eq!(world.pages(), [""; 0]);
    let expected = [
        "inconsistent kind=missing by worker_lost",
        "streams_unplaced by worker_lost",
        "worker_emergency worker=a by worker_lost",
        "worker_lost worker=a",
    ];
    assert_incidents(&world, &[("1-1", &expected)]);
}

#[test]
fn what_has_another_cause_is_another_incident() {
    let mut world = World::new();
    lose(&mut world, "a");
    // Streams without a place that were never on the lost worker.
    let now = world.now;
    world.change(|c| unplaced(c, at(now), "new", UnplacedReason::NoLabels));
    world.tell(Event::Findings(vec![finding(
        FindingKind::Ghost,
        "s3",
        Some("b"),
    )]));
    world.wait(6 * SECOND);
    let expected = [
        "1-1 worker_lost worker=a",
        "1-2 inconsistent kind=ghost",
        "1-3 streams_unplaced",
    ];
    let mut pages = world.pages();
    pages.sort();
    assert_eq!(pages, expected);
}

#[test]
fn more_urgent_news_of_an_incident_is_a_page_and_less_urgent_is_none() {
    let mut world = World::new();
    availability(&mut world, Availability::Warning);
    assert_eq!(world.pages(), ["1-1 worker_silent worker=a"]);
    availability(&mut world, Availability::Lost);
    assert_eq!(world.pages(), ["1-1 worker_lost worker=a"]);
    world.tell(Event::Rival {
        worker: worker_id("a"),
        holder: session(1),
        refused: session(2),
    });
    assert_eq!(world.pages(), [""; 0]);
}

#[test]
fn trouble_that_comes_and_goes_is_one_incident() {
    let mut world = World::new();
    for _ in 0..3 {
        lose(&mut world, "a");
        assert_eq!(world.pages(), ["1-1 worker_lost worker=a"]);
        back(&mut world);
        world.wait(50 * SECOND);
    }
    world.wait(61 * SECOND);
    lose(&mut world, "a");
    assert_eq!(world.pages(), ["1-2 worker_lost worker=a"]);
}

#[test]
fn a_consequence_that_outlasts_its_cause_is_a_page() {
    let mut world = World::new();
    lose(&mut world, "a");
    let now = world.now;
    world.change(|c| orphan(c, now, 3));
    world.wait(6 * SECOND);
    assert_eq!(world.pages(), ["1-1 worker_lost worker=a"]);
    back(&mut world);
    world.wait(PATIENCE - SECOND);
    assert_eq!(world.pages(), [""; 0]);
    assert_incidents(&world, &[("1-1", &["streams_unplaced by what is over"])]);
    world.wait(SECOND);
    assert_eq!(world.pages(), ["1-1 streams_unplaced"]);
}

#[test]
fn what_is_of_many_is_a_page_once_something_else_is_among_it() {
    let mut world = World::new();
    lose(&mut world, "a");
    let now = world.now;
    world.change(|c| orphan(c, now, 3));
    world.wait(6 * SECOND);
    assert_eq!(world.pages().len(), 1);
    let now = world.now;
    world.change(|c| unplaced(c, at(now), "new", UnplacedReason::NoLabels));
    world.wait(PATIENCE + SECOND);
    assert_eq!(world.pages(), ["1-1 streams_unplaced"]);
}

#[test]
fn a_mass_failure_explains_the_losses_and_what_stays_of_them() {
    let mut world = World::new();
    world.tell(Event::MassFailure {
        held: true,
        silent: 2,
        of: 2,
    });
    world.tell(Event::Emergency {
        worker: worker_id("a"),
        session: session(1),
    });
    availability(&mut world, Availability::Warning);
    assert_eq!(world.pages(), ["1-1 mass_failure"]);
    world.tell(Event::MassFailure {
        held: false,
        silent: 0,
        of: 2,
    });
    let now = world.now;
    world.change(|c| turn(c, "a", now, Availability::Lost));
    assert_eq!(world.pages(), ["1-1 worker_lost worker=a"]);
    world.wait(2 * PATIENCE);
    assert_eq!(world.pages(), [""; 0]);
    let expected = ["worker_emergency worker=a by worker_lost", "worker_lost worker=a"];
    assert_incidents(&world, &[("1-1", &expected)]);
}

#[test]
fn a_database_outage_explains_what_follows_from_it() {
    let mut world = World::new();
    let since = at(world.now);
    let reason = "away".to_owned();
    world.change(|c| c.outage = Some(Arc::new(Outage { since, reason })));
    world.wait(4 * SECOND);
    let now = world.now;
    world.change(|c| unplaced(c, at(now), "s3", UnplacedReason::NoCapacity));
    world.wait(6 * SECOND);
    assert_eq!(world.pages(), ["1-1 database_failing"]);
    assert_incidents(
        &world,
        &[(
            "1-1",
            &["database_failing", "streams_unplaced by database_failing"],
        )],
    );
}

#[test]
fn streams_of_one_host_have_one_cause() {
    let mut world = World::new();
    let now = world.now;
    world.change(|c| {
        for number in 0..200 {
            fail(
                c,
                now,
                &format!("f{number}"),
                &format!("rtsp://u:p@nvr.example:554/{number}"),
            );
        }
        fail(c, now, "other", "rtsp://other.example/1");
    });
    world.wait(61 * SECOND);
    let pages = world.pages();
    assert_eq!(pages.len(), 2, "{pages:?}");
    assert!(
        pages
            .iter()
            .any(|page| page.ends_with("stream_failing stream=other"))
    );
    // Much later the host is no likely cause any more.
    world.wait(700 * SECOND);
    let now = world.now;
    world.change(|c| fail(c, now, "late", "rtsp://nvr.example:554/late"));
    world.wait(61 * SECOND);
    assert_eq!(world.pages(), ["1-3 stream_failing stream=late"]);
}

#[test]
fn a_cause_that_is_known_late_takes_over() {
    let mut world = World::new();
    let now = world.now;
    world.change(|c| fail(c, now, "f1", "/dev/video0"));
    world.wait(61 * SECOND);
    assert_eq!(world.pages(), ["1-1 stream_failing stream=f1"]);
    let now = world.now;
    world.change(|c| turn(c, "b", now, Availability::Warning));
    assert_eq!(world.pages(), ["1-1 worker_silent worker=b"]);
    let expected = [
        "stream_failing stream=f1 by worker_silent",
        "worker_silent worker=b",
    ];
    assert_incidents(&world, &[("1-1", &expected)]);
}

#[test]
fn incidents_outlive_the_manager_and_the_leader() {
    let mut world = World::new();
    lose(&mut world, "a");
    let now = world.now;
    world.change(|c| orphan(c, now, 3));
    world.wait(6 * SECOND);
    let before = world.incidents();
    world.pages.clear();
    world.manager = AlertManager::new(Config::default());
    world.tell(Event::Restore {
        term: Some(world.cluster.leadership.term),
        alerts: world.firing.values().cloned().collect(),
        newest: world.newest,
    });
    world.show();
    world.wait(20 * SECOND);
    assert_eq!(world.pages(), [""; 0]);
    assert_eq!(world.incidents(), before);
    lose(&mut world, "b");
    assert_eq!(
        world.pages(),
        ["1-2 worker_lost worker=b"],
        "no name is given twice"
    );
    // Another leader goes on with what is stored.
    let stored: Vec<ActiveAlert> = world.firing.values().cloned().collect();
    let mut next = World::new();
    next.wait(world.now - next.now);
    // It has never led itself.
    next.manager = AlertManager::new(Config::default());
    next.cluster = world.cluster.clone();
    next.cluster.leadership.term = Term::new(17).unwrap();
    next.cluster.leadership.since = at(next.now);
    next.cluster.inherited = Arc::new(Inherited {
        from: Term::new(1).unwrap(),
        alerts: stored,
    });
    next.show();
    next.wait(20 * SECOND);
    assert_eq!(next.pages(), [""; 0]);
    assert_eq!(next.incidents(), world.incidents());
    next.tell(Event::Findings(vec![finding(
        FindingKind::Ghost,
        "nowhere",
        None,
    )]));
    assert_eq!(next.pages(), ["17-1 inconsistent kind=ghost"]);
}

#[test]
fn alerts_that_were_stored_before_there_were_incidents_get_one() {
    let mut world = World::new();
    lose(&mut world, "a");
    world.wait(SECOND);
    let mut stored: Vec<ActiveAlert> = world.firing.values().cloned().collect();
    stored[0].incident = None;
    world.manager = AlertManager::new(Config::default());
    let term = Some(world.cluster.leadership.term);
    world.tell(Event::Restore {
        term,
        alerts: stored,
        newest: None,
    });
    world.firing.values_mut().for_each(|alert| alert.incident = None);
    world.pages.clear();
    world.show();
    assert_eq!(world.pages(), ["1-1 worker_lost worker=a"]);
    assert_eq!(world.news.iter().filter(|news| news.starts_with('+')).count(), 1);
}
