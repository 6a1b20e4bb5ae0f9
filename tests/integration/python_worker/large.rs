//! A set that is large enough to be compressed, and the inventory of it.

use streamkeeper_protocol::{ControlKind, Heartbeat, compress, encode};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::world::World;

use super::SLEEP;
use super::leader::{COMPRESSED, Leader, run};
use super::python::PythonWorker;

/// Inventories that are asked for at most.
const MAX_ORDERS: u32 = 30;
/// So many streams that their inventory is compressed too.
const STREAMS: u32 = 100;

#[tokio::test]
async fn large_messages_are_compressed_both_ways() {
    let world = World::bare("python");
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "py", 16).await;
    let worker = PythonWorker::start(&world, "py", &["--nats", &server.url()]);
    let first = leader.hear("the first heartbeat", |_| true).await;
    assert!(first.zlib, "it understands compressed messages");

    let name = |number: u32| format!("a-radio-station-with-a-rather-long-name-{number:03}");
    let source = format!("{SLEEP} # {}", "the same for all of them ".repeat(10));
    let set: Vec<_> = (0..STREAMS)
        .map(|number| run(&name(number), 16, number, &source))
        .collect();
    leader.want(set).await;
    let names: Vec<String> = (0..STREAMS).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let before = worker.runs(&world, &names).await;
    // The test proves nothing where the set is small enough to be sent as it is.
    let mut sent = leader.draft(streamkeeper_protocol::AssignKind::Desired);
    assert_eq!(compress(encode(&sent).unwrap())[0], COMPRESSED);
    let told = leader
        .hear("the whole inventory", |told| {
            told.inventory.running.len() == STREAMS as usize
                && told
                    .inventory
                    .running
                    .iter()
                    .all(|running| running.state == streamkeeper_protocol::RunState::Running)
        })
        .await;
    assert_eq!(told.inventory.count, STREAMS);
    // A hundred starts may keep it from hearing the leader for so long that it does not compress; asked later it does.
    let mut orders = 0;
    while leader.compressed() == 0 {
        orders += 1;
        assert!(orders < MAX_ORDERS, "no inventory came compressed");
        let from = leader.heard().len();
        let id = format!("again-{orders}");
        assert!(leader.order(&id, 16, None, ControlKind::Resync).await.done);
        let whole = |told: &Heartbeat| told.inventory.running.len() == STREAMS as usize;
        leader.hear_after(from, "the inventory again", whole).await;
    }

    // What is cut off, damaged, followed by something or endless changes nothing.
    sent.generation += 1;
    sent.entries.clear();
    let mut stop_all = serde_json::to_value(&sent).unwrap();
    stop_all["from_a_newer_minor"] = "x".repeat(9_000).into();
    let stop_all = compress(rmp_serde::to_vec_named(&stop_all).unwrap());
    assert_eq!(stop_all[0], COMPRESSED);
    let mut damaged = stop_all.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [
        stop_all[..stop_all.len() - 1].to_vec(),
        damaged,
        [&stop_all[..], &[0]].concat(),
        compress(vec![0x80; 9 * 1024 * 1024]),
    ] {
        leader.send_raw(bad).await;
    }
    let from = leader.heard().len();
    assert!(leader.order("1", 16, None, ControlKind::Resync).await.done);
    let told = leader
        .hear_after(from, "the inventory", |told| told.inventory.parts > 0)
        .await;
    assert_eq!(told.inventory.count, STREAMS);
    assert_eq!(worker.runs(&world, &names).await, before);

    leader.send_raw(stop_all).await;
    worker.runs(&world, &[]).await;
}
