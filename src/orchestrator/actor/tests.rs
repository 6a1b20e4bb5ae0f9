//! Supervision: what survives a panic, and when the process gives up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext as _, Context, Handler, MailboxError, Message, Supervised};

use super::host::Progress;
use super::mailbox::{Mailbox, feed, watch_progress};
use super::supervise::{Fatal, Health, Supervision, supervise};
use crate::actor::host::Deliver;

/// Counts what it is told; every start counts from what outlives it.
struct Counter {
    sum: Arc<AtomicU32>,
    starts: Arc<AtomicU32>,
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, _context: &mut Context<Self>) {
        self.starts.fetch_add(1, Ordering::SeqCst);
    }
}

impl Supervised for Counter {}

/// Where to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Handler,
    Timer,
    Future,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Break(Fault);

impl Handler<Break> for Counter {
    type Result = ();

    fn handle(&mut self, Break(fault): Break, context: &mut Context<Self>) {
        match fault {
            Fault::Handler => panic!("in the handler"),
            Fault::Timer => {
                context.run_later(Duration::ZERO, |_, _| panic!("in the timer"));
            }
            Fault::Future => {
                context.spawn(actix::fut::wrap_future(async { panic!("in the future") }));
            }
        }
    }
}

impl Handler<Deliver<u32>> for Counter {
    type Result = ();

    fn handle(&mut self, Deliver(numbers): Deliver<u32>, _context: &mut Context<Self>) {
        assert!(!numbers.contains(&666), "a poisonous message");
        self.sum.fetch_add(numbers.iter().sum(), Ordering::SeqCst);
    }
}

impl Handler<Progress> for Counter {
    type Result = ();

    fn handle(&mut self, _: Progress, _context: &mut Context<Self>) {}
}

struct World {
    actor: Addr<Counter>,
    sum: Arc<AtomicU32>,
    starts: Arc<AtomicU32>,
    health: Arc<Health>,
    fatal: Fatal,
}

fn world() -> World {
    let (sum, starts) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let counter = Counter {
        sum: Arc::clone(&sum),
        starts: Arc::clone(&starts),
    };
    let health = Arc::new(Health::new("counter"));
    let fatal = Fatal::default();
    let supervision = Supervision {
        max_restarts: 3,
        ..Supervision::default()
    };
    World {
        actor: supervise(counter, Arc::clone(&health), supervision, fatal.clone()),
        sum,
        starts,
        health,
        fatal,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Virtual time: every sleep is over as soon as nothing else can go on.
fn on_paused_time(test: impl Future<Output = ()>) {
    actix::System::new().block_on(async {
        tokio::time::pause();
        test.await;
    });
}

#[test]
fn the_same_address_works_after_a_panic_wherever_it_came() {
    for fault in [Fault::Handler, Fault::Timer, Fault::Future] {
        on_paused_time(async {
            let world = world();
            world.actor.send(Deliver(vec![1])).await.unwrap();
            let outcome = world.actor.send(Break(fault)).await;
            assert_eq!(
                outcome == Err(MailboxError::Closed),
                fault == Fault::Handler,
                "{fault:?}"
            );
            until("restarted", || world.health.restarts() == 1).await;
            world.actor.send(Deliver(vec![2])).await.unwrap();
            assert_eq!(world.sum.load(Ordering::SeqCst), 3, "{fault:?}");
            assert_eq!(
                world.starts.load(Ordering::SeqCst),
                2,
                "{fault:?}: it begins anew"
            );
            assert!(!world.health.restarting());
        });
    }
}

#[test]
fn what_is_queued_survives_a_panic_and_only_the_batch_in_hand_is_lost() {
    on_paused_time(async {
        let world = world();
        let (mailbox, waiting) = Mailbox::new("counter");
        actix::spawn(feed(waiting, world.actor.clone()));
        mailbox.deliver(1).await;
        until("the first is counted", || world.sum.load(Ordering::SeqCst) == 1).await;
        mailbox.deliver(666).await;
        until("the poison is taken", || mailbox.waiting() == 0).await;
        mailbox.deliver(2).await;
        until("counted", || world.sum.load(Ordering::SeqCst) == 3).await;
        assert_eq!(world.health.restarts(), 1);
    });
}

#[test]
fn a_full_mailbox_refuses_and_loses_nothing_that_it_took() {
    on_paused_time(async {
        let world = world();
        let (mailbox, waiting) = Mailbox::new("counter");
        let taken = (0..100_000).filter(|_| mailbox.offer(1)).count();
        assert_eq!(taken, mailbox.waiting());
        assert!(taken < 100_000);
        actix::spawn(feed(waiting, world.actor.clone()));
        let taken = u32::try_from(taken).unwrap();
        until("all counted", || world.sum.load(Ordering::SeqCst) == taken).await;
    });
}

#[test]
fn an_actor_that_fails_again_and_again_ends_the_process() {
    on_paused_time(async {
        let world = world();
        for _ in 0..4 {
            until("alive", || !world.health.restarting()).await;
            // Closed is what the sender of the message in hand sees.
            let _ = world.actor.send(Break(Fault::Handler)).await;
        }
        let reason = world.fatal.wait().await;
        assert!(reason.contains("counter failed 4 times"), "{reason}");
        assert_eq!(world.health.restarts(), 3);
    });
}

#[test]
fn failures_that_are_far_apart_do_not_add_up() {
    on_paused_time(async {
        let world = world();
        for number in 1..=10 {
            let _ = world.actor.send(Break(Fault::Handler)).await;
            until("restarted", || world.health.restarts() == number).await;
            tokio::time::sleep(Duration::from_secs(61)).await;
        }
        assert_eq!(world.starts.load(Ordering::SeqCst), 11);
    });
}

/// Never answers a progress ping in time.
struct Stuck;

impl Actor for Stuck {
    type Context = Context<Self>;
}

impl Supervised for Stuck {}

impl Handler<Progress> for Stuck {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, _: Progress, _context: &mut Context<Self>) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

#[test]
fn an_actor_without_progress_ends_the_process() {
    on_paused_time(async {
        let health = Arc::new(Health::new("stuck"));
        let fatal = Fatal::default();
        let actor = supervise(Stuck, Arc::clone(&health), Supervision::default(), fatal.clone());
        actix::spawn(watch_progress(
            actor,
            health,
            Duration::from_secs(30),
            fatal.clone(),
        ));
        let reason = fatal.wait().await;
        assert!(reason.contains("stuck made no progress for 30s"), "{reason}");
    });
}

#[test]
fn an_actor_that_is_merely_restarted_is_not_stuck() {
    on_paused_time(async {
        let world = world();
        let watched = (Arc::clone(&world.health), world.fatal.clone());
        let stuck_after = Duration::from_secs(30);
        actix::spawn(watch_progress(
            world.actor.clone(),
            watched.0,
            stuck_after,
            watched.1,
        ));
        let _ = world.actor.send(Break(Fault::Handler)).await;
        let given_up = tokio::time::timeout(Duration::from_secs(600), world.fatal.wait()).await;
        assert!(given_up.is_err(), "{given_up:?}");
    });
}
