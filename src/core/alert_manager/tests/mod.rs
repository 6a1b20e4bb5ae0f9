//! Every rule fires and resolves; what is not judged, and when.

mod bounds;
mod incidents;
mod lifecycle;
mod property;
mod world;

use std::sync::Arc;

use streamkeeper_protocol::{Phase, RunState, WorkerId};

use super::*;
use crate::cluster::{Availability, Slot, UnplacedReason};
use crate::consistency_checker::fixture::*;
use crate::consistency_checker::{Finding, FindingKind, Policy};
use crate::invariant::Invariant;
use world::World;

const SECOND: u64 = 1_000;

fn turn(cluster: &mut ClusterState, name: &str, now: u64, availability: Availability) {
    let record = worker(cluster, name);
    record.availability = availability;
    record.since = at(now);
}

fn finding(kind: FindingKind, stream: &str, worker: Option<&str>) -> Finding {
    Finding {
        kind,
        stream: Some(stream_id(stream)),
        worker: worker.map(worker_id),
        detail: "differs".into(),
        repair: None,
        policy: Policy::Repair,
        since: Timestamp::ZERO,
    }
}

/// Fires `alert` after `begin`, holds it, and resolves it after `end`; `begin` and `end` may let time pass.
#[track_caller]
fn assert_fires_and_resolves(
    alert: &str,
    words: &str,
    begin: impl FnOnce(&mut World),
    end: impl FnOnce(&mut World),
) {
    let mut world = World::new();
    assert_eq!(world.news(), [""; 0], "all is well at first");
    begin(&mut world);
    assert_eq!(world.news(), [format!("+{alert}")]);
    let description = world.description();
    assert!(description.contains(words), "{description:?} lacks {words:?}");
    world.show();
    assert_eq!(world.news(), [""; 0], "told once");
    end(&mut world);
    assert_eq!(world.news(), [format!("-{alert}")]);
    world.wait(1_000 * SECOND);
    world.show();
    assert_eq!(world.news(), [""; 0], "over is over");
}

fn availability(world: &mut World, availability: Availability) {
    let now = world.now;
    world.change(|c| turn(c, "a", now, availability));
}

fn back(world: &mut World) {
    availability(world, Availability::Alive);
}

#[test]
fn silence_and_loss_of_workers() {
    assert_fires_and_resolves(
        "worker_silent worker=a",
        "was last heard 107 s ago; 2 streams count on it",
        |w| {
            w.wait(7 * SECOND - 500);
            availability(w, Availability::Warning);
        },
        back,
    );
    assert_fires_and_resolves(
        "worker_lost worker=a",
        "was last heard 110 s ago; 2 streams still count on it",
        |w| {
            w.wait(10 * SECOND - 500);
            availability(w, Availability::Lost);
        },
        |w| {
            // That its streams run elsewhere by now brings no worker back.
            w.change(|c| {
                for name in ["s1", "s2"] {
                    put_stream(c, at(0), name, Slot::Held(assignment("b", 9)));
                }
            });
            assert_eq!(w.news(), [""; 0]);
            back(w);
        },
    );
    // Killed: the guard proves the death, nobody announced it.
    assert_fires_and_resolves(
        "worker_lost worker=a",
        "is proven to be dead; 2 streams still count on it",
        |w| availability(w, Availability::Dead),
        |w| {
            w.change(|c| worker(c, "a").session = session(2));
            back(w);
        },
    );
}

#[test]
fn an_orderly_end_is_an_alert_only_while_streams_are_left_alone() {
    let leave = |world: &mut World| {
        world.change(|c| worker(c, "a").phase = Phase::Leaving);
        let now = world.now;
        world.change(|c| {
            turn(c, "a", now, Availability::Dead);
            for (name, counter) in [("s1", 1), ("s2", 2)] {
                let last = assignment("a", counter);
                put_stream(c, at(now), name, Slot::Orphaned { last });
            }
        });
    };
    let replace = |world: &mut World| {
        world.change(|c| {
            for name in ["s1", "s2"] {
                put_stream(c, at(0), name, Slot::Held(assignment("b", 9)));
            }
        });
    };
    let mut world = World::new();
    leave(&mut world);
    world.wait(2 * SECOND);
    replace(&mut world);
    world.wait(20 * SECOND);
    assert_eq!(world.news(), [""; 0]);
    assert_fires_and_resolves(
        "worker_lost worker=a",
        "2 streams still count on it",
        |w| {
            leave(w);
            w.wait(5 * SECOND - 1);
            assert_eq!(w.news, [""; 0], "not before unplaced_after");
        },
        replace,
    );
}

