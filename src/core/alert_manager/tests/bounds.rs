//! A disaster of any size is at most so many alerts.

use super::*;

#[test]
fn beyond_the_bound_alerts_are_only_counted() {
    let mut world = World::new();
    let name = |number: usize| format!("w{number:05}");
    let many = MAX_ALERTS_PER_RULE + 10;
    world.change(|c| {
        for number in 0..many {
            add_worker(c, &name(number));
            turn(c, &name(number), 0, Availability::Lost);
        }
    });
    let news = world.news();
    assert_eq!(news.len(), MAX_ALERTS_PER_RULE + 1);
    assert_eq!(news[0], "+worker_lost overflow=true");
    assert!(world.description().contains("10 more are only counted here"));
    // An earlier name joins: nobody loses his place.
    world.change(|c| turn(c, "a", 0, Availability::Lost));
    assert_eq!(world.news(), [""; 0]);
    // Room becomes free and is taken.
    world.change(|c| turn(c, &name(0), 0, Availability::Alive));
    world.wait(SECOND);
    assert_eq!(
        world.news(),
        ["-worker_lost worker=w00000", "+worker_lost worker=a"]
    );
    world.change(|c| {
        for number in 0..many {
            turn(c, &name(number), 0, Availability::Alive);
        }
    });
    world.wait(SECOND);
    assert_eq!(world.firing.len(), 1);
    assert!(world.news().contains(&"-worker_lost overflow=true".to_owned()));
    assert!(world.news().is_empty());
}
