//! Two leaders interleaved on PostgreSQL at every statement: a proxy between each store and the server lets one message of
//! the client pass at a time, so that the very code of the store stops where the test wants it to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use streamkeeper_core::record::Persisted;
use streamkeeper_orchestrator::adapter::store::{SeaStore, StoreOptions};
use streamkeeper_orchestrator::port::{Store, StoreError, TakenOver};
use streamkeeper_protocol::Epoch;
use streamkeeper_tests::postgres::Postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::backend::{Backend, LEASE, assignments, committed, fence, lead, put, stream, term};

/// How long the answer to a message may take until it is the other side's turn: what takes longer waits for a lock.
const TURN: Duration = Duration::from_millis(25);
/// Between two looks for an answer.
const LOOK: Duration = Duration::from_millis(1);
/// Takeovers and writes on SQLite; the later of both starts up to so many times 50 µs later.
const RACES: u32 = 80;
/// Of all orders of the messages of a takeover and a write, so many: there are hundreds of thousands.
const ORDERS: u128 = 120;
/// More messages than any operation has.
const ALL: usize = 1_000_000;

/// A way to the server that lets so many messages of the client pass as there are permits.
struct Way {
    port: u16,
    permits: Arc<Semaphore>,
    passed: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let way = Self {
            port: listener.local_addr().unwrap().port(),
            permits: Arc::new(Semaphore::new(ALL)),
            passed: Arc::default(),
            answered: Arc::default(),
        };
        let permits = Arc::clone(&way.permits);
        let counters = (Arc::clone(&way.passed), Arc::clone(&way.answered));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&permits), counters.clone()));
            }
        });
        way
    }

    /// Everything passes, or nothing.
    fn open(&self) {
        self.permits.add_permits(ALL - self.permits.available_permits());
    }

    fn close(&self) {
        self.permits.forget_permits(ALL);
    }

    /// Lets messages pass one by one, each with the time for its answer.
    async fn step(&self, messages: usize) {
        for _ in 0..messages {
            // Whether it came or not: what is asserted holds in any order.
            self.turn().await;
        }
    }

    /// Lets one message pass, and says whether it was answered in time.
    async fn turn(&self) -> bool {
        let before = self.answered.load(Ordering::SeqCst);
        self.permits.add_permits(1);
        let answered = async {
            while self.answered.load(Ordering::SeqCst) == before {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(TURN, answered).await.is_ok()
    }

    /// How many messages an operation sends.
    async fn count<T>(&self, operation: impl Future<Output = T>) -> usize {
        let before = self.passed.load(Ordering::SeqCst);
        operation.await;
        self.passed.load(Ordering::SeqCst) - before
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    permits: Arc<Semaphore>,
    (passed, answered): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
            answered.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        let Ok(permit) = permits.acquire().await else {
            return;
        };
        permit.forget();
        passed.fetch_add(1, Ordering::SeqCst);
        if to_server.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// A store whose messages are counted.
async fn stepped(server: &Postgres) -> (SeaStore, Way) {
    let way = Way::to(server.port()).await;
    let url = server
        .url()
        .replace(&server.port().to_string(), &way.port.to_string());
    let store = SeaStore::open(&url, &StoreOptions::default()).await.unwrap();
    (store, way)
}

/// Runs both, so that `first` sends so many messages, then `second` so many, then `first` the rest, and then `second`.
async fn interleave<A: Send + 'static, B: Send + 'static>(
    (first, first_way, head): (impl Future<Output = A> + Send + 'static, &Way, usize),
    (second, second_way, body): (impl Future<Output = B> + Send + 'static, &Way, usize),
) -> (A, B) {
    first_way.close();
    second_way.close();
    let (first, second) = (tokio::spawn(first), tokio::spawn(second));
    first_way.step(head).await;
    second_way.step(body).await;
    first_way.open();
    tokio::time::sleep(TURN).await;
    second_way.open();
    (first.await.unwrap(), second.await.unwrap())
}

/// Runs both, so that each sends a message whenever its turn comes; the rest when no turns are left. Who waits for a lock has
/// its turns when it has got it: nothing that it could send before is left out.
async fn in_turns<A: Send + 'static, B: Send + 'static>(
    turns: &[Side],
    (first, first_way): (impl Future<Output = A> + Send + 'static, &Way),
    (second, second_way): (impl Future<Output = B> + Send + 'static, &Way),
) -> (A, B) {
    first_way.close();
    second_way.close();
    let (first, second) = (tokio::spawn(first), tokio::spawn(second));
    let mut waits = [false; 2];
    for side in turns {
        let way = [first_way, second_way][*side as usize];
        let waiting = &mut waits[*side as usize];
        if *waiting {
            way.permits.add_permits(1);
        } else {
            *waiting = !way.turn().await;
        }
    }
    first_way.open();
    second_way.open();
    (first.await.unwrap(), second.await.unwrap())
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy)]
enum Side {
    First,
    Second,
}

/// The order of this rank among all in which so many turns of each can come.
fn order(mut rank: u128, mut firsts: usize, mut seconds: usize) -> Vec<Side> {
    let mut turns = Vec::with_capacity(firsts + seconds);
    while firsts + seconds > 0 {
        let begun_by_first = if firsts == 0 {
            0
        } else {
            orders(firsts - 1, seconds)
        };
        if rank < begun_by_first {
            turns.push(Side::First);
            firsts -= 1;
        } else {
            rank -= begun_by_first;
            turns.push(Side::Second);
            seconds -= 1;
        }
    }
    turns
}

/// How many orders there are.
fn orders(firsts: usize, seconds: usize) -> u128 {
    (1..=firsts).fold(1, |orders, turn| orders * (seconds + turn) as u128 / turn as u128)
}

fn write(name: &str, number: u32, worker: &str) -> streamkeeper_core::record::WriteBatch {
    assignments(vec![put(name, worker, Epoch::new(term(number), 1))])
}

fn loaded(taken: &TakenOver, name: &str) -> bool {
    let found = taken.loaded.assignments.iter();
    found
        .clone()
        .any(|(found, owner)| *found == stream(name) && owner.worker.as_str() == "old")
}

#[tokio::test]
async fn a_takeover_and_a_write_are_one_after_the_other_wherever_they_meet() {
    let server = Postgres::start().await;
    let ((old, old_way), (new, new_way)) = (stepped(&server).await, stepped(&server).await);
    // The statements are known to the server then, as they are in a life that goes on.
    lead(&new, 1).await;
    lead(&old, 2).await;
    let writes = old_way.count(old.persist(fence(2), &write("a", 2, "old"))).await;
    let takes = new_way.count(new.take_over(fence(3), LEASE)).await;
    assert!(writes >= 4 && takes >= 5, "{writes} {takes}");
    let (mut before, mut after) = (0, 0);
    for round in 0..writes * takes {
        let (head, body) = (round % writes, round / writes);
        let number = 10 + 2 * u32::try_from(round).unwrap();
        let name = format!("s{round}");
        lead(&old, number).await;
        let (store, batch) = (old.clone(), write(&name, number, "old"));
        let persist = async move { store.persist(fence(number), &batch).await };
        let store = new.clone();
        let take = async move { store.take_over(fence(number + 1), LEASE).await };
        let (persisted, taken): (Persisted, Result<TakenOver, StoreError>) = if (head + body) % 2 == 0 {
            interleave((persist, &old_way, head), (take, &new_way, body)).await
        } else {
            let (taken, persisted) = interleave((take, &new_way, body), (persist, &old_way, head)).await;
            (persisted, taken)
        };
        let taken = taken.unwrap();
        if persisted == committed() {
            before += 1;
            assert!(
                loaded(&taken, &name),
                "{head} {body}: the successor does not know of it"
            );
        } else {
            after += 1;
            let fenced = Persisted::Fenced {
                term: term(number + 1),
            };
            assert_eq!(persisted, fenced, "{head} {body}");
            assert!(!loaded(&taken, &name));
        }
        // What the successor writes stays.
        let outcome = new
            .persist(fence(number + 1), &write(&name, number + 1, "new"))
            .await;
        assert_eq!(outcome, committed());
        let late = old
            .persist(fence(number), &write(&name, number + 2, "late"))
            .await;
        assert_eq!(
            late,
            Persisted::Fenced {
                term: term(number + 1)
            }
        );
    }
    let others = server.sql("SELECT count(*) FROM assignment WHERE stream <> 'a' AND worker <> 'new'");
    assert_eq!(others, "0");
    assert!(before > 0 && after > 0, "{before} {after}");
}

#[tokio::test]
async fn a_takeover_and_a_write_that_take_turns_are_one_after_the_other() {
    let server = Postgres::start().await;
    let ((old, old_way), (new, new_way)) = (stepped(&server).await, stepped(&server).await);
    lead(&new, 1).await;
    lead(&old, 2).await;
    let writes = old_way.count(old.persist(fence(2), &write("a", 2, "old"))).await;
    let takes = new_way.count(new.take_over(fence(3), LEASE)).await;
    let all = orders(writes, takes);
    let mut before = 0;
    for round in 0..ORDERS {
        // Evenly from all, with the first and the last of them: one wholly before the other.
        let turns = order(round * (all - 1) / (ORDERS - 1), writes, takes);
        let number = 10 + 2 * u32::try_from(round).unwrap();
        let name = format!("s{round}");
        lead(&old, number).await;
        let (store, batch) = (old.clone(), write(&name, number, "old"));
        let persist = async move { store.persist(fence(number), &batch).await };
        let store = new.clone();
        let take = async move { store.take_over(fence(number + 1), LEASE).await };
        let (persisted, taken) = in_turns(&turns, (persist, &old_way), (take, &new_way)).await;
        let stored = persisted == committed();
        before += u128::from(stored);
        assert_eq!(loaded(&taken.unwrap(), &name), stored, "{turns:?}: {persisted:?}");
        let fenced = Persisted::Fenced {
            term: term(number + 1),
        };
        assert!(stored || persisted == fenced, "{turns:?}: {persisted:?}");
        let outcome = new
            .persist(fence(number + 1), &write(&name, number + 1, "new"))
            .await;
        assert_eq!(outcome, committed(), "{turns:?}");
    }
    println!("{writes} messages and {takes}, {before} of {ORDERS} writes came first");
    assert!((1..ORDERS).contains(&before), "{before} of {ORDERS}");
}

#[tokio::test]
async fn of_two_takeovers_one_stands_wherever_they_meet() {
    let server = Postgres::start().await;
    let ((one, one_way), (two, two_way)) = (stepped(&server).await, stepped(&server).await);
    lead(&one, 1).await;
    lead(&two, 2).await;
    let takes = one_way.count(one.take_over(fence(3), LEASE)).await;
    for round in 0..takes * takes {
        let (head, body) = (round % takes, round / takes);
        let number = 10 + 2 * u32::try_from(round).unwrap();
        let (first, second) = (one.clone(), two.clone());
        let lower = async move { first.take_over(fence(number), LEASE).await.is_ok() };
        let higher = async move { second.take_over(fence(number + 1), LEASE).await.is_ok() };
        let (lower, higher) = interleave((lower, &one_way, head), (higher, &two_way, body)).await;
        assert!(higher, "{head} {body}: the higher term was not taken");
        let outcome = one.persist(fence(number), &write("a", number, "low")).await;
        assert_eq!(
            outcome,
            Persisted::Fenced {
                term: term(number + 1)
            },
            "{lower}"
        );
        assert_eq!(
            two.persist(fence(number + 1), &write("a", number + 1, "high"))
                .await,
            committed()
        );
    }
}

#[tokio::test]
async fn on_sqlite_a_takeover_and_a_write_are_one_after_the_other_too() {
    // A transaction has the whole file there, from its first statement on: there is nothing to interleave but who comes first.
    let backend = Backend::sqlite();
    let (old, new) = (backend.open().await, backend.open().await);
    let mut before = 0;
    for round in 0..RACES {
        let number = 10 + 2 * round;
        let name = format!("s{round}");
        lead(&old, number).await;
        let late = Duration::from_micros(u64::from(round / 2) * 100);
        let (store, batch) = (old.clone(), write(&name, number, "old"));
        let persist = async move {
            tokio::time::sleep(late * (round % 2)).await;
            store.persist(fence(number), &batch).await
        };
        let store = new.clone();
        let take = async move {
            tokio::time::sleep(late * (1 - round % 2)).await;
            store.take_over(fence(number + 1), LEASE).await
        };
        let (persisted, taken) = tokio::join!(tokio::spawn(persist), tokio::spawn(take));
        let (persisted, taken) = (persisted.unwrap(), taken.unwrap().unwrap());
        let stored = persisted == committed();
        before += u32::from(stored);
        assert_eq!(loaded(&taken, &name), stored, "{name}: {persisted:?}");
        let fenced = Persisted::Fenced {
            term: term(number + 1),
        };
        assert!(stored || persisted == fenced, "{persisted:?}");
    }
    assert!(
        (1..RACES).contains(&before),
        "{before} of {RACES} writes came first"
    );
}
