//! Rules that cannot all be kept.

use proptest::prelude::*;

use super::Outcome;
use super::world::{Fleet, World};
use crate::cluster::UnplacedReason;

pub(super) fn contradicting_rules_are_found_and_never_loop(world: &World) -> Outcome {
    let mut world = world.clone();
    // More streams of one key than workers, and a pin against a label.
    for stream in &mut world.streams {
        stream.spread = Some(0);
        stream.requires = None;
        stream.pin = None;
    }
    if let (Some(stream), Some(worker)) = (world.streams.first_mut(), world.workers.first_mut()) {
        stream.pin = Some(0);
        stream.requires = Some(1);
        worker.label = 2;
    }
    let mut fleet = Fleet::new(&world);
    fleet.settle();
    let named = fleet.named();
    if world.streams.is_empty() || world.workers.is_empty() {
        return Ok(());
    }
    prop_assert!(!named.contains_key(&0));
    let solution = fleet.place();
    let reason = |stream: usize| {
        solution
            .unplaced
            .iter()
            .find(|(index, _)| *index == fleet.index(stream))
    };
    let open = world
        .workers
        .iter()
        .any(|worker| worker.open && worker.max_streams > 0);
    let expected = if open {
        UnplacedReason::NoPin
    } else {
        UnplacedReason::NoWorkers
    };
    prop_assert_eq!(reason(0).map(|(_, reason)| *reason), Some(expected));
    Ok(())
}
