//! Lines of streams over the API: read once, and followed from worker to worker.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use streamkeeper_core::cluster::{Availability, ClusterState, Slot, StreamRecord};
use streamkeeper_core::record::Assignment;
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_core::time::Timestamp;
use streamkeeper_orchestrator::port::BusError;
use streamkeeper_protocol::{Epoch, LogFd, LogLine, LogReply, PROTOCOL_VERSION, SessionId, Term};
use streamkeeper_tests::wait::{GENEROUS, until};

use super::samples::{assignment, cluster, stream_id, worker};
use super::schema::Described;
use super::world::World;

const PATH: &str = "/api/v1/streams/radio/logs";
const FOLLOW: &str = "/api/v1/streams/radio/logs?follow=true";
const SOURCE: &str = "rtsp://cam:s3cret-pw@host/radio";

fn epoch(counter: u32) -> Epoch {
    Epoch::new(Term::new(1).unwrap(), counter)
}

/// The worker's assignment under this epoch.
fn owned(worker: &str, counter: u32) -> Slot {
    Slot::Held(Assignment {
        epoch: epoch(counter),
        ..assignment(worker)
    })
}

fn radio(slot: Slot) -> ClusterState {
    let spec = StreamSpec::new(stream_id("radio"), SOURCE);
    let record = StreamRecord {
        slot,
        ..StreamRecord::new(Arc::new(spec), Timestamp::from_ms(1_000))
    };
    let workers = vec![
        worker("w-1", Availability::Alive),
        worker("w-2", Availability::Lost),
    ];
    cluster(vec![record], workers)
}

/// An answer: (number, epoch counter, text) of each line.
pub(super) fn reply(next: u64, lines: &[(u64, u32, &str)]) -> LogReply {
    let line = |(number, counter, text): &(u64, u32, &str)| LogLine {
        number: *number,
        at_ms: 1_767_225_600_000,
        epoch: epoch(*counter),
        fd: LogFd::Stderr,
        text: (*text).to_owned(),
    };
    LogReply {
        v: PROTOCOL_VERSION,
        stream: stream_id("radio"),
        session: SessionId::from_u128(7),
        next,
        lines: lines.iter().map(line).collect(),
        reason: None,
    }
}

impl World {
    fn answer(&self, answer: Result<LogReply, BusError>) {
        self.behind.lines.lock().unwrap().push_back(answer);
    }

    async fn follow(&self, path: &str) -> Follow {
        let response = self.send(Method::GET, path, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Follow {
            response,
            rest: Vec::new(),
        }
    }
}

/// A reader that follows.
struct Follow {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Follow {
    /// The next entry; none at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if line.len() > 1 {
                    let entry = serde_json::from_slice(&line).unwrap();
                    Described::new().check_entry("/api/v1/streams/{name}/logs", &entry);
                    return Some(entry);
                }
                continue;
            }
            let chunk = tokio::time::timeout(GENEROUS, self.response.chunk());
            self.rest.extend_from_slice(&chunk.await.unwrap().unwrap()?);
        }
    }

    /// Takes entries until these have come, in short: kind and what is told.
    #[track_caller]
    fn says<'a>(&'a mut self, expected: &'a [&'a str]) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            for wanted in expected {
                let entry = self.next().await.unwrap_or_else(|| panic!("{place}: it ended"));
                let text = |name: &str| entry[name].as_str().unwrap_or_default();
                let said = match text("kind") {
                    "owner" => format!("owner {}", text("worker")),
                    "line" => format!("line {} {}", text("worker"), text("text")),
                    "dropped" => format!("dropped {}", entry["lines"]),
                    "waiting" => format!("waiting {}", text("detail")),
                    "end" => format!("end {}", text("reason")),
                    other => panic!("{place}: {other}: {entry}"),
                };
                assert!(said.starts_with(wanted), "{place}: {wanted:?} is wanted: {entry}");
            }
        }
    }
}

