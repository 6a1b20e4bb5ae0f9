//! The worker in Python, written after `docs/PROTOCOL.md` alone, on a real nats-server: the protocol can be spoken from
//! another language.

mod fleet;
mod large;
mod leader;
mod outages;
mod python;

use rustix::process::Signal;
use streamkeeper_protocol::{AssignKind, ControlKind, Mode, Phase, RunState, SessionId, Version};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::world::World;

use leader::{Leader, keep, run};
use python::PythonWorker;

const SLEEP: &str = "exec sleep 100000";

fn epoch(term: u32, counter: u32) -> String {
    ((i64::from(term) << 32) | i64::from(counter)).to_string()
}

#[tokio::test]
async fn it_joins_runs_stops_and_says_farewell() {
    let world = World::bare("python");
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "py", 16).await;
    let mut worker = PythonWorker::start(&world, "py", &["--nats", &server.url(), "--label", "arch=x"]);

    let first = leader.hear("the first heartbeat", |_| true).await;
    assert_eq!(
        (first.seq, first.phase, first.mode),
        (1, Phase::Ready, Mode::Local)
    );
    assert_eq!((first.applied, first.highest_term.get()), (Version::default(), 0));
    assert_eq!(
        (first.inventory.count, first.inventory.parts),
        (0, 1),
        "it tells all"
    );
    assert_eq!(first.labels["arch"], "x");
    let joined = leader
        .hear("the term taken", |told| told.applied.term.get() == 16)
        .await;
    assert_eq!(joined.mode, Mode::Connected);

    leader
        .want(vec![run("a", 16, 5, SLEEP), run("b", 16, 6, SLEEP)])
        .await;
    let running = worker.runs(&world, &["a", "b"]).await;
    assert_eq!(
        (&running["a"].epoch, &running["b"].epoch),
        (&epoch(16, 5), &epoch(16, 6))
    );
    let told = leader.hear_stream("a", RunState::Running).await;
    assert_eq!((told.epoch.get().to_string(), told.restarts), (epoch(16, 5), 0));

    // A set without `a`; `b` under an older epoch than it runs, which changes nothing; a start that is only kept.
    leader
        .want(vec![run("b", 16, 2, "exit 1"), keep("c", 16, 9)])
        .await;
    assert_eq!(worker.runs(&world, &["b"]).await["b"], running["b"]);
    leader
        .hear("a set applied, nothing of a left", |told| {
            told.applied.generation == 3 && told.inventory.count == 1 && told.inventory.parts > 0
        })
        .await;

    // What was stopped is not started below its last epoch.
    leader
        .want(vec![run("a", 16, 4, SLEEP), run("b", 16, 6, SLEEP)])
        .await;
    leader
        .hear("that set applied", |told| told.applied.generation == 4)
        .await;
    assert_eq!(worker.runs(&world, &["b"]).await["b"], running["b"]);

    worker.process.signal(Signal::TERM);
    assert!(worker.process.wait().await.success(), "{}", worker.process.tail());
    let gone = leader.hear_gone().await;
    assert_eq!(gone.inventory.count, 0);
    world.gone("py").await;
    let heard = leader.heard();
    assert!(
        heard.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq),
        "each heartbeat has the next number"
    );
    assert_eq!(
        heard.last().map(|last| last.phase),
        Some(Phase::Gone),
        "the last message"
    );
    assert!(heard.iter().all(|told| told.session == first.session));
}