#[test]
fn emergencies() {
    let emergency = |w: &mut World| {
        availability(w, Availability::Lost);
        assert_eq!(w.news(), ["+worker_lost worker=a"]);
        let (worker, session) = (worker_id("a"), session(1));
        w.tell(Event::Emergency { worker, session });
        assert_eq!(w.news(), ["+worker_emergency worker=a"]);
    };
    for end in [
        (|w: &mut World| back(w)) as fn(&mut World),
        |w| w.change(|c| worker(c, "a").session = session(2)),
        |w| availability(w, Availability::Dead),
        |w| w.change(|c| drop(c.workers.remove(&worker_id("a")))),
    ] {
        let mut world = World::new();
        emergency(&mut world);
        end(&mut world);
        assert!(world.news().contains(&"-worker_emergency worker=a".to_owned()));
    }
    // A new leader does not know yet: not heard is not heard again.
    let mut world = World::new();
    emergency(&mut world);
    world.change(|c| {
        let record = worker(c, "a");
        (record.availability, record.heard) = (Availability::Alive, false);
    });
    world.wait(100 * SECOND);
    assert_eq!(world.news(), [""; 0]);
    world.change(|c| worker(c, "a").heard = true);
    assert_eq!(
        world.news(),
        ["-worker_emergency worker=a", "-worker_lost worker=a"]
    );
}

#[test]
fn streams_without_a_worker() {
    assert_fires_and_resolves(
        "streams_unplaced",
        "By reason: 5 no_capacity (every worker that fits is full; add a worker or raise max_streams); \
         2 no_labels (no ready worker has the labels that the stream requires). Streams: x0, x1, x2, x3, x4 and 2 more.",
        |w| {
            let now = at(w.now);
            w.change(|c| {
                for number in 0..7 {
                    let reason = if number < 5 {
                        UnplacedReason::NoCapacity
                    } else {
                        UnplacedReason::NoLabels
                    };
                    unplaced(c, now, &format!("x{number}"), reason);
                }
            });
            w.wait(5 * SECOND - 1);
            assert_eq!(w.news, [""; 0], "not before unplaced_after");
        },
        |w| {
            // Some are left: the same alert, silently with the new number.
            w.change(|c| {
                for number in 1..7 {
                    put_stream(c, at(0), &format!("x{number}"), Slot::Held(assignment("b", 9)));
                }
            });
            assert_eq!(w.news(), [""; 0]);
            w.change(|c| put_stream(c, at(0), "x0", Slot::Held(assignment("b", 9))));
            assert_eq!(w.news.clone(), [""; 0]);
            w.wait(EVALUATION_DELAY.as_millis() as u64);
            let words = &w.over.as_ref().unwrap().annotations["description"];
            assert!(words.contains("By reason: 1 no_capacity"), "{words}");
        },
    );
}