#[actix::test]
async fn the_newest_lines_are_shown_without_secrets() {
    let world = World::new();
    world.cluster.send_replace(radio(owned("w-1", 5)));
    let lines = [
        (3, 4, "open rtsp://cam:s3cret-pw@host/radio"),
        (9, 5, "login with s3cret-pw refused"),
    ];
    world.answer(Ok(reply(10, &lines)));
    let told = world.get(PATH).await;
    let expected = |number: u64, counter, text: &str| {
        json!({
            "number": number, "at": "2026-01-01T00:00:00.000Z", "epoch": epoch(counter).to_string(), "fd": "stderr",
            "text": text, "worker": "w-1",
        })
    };
    assert_eq!(
        told,
        json!({
            "stream": "radio", "worker": "w-1", "session": format!("{:032x}", 7),
            "lines": [
                expected(3, 4, "open rtsp://cam:***@host/radio"), expected(9, 5, "login with *** refused"),
            ],
        })
    );
    for (query, lines, shown) in [("?lines=0", 1, 0), ("?lines=7&follow=false", 7, 2)] {
        world.answer(Ok(reply(10, &[(8, 5, "a"), (9, 5, "b")])));
        let told = world.get(&format!("{PATH}{query}")).await;
        assert_eq!(told["lines"].as_array().unwrap().len(), shown, "{query}");
        let asked = world.behind.requests.lock().unwrap().pop().unwrap();
        assert_eq!((asked.worker.as_str(), asked.lines), ("w-1", lines), "{query}");
        assert_eq!(
            (asked.session, asked.from, asked.wait_ms),
            (None, None, 0),
            "{query}"
        );
    }
}

#[actix::test]
async fn what_stands_in_the_way_is_named() {
    let world = World::new();
    let timeout = || BusError::Timeout {
        subject: "sk.v1.logs.w-1".to_owned(),
        timeout: GENEROUS,
    };
    let nobody = || BusError::NoResponders("sk.v1.logs.w-1".to_owned());
    let bad = BusError::BadAnswer {
        subject: "sk.v1.logs.w-1".to_owned(),
        reason: "garbage".to_owned(),
    };
    let full = LogReply {
        reason: Some("64 others read".to_owned()),
        ..reply(1, &[])
    };
    let cases = [
        ("w-1", Err(nobody()), 502, "no-lines", "older than this feature"),
        ("w-2", Err(nobody()), 504, "worker-silent", "does not answer"),
        ("w-1", Err(timeout()), 504, "worker-silent", "/api/v1/workers/w-1"),
        ("w-1", Err(bad), 502, "no-lines", "garbage"),
        (
            "w-1",
            Err(BusError::Disconnected),
            503,
            "bus-unavailable",
            "not connected",
        ),
        ("w-1", Ok(full), 503, "too-many-readers", "64 others read"),
    ];
    for (owner, answer, status, slug, part) in cases {
        world.cluster.send_replace(radio(owned(owner, 5)));
        world.answer(answer);
        let (got, problem) = world.ask(Method::GET, PATH, "").await;
        assert_eq!(got.as_u16(), status, "{problem}");
        assert_eq!(
            problem["type"],
            format!("urn:streamkeeper:problem:{slug}"),
            "{problem}"
        );
        assert!(problem.to_string().contains(part), "{part:?}: {problem}");
    }
    world.cluster.send_replace(radio(Slot::Vacant));
    let (status, problem) = world.ask(Method::GET, PATH, "").await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(
        problem.to_string().contains("A worker is being chosen"),
        "{problem}"
    );
    for (path, status) in [
        ("/api/v1/streams/none/logs", 404),
        ("/api/v1/streams/none/logs?follow=true", 404),
        ("/api/v1/streams/radio/logs?lines=1001", 400),
        ("/api/v1/streams/radio/logs?lines=-1", 400),
        ("/api/v1/streams/radio/logs?follow=yes", 400),
    ] {
        let (got, problem) = world.ask(Method::GET, path, "").await;
        assert_eq!(got.as_u16(), status, "{path}: {problem}");
    }
}

#[actix::test]
async fn lines_are_followed_to_the_next_owner() {
    let world = World::new();
    world.cluster.send_replace(radio(owned("w-1", 5)));
    // The ring had lost some already: these are not missed by who comes new, those within are.
    world.answer(Ok(reply(9, &[(4, 4, "old"), (7, 5, "new")])));
    world.answer(Ok(reply(10, &[(9, 5, "with s3cret-pw")])));
    let mut follow = world.follow(&format!("{FOLLOW}&lines=20")).await;
    follow
        .says(&[
            "owner w-1",
            "line w-1 old",
            "dropped 2",
            "line w-1 new",
            "dropped 1",
        ])
        .await;
    follow.says(&["line w-1 with ***"]).await;

    // It stops there and has a last word, while nobody owns it yet.
    world.answer(Ok(reply(11, &[(10, 5, "bye")])));
    world.answer(Ok(reply(31, &[(2, 3, "earlier stay"), (30, 6, "hello")])));
    world.cluster.send_replace(radio(Slot::Vacant));
    follow.says(&["waiting A worker is being chosen"]).await;
    world.cluster.send_replace(radio(owned("w-2", 6)));
    follow
        .says(&["line w-1 bye", "owner w-2", "dropped 27", "line w-2 hello"])
        .await;
    let asked = || {
        let requests = world.behind.requests.lock().unwrap();
        let shown = requests.iter().map(|request| {
            let waits = request.wait_ms > 0;
            (request.worker.to_string(), request.lines, request.from, waits)
        });
        shown.collect::<Vec<_>>()
    };
    let expected = [
        ("w-1", 20, None, true),
        ("w-1", 1_000, Some(9), true),
        ("w-1", 1_000, Some(10), true),
        ("w-1", 1_000, Some(10), false),
        ("w-2", 1_000, Some(1), true),
        ("w-2", 1_000, Some(31), true),
    ]
    .map(|(worker, lines, from, waits)| (worker.to_owned(), lines, from, waits));
    let reached = until(GENEROUS, async || match asked() {
        asked if asked.len() < expected.len() => Err(format!("{asked:?}")),
        asked => Ok(asked),
    });
    assert_eq!(reached.await.unwrap()[..expected.len()], expected);

    world.cluster.send_replace(ClusterState::default());
    follow.says(&["end deleted"]).await;
    assert_eq!(follow.next().await, None);
}

