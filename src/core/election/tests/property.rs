//! Whatever happens to processes, clocks and messages: never two leaders at a time, never a term twice, and in the end
//! one leader.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::world::{Trouble, World};

#[derive(Debug, Clone)]
enum Fault {
    Wait(u64),
    Kill(usize),
    RestartMachine(usize),
    Stop(usize, u64),
    Cut(usize, u64),
    StepDown(usize),
    NeedTerm(usize),
    Heard(usize),
    Trouble(u64, u64, u64),
    Wipe,
}

fn fault(wipes: bool) -> impl Strategy<Value = Fault> {
    let who = || 0..4_usize;
    prop_oneof![
        8 => (0..12_000_u64).prop_map(Fault::Wait),
        2 => who().prop_map(Fault::Kill),
        1 => who().prop_map(Fault::RestartMachine),
        2 => (who(), 0..20_000_u64).prop_map(|(who, long)| Fault::Stop(who, long)),
        2 => (who(), 0..20_000_u64).prop_map(|(who, long)| Fault::Cut(who, long)),
        1 => who().prop_map(Fault::StepDown),
        1 => who().prop_map(Fault::NeedTerm),
        1 => who().prop_map(Fault::Heard),
        2 => (0..500_u64, 0..300_u64, 0..300_u64).prop_map(|(lost, late, double)| Fault::Trouble(lost, late, double)),
        u32::from(wipes) => Just(Fault::Wipe),
    ]
}

fn apply(world: &mut World, fault: &Fault) {
    let count = world.candidates.len();
    match *fault {
        Fault::Wait(ms) => world.run(Duration::from_millis(ms)),
        Fault::Kill(who) if world.is_alive(who % count) => world.kill(who % count),
        Fault::Kill(who) => world.start(who % count),
        Fault::RestartMachine(who) => world.restart_machine(who % count),
        Fault::Stop(who, long) => world.candidates[who % count].stopped_until = world.now + long,
        Fault::Cut(who, long) => world.candidates[who % count].cut_until = world.now + long,
        Fault::StepDown(who) => world.tell(who % count, Event::StepDown { for_good: false }),
        Fault::NeedTerm(who) => {
            let above = world.term(who % count);
            world.tell(who % count, Event::NeedTerm { above });
        }
        Fault::Heard(who) => {
            let highest = world.elected.keys().next_back().copied().unwrap_or_default();
            world.tell(who % count, Event::Heard(highest));
        }
        Fault::Trouble(lost, late, doubled) => world.trouble = Trouble { lost, late, doubled },
        Fault::Wipe => world.wipe(),
    }
}

/// Everything works again: within a wait, a rest and a few messages somebody leads, and nobody else.
fn calm(world: &mut World) {
    world.trouble = Trouble::default();
    for index in 0..world.candidates.len() {
        world.candidates[index].stopped_until = 0;
        world.candidates[index].cut_until = 0;
        if !world.is_alive(index) {
            world.start(index);
        }
    }
    world.run(Duration::from_secs(60));
    let leaders = world.leaders();
    assert_eq!(leaders.len(), 1, "in the end {leaders:?} lead");
    let status = &world.candidates[leaders[0]].status;
    assert_eq!(status.stage, Stage::Holding, "{status:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn one_leader_at_a_time(seed: u64, count in 2..=4_usize, faults in prop::collection::vec(fault(false), 1..60)) {
        let mut world = World::new(seed, count);
        for fault in &faults {
            apply(&mut world, fault);
            prop_assert!(world.overlaps.is_empty(), "{:?}", world.overlaps);
        }
        calm(&mut world);
        prop_assert!(world.overlaps.is_empty(), "{:?}", world.overlaps);
    }

    /// A key that is lost may let a second one in, never under a term that was used.
    #[test]
    fn no_term_twice_whatever_becomes_of_the_key(
        seed: u64, count in 2..=4_usize, faults in prop::collection::vec(fault(true), 1..60)
    ) {
        let mut world = World::new(seed, count);
        for fault in &faults {
            apply(&mut world, fault);
        }
        calm(&mut world);
    }
}
