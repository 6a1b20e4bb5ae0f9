//! What the consistency checker proposes, and when it is refused.

use imbl::OrdSet;
use streamkeeper_protocol::Epoch;

use super::*;
use crate::consistency_checker::Repair;
use crate::notice::Notice;
use crate::record::Assignment;

fn restore(stream: &str, epoch: Epoch) -> Event {
    Event::Repair(vec![Repair::Restore {
        stream: id(stream),
        epoch,
    }])
}

fn repaired(world: &World) -> usize {
    let repairs = world.notices.iter();
    repairs
        .filter(|notice| matches!(notice, Notice::Repaired(_)))
        .count()
}

#[test]
fn a_row_that_somebody_changed_is_stored_again_and_nothing_moves() {
    let mut world = running_world();
    let right = world.rows[&id("s1")].clone();
    let starts = world.starts.len();
    let wrong = Assignment {
        worker: worker("nobody"),
        ..right.clone()
    };
    world.rows.insert(id("s1"), wrong.clone());
    // It was found under another epoch: the stream has changed since.
    world.send(restore("s1", Epoch::ZERO));
    assert_eq!((&world.rows[&id("s1")], repaired(&world)), (&wrong, 0));
    world.send(restore("s1", right.epoch));
    assert_eq!((&world.rows[&id("s1")], repaired(&world)), (&right, 1));
    world.rows.remove(&id("s1"));
    world.send(restore("s1", right.epoch));
    assert_eq!(world.rows[&id("s1")], right);
    assert_eq!(world.starts.len(), starts);
    world.assert_runs("s1", &["a"]);
}

#[test]
fn a_row_with_a_higher_epoch_is_not_overwritten_but_read() {
    let mut world = running_world();
    let right = world.rows[&id("s1")].clone();
    let term = world.cluster().leadership.term;
    let higher = Assignment {
        epoch: Epoch::new(term, 9_999),
        ..right.clone()
    };
    world.rows.insert(id("s1"), higher.clone());
    world.send(restore("s1", right.epoch));
    assert_eq!(world.rows[&id("s1")], higher);
    assert!(
        world.cluster().leadership.term > term,
        "everything was read again"
    );
}

#[test]
fn reading_all_again_moves_no_stream() {
    let mut world = running_world();
    let (term, starts) = (world.cluster().leadership.term, world.starts.len());
    world.send(Event::Repair(vec![Repair::Reread]));
    assert!(world.cluster().leadership.term > term);
    assert_eq!((world.starts.len(), repaired(&world)), (starts, 1));
    world.assert_runs("s1", &["a"]);
}

#[test]
fn a_row_that_belongs_to_no_stream_is_removed_and_no_other() {
    let mut world = running_world();
    let row = world.rows[&id("s1")].clone();
    world.rows.insert(id("x"), row.clone());
    let clear = |stream: &str| {
        Event::Repair(vec![Repair::Clear {
            stream: id(stream),
            epoch: row.epoch,
        }])
    };
    world.send(clear("x"));
    assert!(!world.rows.contains_key(&id("x")));
    world.send(clear("s1"));
    assert_eq!(world.rows[&id("s1")], row, "somebody runs it");
    assert_eq!(repaired(&world), 1);
}

#[test]
fn streams_are_counted_anew_and_wanted_anew() {
    let mut world = running_world();
    let recount = || Event::Repair(vec![Repair::Recount { worker: worker("a") }]);
    world.send(recount());
    assert_eq!(repaired(&world), 0, "it was right");
    let right = world.cluster().workers.get(&worker("a")).unwrap().clone();
    world
        .coordinator
        .as_mut()
        .unwrap()
        .update_worker(&worker("a"), |record| {
            record.assigned = OrdSet::new();
            record.load = 99.0;
        });
    world.send(recount());
    let counted = world.cluster().workers.get(&worker("a")).unwrap();
    assert_eq!((&counted.assigned, repaired(&world)), (&right.assigned, 1));
    assert!((counted.load - right.load).abs() < 1e-9);

    world.declare(&["new"]);
    let wish = || Event::Repair(vec![Repair::Want { stream: id("new") }]);
    world.coordinator.as_mut().unwrap().cluster.needs_worker.clear();
    world.send(wish());
    assert!(world.cluster().needs_worker.contains(&id("new")));
    world.send(Event::Repair(vec![Repair::Want { stream: id("s1") }]));
    assert!(!world.cluster().needs_worker.contains(&id("s1")), "it runs");
}

#[test]
fn who_does_not_lead_repairs_nothing() {
    let mut world = running_world();
    let right = world.rows[&id("s1")].clone();
    world.rows.remove(&id("s1"));
    let term = world.cluster().leadership.term;
    world.away = true;
    world.send(Event::Resigned { term });
    world.send(restore("s1", right.epoch));
    assert_eq!((world.rows.len(), repaired(&world)), (world.rows.len(), 0));
    assert!(!world.rows.contains_key(&id("s1")));
}