#[actix::test]
async fn a_new_life_of_the_same_worker_is_not_read_twice() {
    let world = World::new();
    world.cluster.send_replace(radio(owned("w-1", 5)));
    world.answer(Ok(reply(2, &[(1, 5, "before")])));
    // The process is a new one before the leader's view says so.
    let new_life = |next, lines: &[(u64, u32, &str)]| LogReply {
        session: SessionId::from_u128(8),
        ..reply(next, lines)
    };
    world.answer(Ok(new_life(2, &[(1, 6, "after")])));
    let mut follow = world.follow(FOLLOW).await;
    follow
        .says(&["owner w-1", "line w-1 before", "line w-1 after"])
        .await;
    world.answer(Ok(new_life(3, &[(2, 6, "more")])));
    world.cluster.send_replace(radio(Slot::Held(Assignment {
        session: SessionId::from_u128(8),
        epoch: epoch(6),
        ..assignment("w-1")
    })));
    world.answer(Ok(new_life(4, &[(3, 6, "and more")])));
    follow
        .says(&["line w-1 more", "owner w-1", "line w-1 and more"])
        .await;
    let requests = world.behind.requests.lock().unwrap();
    let begun: Vec<_> = requests
        .iter()
        .filter(|request| request.from.is_none_or(|from| from <= 1))
        .collect();
    assert_eq!(
        begun.len(),
        1,
        "lines that were shown are asked for again: {begun:?}"
    );
}

#[actix::test]
async fn a_worker_that_does_not_answer_is_waited_for() {
    let world = World::new();
    world.cluster.send_replace(radio(owned("w-2", 5)));
    let nobody = || Err(BusError::NoResponders("sk.v1.logs.w-2".to_owned()));
    for answer in [nobody(), nobody(), Ok(reply(2, &[(1, 5, "back")])), nobody()] {
        world.answer(answer);
    }
    let mut follow = world.follow(FOLLOW).await;
    let why = "waiting worker w-2 does not answer";
    // Once for each silence.
    follow.says(&["owner w-2", why, "line w-2 back", why]).await;
}

#[actix::test]
async fn followers_end_with_the_server_and_make_room_when_they_leave() {
    const SEATS: usize = 64;
    let world = World::new();
    world.cluster.send_replace(radio(owned("w-1", 5)));
    let mut followers = Vec::new();
    for _ in 0..SEATS {
        let mut follow = world.follow(FOLLOW).await;
        follow.says(&["owner w-1"]).await;
        followers.push(follow);
    }
    let (status, problem) = world.ask(Method::GET, FOLLOW, "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert_eq!(problem["type"], "urn:streamkeeper:problem:too-many-readers");
    // Nobody needs a seat to look once.
    world.answer(Ok(reply(1, &[])));
    world.get(PATH).await;

    drop(followers.pop());
    let seated = until(GENEROUS, async || {
        let response = world.send(Method::GET, FOLLOW, "").await;
        match response.status() {
            StatusCode::OK => Ok(()),
            status => Err(status.to_string()),
        }
    });
    seated.await.unwrap();
    world.server.stop().await;
    for follow in &mut followers {
        follow.says(&["end stopping"]).await;
        assert_eq!(follow.next().await, None);
    }
}

#[actix::test]
async fn lines_are_not_held_back_by_compression() {
    let world = World::new();
    world.cluster.send_replace(radio(owned("w-1", 5)));
    world.answer(Ok(reply(2, &[(1, 5, "at once")])));
    let client = streamkeeper_tests::http::client();
    let request = client.get(world.url(FOLLOW)).header("accept-encoding", "gzip");
    let mut follow = Follow {
        response: request.send().await.unwrap(),
        rest: Vec::new(),
    };
    follow.says(&["owner w-1", "line w-1 at once"]).await;
}
