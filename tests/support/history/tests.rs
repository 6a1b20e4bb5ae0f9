//! Histories that break each promise, and one that breaks none.

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A history of lives `STREAM EPOCH WORKER FROM TO`, in seconds; with `!` after them, the life ends by itself.
fn history(lives: &[&str]) -> History {
    let mut history = History::default();
    for (pid, life) in lives.iter().enumerate() {
        let words: Vec<&str> = life.split(' ').collect();
        let who = format!("{} {} {} {pid}", words[0], words[1], words[2]);
        let ns = |word: &str| (word.parse::<f64>().unwrap() * SECOND as f64) as u64;
        history.take(&format!("{who} {} begin", ns(words[3]))).unwrap();
        history.take(&format!("{who} {} alive", ns(words[4]))).unwrap();
        if words.get(5) == Some(&"!") {
            history.take(&format!("{who} {} end", ns(words[4]))).unwrap();
        }
    }
    history
}

/// From second 10 to second 100; `only` is exclusive, `any` is not; worker `a` is hurt.
fn trial() -> Trial {
    Trial {
        from: 10 * SECOND,
        to: 100 * SECOND,
        exclusive: ["only".to_owned()].into(),
        available: ["any".to_owned()].into(),
        hurt: ["a".to_owned()].into(),
        lapse: false,
    }
}

#[track_caller]
fn broken(lives: &[&str], promise: &str) -> Verdict {
    let verdict = history(lives).judge(&trial());
    assert!(
        verdict.broken.len() == 1 && verdict.broken[0].starts_with(promise),
        "{promise} alone is to be broken: {verdict:#?}"
    );
    verdict
}

#[test]
fn a_good_history_breaks_nothing() {
    let lives = [
        "only 1 a 5 20",
        "only 2 b 32 100",
        "any 1 a 5 21",
        // At least once: the old copy and the new one.
        "any 2 b 15 60 !",
        "any 3 a 61 100",
    ];
    let verdict = history(&lives).judge(&trial());
    let wanted = Verdict {
        moves: 2,
        evened: 1,
        gap_available_ms: 1_000,
        gap_exclusive_ms: 12_000,
        ..Verdict::default()
    };
    assert_eq!(verdict, wanted);
}

#[test]
fn an_exclusive_stream_that_runs_twice_breaks_s1() {
    let verdict = broken(&["only 1 a 5 20", "only 2 b 19 100", "any 1 b 5 100"], "S1");
    assert_eq!(verdict.overlap_ms, 1_000);
    // The one that goes on for longest need not be the one before.
    let verdict = broken(
        &[
            "only 1 a 5 30",
            "only 2 a 31 100",
            "only 3 b 32 33 !",
            "any 1 b 5 100",
        ],
        "S1",
    );
    assert_eq!(verdict.overlap_ms, 1_000);
    // A frozen one wrote nothing, and lives.
    broken(&["only 1 a 5 99", "only 2 b 40 41 !", "any 1 b 5 100"], "S1");
}

#[test]
fn the_kernel_sees_what_lines_do_not_show() {
    let mut history = history(&["only 1 a 5 20", "any 1 b 5 100"]);
    for (at, event) in [(21, "crowded"), (100, "alive")] {
        history
            .take(&format!("only 2 b 7 {} {event}", at * SECOND))
            .unwrap();
    }
    let verdict = history.judge(&trial());
    assert!(
        verdict.broken.len() == 1 && verdict.broken[0].starts_with("S1"),
        "{verdict:?}"
    );
    assert_eq!(verdict.overlap_ms, 1);
}

#[test]
fn an_epoch_that_goes_back_or_changes_hands_breaks_s2() {
    broken(&["only 2 a 5 20", "only 1 b 32 100", "any 1 b 5 100"], "S2");
    broken(&["only 1 a 5 20", "only 1 b 32 100", "any 1 b 5 100"], "S2");
    broken(&["only 1 b 5 100", "any 2 a 5 20", "any 1 a 21 100"], "S2");
}

#[test]
fn a_worker_that_was_cut_off_may_start_an_available_stream_under_its_old_epoch() {
    let lives = [
        "only 1 b 5 100",
        "any 1 a 5 20",
        "any 2 b 21 100",
        "any 1 a 22 30 !",
    ];
    assert_eq!(history(&lives).judge(&trial()).broken, [""; 0]);
}

#[test]
fn a_move_from_a_well_worker_breaks_s5() {
    for lives in [
        ["only 1 b 5 20", "only 2 c 21 100", "any 1 c 5 100"],
        // Begun anew where it was.
        ["only 1 b 5 20", "only 2 b 21 100", "any 1 b 5 100"],
        ["any 1 b 5 20", "any 2 c 21 100", "only 1 c 5 100"],
    ] {
        assert_eq!(broken(&lives, "S5").needless, 1);
    }
}

#[test]
fn a_move_to_a_worker_with_two_fewer_evens_out() {
    let lives = ["only 1 b 5 100", "any 1 b 5 22", "any 2 c 21 100"];
    let verdict = history(&lives).judge(&trial());
    assert_eq!((verdict.broken.len(), verdict.evened), (0, 1), "{verdict:?}");
}

#[test]
fn where_leases_lapsed_exclusive_streams_are_excused_and_available_ones_are_not() {
    let lapse = |lives: &[&str]| {
        let trial = Trial {
            lapse: true,
            ..trial()
        };
        history(lives).judge(&trial)
    };
    let verdict = lapse(&["only 1 b 5 20", "only 2 c 21 100", "any 1 b 5 100"]);
    assert_eq!((verdict.broken.len(), verdict.moves), (0, 1));
    let verdict = lapse(&["any 1 b 5 20", "any 2 c 21 100", "only 1 c 5 100"]);
    assert_eq!(verdict.needless, 1);
}

#[test]
fn a_stream_that_does_not_run_at_the_end_or_runs_twice_breaks_l1() {
    let verdict = broken(&["only 1 a 5 20", "any 1 b 5 100"], "L1");
    assert_eq!(verdict.gap_exclusive_ms, 80_000);
    broken(&["only 1 a 5 100 !", "any 1 b 5 100"], "L1");
    broken(&["only 1 b 5 100", "any 1 a 5 100", "any 2 b 20 100"], "L1");
    broken(&["only 1 b 5 100"], "L1");
}

#[test]
fn what_is_no_line_of_a_witness_is_named() {
    for line in [
        "",
        "only 1 a 7 5",
        "only x a 7 5 begin",
        "only 1 a 7 5 alive",
        "only 1 a 7 5 what",
    ] {
        let error = History::default().take(line).unwrap_err();
        assert!(error.contains(line), "{error}");
    }
}

#[test]
fn files_are_read_piece_by_piece() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("only.history");
    let mut history = History::default();
    std::fs::write(&file, "only 1 a 7 5 begin\nonly 1 a 7 6 al").unwrap();
    history.read(folder.path()).unwrap();
    assert_eq!(history.of("only")[0].last, 5);
    std::fs::write(&file, "only 1 a 7 5 begin\nonly 1 a 7 6 alive\n").unwrap();
    history.read(folder.path()).unwrap();
    assert_eq!((history.of("only")[0].last, history.len()), (6, 1));
}
