//! Rules that cannot all be kept.

use proptest::prelude::*;

use super::super::Limits;
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

/// Two streams that must keep apart are pinned to one worker, and a third to one that takes nothing.
pub(super) fn pins_against_rules_are_told_apart_and_never_loop(world: &World) -> Outcome {
    let mut world = world.clone();
    if world.streams.len() < 3 || world.workers.len() < 2 {
        return Ok(());
    }
    for (stream, pin) in world.streams.iter_mut().zip([0, 0, 1]) {
        stream.pin = Some(pin);
        stream.spread = (pin == 0).then_some(7);
        (stream.requires, stream.exclusive, stream.priority) = (None, false, 9);
        stream.weight = 0.1;
    }
    world.workers[0].open = true;
    world.workers[0].max_streams = 1_000;
    world.workers[1].max_streams = 0;
    let mut fleet = Fleet::new(&world);
    fleet.settle();
    let named = fleet.named();
    let of_pair = [0, 1].map(|stream| named.get(&stream).copied());
    prop_assert!(
        of_pair == [Some(0), None] || of_pair == [None, Some(0)],
        "{of_pair:?}"
    );
    prop_assert!(!named.contains_key(&2));
    // Nothing is tried over and over: the next plan does nothing and says the same.
    let again = fleet.place();
    prop_assert!(again.moves.is_empty(), "{:?}", again.moves);
    prop_assert!(fleet.balance(&Limits::UNLIMITED).moves.is_empty());
    let reason = |stream: usize| {
        let mut unplaced = again.unplaced.iter();
        unplaced
            .find(|(index, _)| *index == fleet.index(stream))
            .map(|(_, reason)| *reason)
    };
    let loser = if of_pair[0].is_none() { 0 } else { 1 };
    prop_assert_eq!(reason(loser), Some(UnplacedReason::NoSpread));
    prop_assert_eq!(reason(2), Some(UnplacedReason::NoPin));
    Ok(())
}
