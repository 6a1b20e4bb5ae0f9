//! Plans that are only shown.

use reqwest::{Method, StatusCode};
use streamkeeper_core::cluster::{Availability, Slot};
use streamkeeper_protocol::Capacity;

use super::samples::{assignment, cluster, record, stream_id, worker};
use super::world::{MOVES_PER_ROUND, World};

/// Streams on the one worker that has any.
const STREAMS: usize = 12;

#[actix::test]
async fn what_is_shown_to_come_next_follows_the_settings_of_the_balancer() {
    let world = World::new();
    let names: Vec<String> = (0..STREAMS).map(|index| format!("s{index:02}")).collect();
    let roomy = |id: &str, streams: &[String]| {
        let mut record = worker(id, Availability::Alive);
        record.capacity = Capacity {
            max_streams: 100,
            weight: 20.0,
        };
        record.assigned = streams.iter().map(|name| stream_id(name)).collect();
        record.load = streams.len() as f64;
        record
    };
    let streams = names
        .iter()
        .map(|name| record(name, Slot::Held(assignment("agent-1"))));
    let workers = vec![roomy("agent-1", &names), roomy("agent-2", &[])];
    world.cluster.send_replace(cluster(streams.collect(), workers));
    let (status, plan) = world.ask(Method::GET, "/api/v1/plan", "").await;
    assert_eq!(status, StatusCode::OK, "{plan}");
    let moves = plan["next"]["moves"].as_array().unwrap();
    assert_eq!(moves.len(), MOVES_PER_ROUND, "{plan}");
}
