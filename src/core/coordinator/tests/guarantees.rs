//! Guarantees that the coordinator sees broken by itself: what no event leads to, done by hand.

use streamkeeper_protocol::{Epoch, Ownership};

use super::world::{World, id, worker};
use super::*;
use crate::cluster::{MoveReason, Slot};
use crate::invariant::Invariant;
use crate::record::Assignment;

/// Puts the stream, which `a` runs, into another slot, and answers which guarantee was seen broken.
fn broken_by(
    ownership: Ownership,
    slot: impl Fn(&Assignment, Assignment) -> Slot,
    counter: u32,
) -> Option<Invariant> {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare_as(&["s"], ownership);
    world.place_all("a");
    let row = world.rows[&id("s")].clone();
    let other = Assignment {
        worker: worker("b"),
        session: SessionId::from_u128(2),
        epoch: Epoch::new(row.epoch.term(), counter),
    };
    let now = Timestamp::from_ms(world.now);
    let mut coordinator = world.coordinator.take().unwrap();
    let slot = slot(&row, other);
    let change = || coordinator.set_slot(now, &id("s"), slot, MoveReason::Balance);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change)).err()?;
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    Invariant::ALL
        .into_iter()
        .find(|invariant| text.starts_with(invariant.as_str()))
}

#[test]
fn a_change_that_breaks_a_guarantee_is_seen() {
    use Ownership::{Available, Exclusive};
    let committing = |row: &Assignment, next| Slot::Committing {
        next,
        last: Some(row.clone()),
    };
    let handing = |row: &Assignment, to| Slot::Handing {
        from: row.clone(),
        to,
    };
    let releasing = |row: &Assignment, _| Slot::Releasing {
        from: row.clone(),
        to: None,
    };
    let vacant = |_: &Assignment, _| Slot::Vacant;
    assert_eq!(broken_by(Available, committing, 9), None);
    assert_eq!(
        broken_by(Available, committing, 0),
        Some(Invariant::EpochMonotonic)
    );
    assert_eq!(broken_by(Available, handing, 9), None);
    assert_eq!(broken_by(Available, handing, 1), Some(Invariant::EpochMonotonic));
    assert_eq!(broken_by(Exclusive, committing, 9), None);
    assert_eq!(broken_by(Exclusive, handing, 9), Some(Invariant::SingleOwner));
    assert_eq!(broken_by(Available, releasing, 9), None);
    assert_eq!(broken_by(Available, vacant, 9), Some(Invariant::NoEmptyPlan));
}

#[test]
fn acts_without_a_fence_or_after_the_own_time_are_seen() {
    let persist = || {
        vec![Command::Persist {
            ticket: 1,
            fence: crate::record::Fence {
                term: Term::new(16).unwrap(),
                nonce: 1,
            },
            batch: Default::default(),
        }]
    };
    let seen = |coordinator: &Coordinator, now: u64| {
        let check = || coordinator.check_acts(Timestamp::from_ms(now), &mut persist());
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err()
    };
    let mut world = World::new();
    let leading = world.coordinator.as_mut().unwrap();
    assert!(!seen(leading, 10));
    leading.until = Timestamp::from_ms(100);
    assert!(!seen(leading, 99));
    assert!(seen(leading, 100));
    assert!(seen(&Coordinator::new(Config::default()), 10));
}
