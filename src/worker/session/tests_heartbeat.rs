//! When heartbeats are sent, and what they carry.

use streamkeeper_protocol::{Assign, AssignKind, ControlKind, Mode, Phase};

use super::tests::{answer, check, heartbeats, session, set, term, up};
use super::{Event, Millis};

#[test]
fn heartbeats_follow_the_interval_and_changes() {
    let mut session = session();
    assert_eq!(session.next_deadline(), None);
    check(&mut session, 0, Event::Tick, "");
    let first = session.handle(Millis(0), 1, Event::Connected);
    assert_eq!(
        (heartbeats(&first)[0].seq, heartbeats(&first)[0].inventory.parts),
        (1, 1)
    );
    let regular = session.next_deadline().unwrap().0;
    assert!((1_800..=2_200).contains(&regular), "{regular}");
    let second = session.handle(Millis(regular), 1, Event::Tick);
    assert_eq!(
        (heartbeats(&second)[0].seq, heartbeats(&second)[0].inventory.parts),
        (2, 0)
    );
    check(&mut session, regular + 5, set(1, "a1 b1 c1"), "T1 +a1 +b1 +c1");
    assert_eq!(session.next_deadline(), Some(Millis(regular + 20)));
    check(&mut session, regular + 6, up("a", 1), "");
    let told = session.handle(Millis(regular + 20), 1, Event::Tick);
    let seen: Vec<_> = heartbeats(&told)
        .iter()
        .map(|h| {
            (
                h.seq,
                h.inventory.part,
                h.inventory.parts,
                h.inventory.running.len(),
                h.inventory.count,
            )
        })
        .collect();
    assert_eq!(seen, [(3, 0, 2, 2, 3), (4, 1, 2, 1, 3)]);
    check(&mut session, regular + 30, Event::Disconnected, "");
    check(&mut session, regular + 9_000, Event::Tick, "");
    assert_eq!(session.inventory().len(), 3, "a lost connection stops nothing");
    check(&mut session, regular + 9_001, Event::Connected, "H H");
}

#[test]
fn the_mode_is_local_without_a_leader() {
    let mut session = session();
    session.handle(Millis(0), 1, Event::Connected);
    session.handle(Millis(100), 1, Event::Assign(answer(1, 0, AssignKind::LeaseOnly)));
    for (ms, mode) in [(10_099, Mode::Connected), (20_000, Mode::Local)] {
        let commands = session.handle(Millis(ms), 1, Event::Tick);
        assert_eq!(heartbeats(&commands)[0].mode, mode);
    }
    session.handle(
        Millis(20_001),
        1,
        Event::Assign(answer(1, 0, AssignKind::Current)),
    );
    let commands = session.handle(Millis(30_000), 1, Event::Tick);
    assert_eq!(
        (heartbeats(&commands)[0].mode, session.last_ack()),
        (Mode::Connected, 1)
    );
}

#[test]
fn whole_inventory_comes_when_asked() {
    let mut session = session();
    session.handle(Millis(0), 1, Event::Connected);
    let asking = Assign {
        whole_inventory: true,
        ..answer(0, 0, AssignKind::Current)
    };
    check(&mut session, 50, Event::Assign(asking), "");
    let control = |kind| Event::Control { term: term(0), kind };
    let steps = [
        (control(ControlKind::Ping), 1, Phase::Ready),
        (control(ControlKind::Ping), 0, Phase::Ready),
        (control(ControlKind::Resync), 1, Phase::Ready),
        (control(ControlKind::Drain), 0, Phase::Draining),
        (control(ControlKind::Resume), 0, Phase::Ready),
        (
            Event::Assign(answer(1, 0, AssignKind::LeaseOnly)),
            1,
            Phase::Ready,
        ),
    ];
    for (ms, (event, parts, phase)) in (1..).map(|n| n * 100).zip(steps) {
        let commands = session.handle(Millis(ms), 1, event);
        let heartbeat = heartbeats(&commands)[0];
        assert_eq!(
            (heartbeat.inventory.parts, heartbeat.phase),
            (parts, phase),
            "{ms}"
        );
    }
}