#[tokio::test]
async fn a_higher_epoch_starts_when_the_lower_one_has_ended() {
    let world = World::bare("python");
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "py", 16).await;
    let worker = PythonWorker::start(&world, "py", &["--nats", &server.url()]);
    let marks = world.folder().join("marks");
    let mark = |word: &str| format!("echo {word} $STREAMKEEPER_EPOCH >>{}", marks.display());
    let source = format!(
        "trap 'sleep 0.5; {}; exit' TERM; {}; while :; do sleep 0.05; done",
        mark("end"),
        mark("begin")
    );
    for counter in [5, 7] {
        leader.want(vec![run("a", 16, counter, &source)]).await;
        leader
            .hear("it runs", |told| {
                let mut running = told.inventory.running.iter();
                running
                    .any(|running| running.epoch.counter() == counter && running.state == RunState::Running)
            })
            .await;
    }
    leader.want(Vec::new()).await;
    leader
        .hear("nothing left", |told| {
            told.applied.generation == 4 && told.inventory.count == 0
        })
        .await;
    assert!(worker.running(&world).is_empty());
    let (five, seven) = (epoch(16, 5), epoch(16, 7));
    let marks = std::fs::read_to_string(marks).unwrap();
    assert_eq!(
        marks,
        format!("begin {five}\nend {five}\nbegin {seven}\nend {seven}\n")
    );
}

#[tokio::test]
async fn another_leader_adopts_what_runs() {
    let world = World::bare("python");
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "py", 16).await;
    let worker = PythonWorker::start(&world, "py", &["--nats", &server.url()]);
    leader
        .want(vec![run("a", 16, 5, SLEEP), run("b", 16, 6, SLEEP)])
        .await;
    let before = worker.runs(&world, &["a", "b"]).await;

    leader.lead(32, vec![keep("a", 16, 5), keep("b", 16, 6)]);
    let whole = leader
        .hear(
            "a whole inventory under the new term, before any set of it",
            |told| (told.applied.term.get(), told.applied.generation) == (32, 0) && told.inventory.parts > 0,
        )
        .await;
    assert_eq!((whole.highest_term.get(), whole.inventory.count), (32, 2));
    leader
        .hear("its set applied", |told| {
            told.applied.generation == 1 && told.applied.term.get() == 32
        })
        .await;
    assert_eq!(
        worker.runs(&world, &["a", "b"]).await,
        before,
        "adopted, not restarted"
    );

    // The former leader still speaks; and so do a stranger, an echo, and somebody who does not speak our language.
    let from = leader.heard().len();
    let mut stale = leader.draft(AssignKind::Desired);
    stale.term = streamkeeper_protocol::Term::new(16).unwrap();
    stale.generation = 99;
    stale.entries.clear();
    leader.send(&stale).await;
    let mut other = leader.draft(AssignKind::Desired);
    other.session = SessionId::from_u128(1);
    other.generation = 99;
    other.entries.clear();
    leader.send(&other).await;
    let mut echo = leader.draft(AssignKind::Desired);
    echo.entries.clear();
    leader.send(&echo).await;
    let mut refused = leader.draft(AssignKind::Refused);
    refused.generation = 0;
    refused.reason = Some("another live process".to_owned());
    leader.send(&refused).await;
    leader.send_raw(b"garbage".to_vec()).await;
    leader.send_raw(vec![0x91; 100_000]).await;
    assert!(leader.order("1", 32, None, ControlKind::Resync).await.done);
    let told = leader
        .hear_after(from, "the inventory", |told| told.inventory.parts > 0)
        .await;
    assert_eq!(
        (
            told.applied.term.get(),
            told.applied.generation,
            told.inventory.count
        ),
        (32, 1, 2)
    );
    assert_eq!(worker.runs(&world, &["a", "b"]).await, before);
}

#[tokio::test]
async fn a_set_in_parts_is_applied_when_it_is_whole() {
    let world = World::bare("python");
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "py", 16).await;
    let worker = PythonWorker::start(&world, "py", &["--nats", &server.url()]);
    leader.want(vec![run("old", 16, 1, SLEEP)]).await;
    let old = worker.runs(&world, &["old"]).await;
    leader
        .hear("the set applied", |told| told.applied.generation == 2)
        .await;

    // The leader falls silent, so that only the parts below speak.
    leader.silent(true);
    let parts: Vec<_> = ["a", "b", "c"]
        .iter()
        .zip(0..)
        .map(|(name, part)| {
            let mut assign = leader.draft(AssignKind::Desired);
            (assign.generation, assign.part, assign.parts) = (3, part, 3);
            assign.entries = vec![run(name, 16, 2 + part, SLEEP)];
            assign
        })
        .collect();
    for part in [0, 2, 1, 2, 0, 1] {
        leader.send(&parts[part]).await;
    }
    let from = leader.heard().len();
    assert!(leader.order("1", 16, None, ControlKind::Ping).await.done);
    let told = leader.hear_after(from, "a heartbeat", |_| true).await;
    assert_eq!(told.applied.generation, 2, "no whole set has come in order");
    assert_eq!(worker.runs(&world, &["old"]).await, old);
    leader.send(&parts[2]).await;
    worker.runs(&world, &["a", "b", "c"]).await;
    leader
        .hear("the set applied", |told| told.applied.generation == 3)
        .await;
}

