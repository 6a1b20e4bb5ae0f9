//! What the limits mean.

use super::*;
use crate::cluster::MoveReason;
use crate::spec::StreamSpec;

fn migration(number: usize, from: &str, to: &str) -> Migration {
    let name = StreamId::new(format!("s{number}")).unwrap();
    let spec = Arc::new(StreamSpec::new(name, "http://source"));
    let ends = (WorkerId::new(from).unwrap(), WorkerId::new(to).unwrap());
    Migration::new(
        Timestamp::ZERO,
        spec,
        ends,
        MoveReason::Balance,
        Way::MakeBeforeBreak,
    )
}

#[track_caller]
fn assert_room(migrations: &Migrations, config: &Config, from: &str, to: &str, room: bool) {
    let (from, to) = (WorkerId::new(from).unwrap(), WorkerId::new(to).unwrap());
    assert_eq!(migrations.has_room(config, &from, &to), room, "{from} to {to}");
}

#[test]
fn each_limit_holds_by_itself() {
    let config = Config {
        max_per_source: 1,
        max_per_target: 2,
        max_in_fleet: 3,
        ..Config::default()
    };
    let mut migrations = Migrations::default();
    migrations.begin(migration(1, "a", "x"));
    assert_room(&migrations, &config, "a", "y", false);
    assert_room(&migrations, &config, "b", "x", true);
    migrations.begin(migration(2, "b", "x"));
    assert_room(&migrations, &config, "c", "x", false);
    assert_room(&migrations, &config, "c", "y", true);
    migrations.begin(migration(3, "c", "y"));
    assert_room(&migrations, &config, "d", "z", false);
    // What only has to be watched where it went makes room.
    let name = StreamId::new("s1").unwrap();
    migrations.update(&name, |migration| {
        migration.turn(Timestamp::ZERO, State::Verifying)
    });
    assert_room(&migrations, &config, "a", "z", true);
}

#[test]
fn only_the_last_that_ended_are_remembered() {
    let mut migrations = Migrations::default();
    for number in 0..MAX_RECENT + 5 {
        let stream = StreamId::new(format!("s{number}")).unwrap();
        migrations.begin(migration(number, "a", "b"));
        migrations.finish(Timestamp::ZERO, &stream, State::Done, None);
    }
    assert_eq!(migrations.recent().count(), MAX_RECENT);
    assert_eq!(migrations.recent().next().unwrap().stream.as_str(), "s5");
    assert_eq!(migrations.active().count(), 0);
}

#[test]
fn a_stream_that_fails_again_and_again_is_tried_less_and_less() {
    let (stream, worker) = (StreamId::new("s1").unwrap(), WorkerId::new("a").unwrap());
    let config = Config::default();
    let mut migrations = Migrations::default();
    let mut now = Timestamp::ZERO;
    for seconds in [60, 120, 240, 480, 600, 600] {
        migrations.bar(now, &config, stream.clone(), worker.clone());
        let end = now + Duration::from_secs(seconds);
        assert!(migrations.is_barred(end - Duration::from_millis(1), &stream, &worker));
        assert!(!migrations.is_barred(end, &stream, &worker), "{seconds}");
        now = end;
    }
}