#[test]
fn failing_streams() {
    let begin = |w: &mut World| {
        // Ends at once, and is reported as running for a moment in every round.
        for round in 1..=20 {
            for state in [RunState::Failing, RunState::Starting, RunState::Running] {
                w.change(|c| observe(c, "s1", state, round));
                assert_eq!(w.news(), [""; 0], "not before failing_after");
                w.wait(SECOND - 250);
            }
        }
        w.change(|c| observe(c, "s1", RunState::Failing, 21));
    };
    let words = "a started it again 21 times and it did not run for 10 s at a stretch; it last ended with: exit status 1";
    assert_fires_and_resolves("stream_failing stream=s1", words, begin, |w| {
        w.change(|c| observe(c, "s1", RunState::Running, 21));
        w.wait(9 * SECOND);
        w.change(|c| observe(c, "s1", RunState::Running, 22));
        w.wait(9 * SECOND);
        assert_eq!(w.news(), [""; 0], "it was restarted meanwhile");
        w.wait(SECOND);
    });
    let slots: [fn() -> Option<Slot>; 2] = [|| Some(Slot::Vacant), || None];
    for slot in slots {
        assert_fires_and_resolves("stream_failing stream=s1", words, begin, |w| {
            w.change(|c| match slot() {
                Some(slot) => {
                    put_stream(c, at(0), "s1", slot);
                    Arc::make_mut(&mut stream(c, "s1").spec).enabled = false;
                }
                None => drop(c.streams.remove(&stream_id("s1"))),
            });
        });
    }
}

#[test]
fn a_stream_that_fails_and_recovers_is_no_alert() {
    let mut world = World::new();
    for round in 1..10 {
        world.change(|c| observe(c, "s1", RunState::Failing, round));
        world.wait(SECOND);
        world.change(|c| observe(c, "s1", RunState::Running, round));
        world.wait(20 * SECOND);
    }
    assert_eq!(world.news(), [""; 0]);
}

#[test]
fn what_others_tell() {
    let mass = |held| Event::MassFailure {
        held,
        silent: 3,
        of: 4,
    };
    assert_fires_and_resolves(
        "mass_failure",
        "3 of 4 sessions are silent",
        |w| w.tell(mass(true)),
        |w| w.tell(mass(false)),
    );
    assert_fires_and_resolves(
        "duplicate_worker worker=a",
        "asked for it too and was refused",
        |w| {
            for refused in [2, 3] {
                w.tell(Event::Rival {
                    worker: worker_id("a"),
                    holder: session(1),
                    refused: session(refused),
                });
                w.wait(100);
            }
        },
        |w| {
            w.wait(59 * SECOND);
            assert_eq!(w.news, [""; 0], "a minute from the last refusal on");
            w.wait(SECOND);
        },
    );
    assert_fires_and_resolves(
        "invariant_violated invariant=s2_epoch_monotonic",
        "last so: it went back",
        |w| {
            w.tell(Event::Violated {
                invariant: Invariant::EpochMonotonic,
                detail: "it went back".to_owned(),
            });
        },
        |w| w.wait(3_600 * SECOND),
    );
    let exhausted = |exhausted| Event::RecoveryExhausted {
        worker: worker_id("a"),
        exhausted,
        detail: "5 resyncs did not help".into(),
    };
    assert_fires_and_resolves(
        "recovery_exhausted worker=a",
        "5 resyncs did not help",
        |w| w.tell(exhausted(true)),
        |w| w.tell(exhausted(false)),
    );
    // The manager of recoveries was restarted and has forgotten that it asked people.
    assert_fires_and_resolves(
        "recovery_exhausted worker=a",
        "5 resyncs did not help",
        |w| w.tell(exhausted(true)),
        |w| w.tell(Event::Findings(vec![])),
    );
}

#[test]
fn findings_of_one_kind_are_one_alert() {
    assert_fires_and_resolves(
        "inconsistent kind=ghost",
        "Run on a worker that should not run them: g0 on a, g1 on a, g2 on a, g3 on a, g4 on a and 2 more.",
        |w| {
            let ghosts = (0..7).map(|number| finding(FindingKind::Ghost, &format!("g{number}"), Some("a")));
            w.tell(Event::Findings(ghosts.collect()));
        },
        |w| w.tell(Event::Findings(vec![])),
    );
    let mut world = World::new();
    let all = FindingKind::ALL.map(|kind| finding(kind, "s", None));
    world.tell(Event::Findings(all.into()));
    let mut expected = FindingKind::ALL.map(|kind| format!("+inconsistent kind={}", kind.as_str()));
    expected.sort();
    assert_eq!(world.news(), expected);
}