#[tokio::test]
async fn orders_are_done_once_and_answered_as_often_as_asked() {
    let world = World::bare("python");
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "py", 16).await;
    let mut worker = PythonWorker::start(&world, "py", &["--nats", &server.url()]);
    leader.want(vec![run("a", 16, 5, SLEEP)]).await;
    worker.runs(&world, &["a"]).await;
    let session = Some(leader.heard()[0].session);

    assert!(leader.order("1", 16, session, ControlKind::Drain).await.done);
    leader
        .hear("draining", |told| told.phase == Phase::Draining)
        .await;
    leader
        .want(vec![run("a", 16, 6, SLEEP), run("b", 16, 7, SLEEP)])
        .await;
    leader
        .hear("the set applied", |told| told.applied.generation == 3)
        .await;
    let kept = worker.runs(&world, &["a"]).await;
    assert_eq!(
        kept["a"].epoch,
        epoch(16, 6),
        "what it holds is replaced, what is new is not taken"
    );
    assert!(leader.order("2", 16, session, ControlKind::Resume).await.done);
    let from = leader.heard().len();
    assert!(
        leader.order("1", 16, session, ControlKind::Drain).await.done,
        "answered again"
    );
    assert!(leader.order("3", 16, session, ControlKind::Ping).await.done);
    let told = leader.hear_after(from, "a heartbeat", |_| true).await;
    assert_eq!(told.phase, Phase::Ready, "not drained again");

    let mut ask = leader.draft(AssignKind::Current);
    ask.whole_inventory = true;
    let from = leader.heard().len();
    leader.send(&ask).await;
    leader
        .hear_after(from, "the whole inventory", |told| told.inventory.parts > 0)
        .await;

    for (id, term, session, word) in [
        ("4", 15, session, "term"),
        ("5", 16, Some(SessionId::from_u128(1)), "session"),
    ] {
        let reply = leader.order(id, term, session, ControlKind::Restart).await;
        let reason = reply.reason.as_deref().unwrap_or_default();
        assert!(!reply.done && reason.contains(word), "{reply:?}");
    }
    assert!(leader.order("6", 16, session, ControlKind::Restart).await.done);
    assert!(worker.process.wait().await.success());
    leader.hear_gone().await;
    world.gone("py").await;
}

#[tokio::test]
async fn what_fails_is_started_again_with_its_reason_told() {
    let world = World::bare("python");
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "py", 16).await;
    let worker = PythonWorker::start(&world, "py", &["--nats", &server.url()]);
    leader
        .want(vec![run("bad", 16, 5, "exit 7"), run("good", 16, 6, SLEEP)])
        .await;
    let told = leader.hear_stream("bad", RunState::Failing).await;
    assert_eq!((told.restarts, told.reason.as_deref()), (1, Some("exit code 7")));
    let again = |told: &streamkeeper_protocol::Heartbeat| {
        told.inventory
            .running
            .iter()
            .any(|running| running.stream.as_str() == "bad" && running.restarts >= 3)
    };
    leader.hear("the third restart", again).await;
    leader.want(vec![run("good", 16, 6, SLEEP)]).await;
    worker.runs(&world, &["good"]).await;
    leader
        .hear("nothing of bad left", |told| {
            told.applied.generation == 3 && told.inventory.count == 1
        })
        .await;
}
