//! Supervision that survives a panic.
//!
//! actix' own supervisor restarts an actor that stopped, but a panic ends the task that polls it, and its address is dead
//! for ever. So the actor's context is polled here, inside `catch_unwind`: after a panic the same address and the queued
//! messages live on, only the message in hand is lost, and the actor builds its state anew.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::{Actor, Addr, AsyncContext as _, Context, Supervised};
use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often an actor may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervision {
    /// Restarts within `window` after which the process gives up.
    pub max_restarts: u32,
    /// See `max_restarts`.
    pub window: Duration,
    /// Delay before the first restart; doubles with each restart in the window.
    pub restart_delay: Duration,
    /// An actor that answers no progress ping for so long is stuck.
    pub stuck_after: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            max_restarts: 10,
            window: Duration::from_secs(60),
            restart_delay: Duration::from_millis(50),
            stuck_after: Duration::from_secs(30),
        }
    }
}

/// The longest delay before a restart.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(5);

/// Why the process has to end: set once, by whoever cannot go on.
#[derive(Debug, Clone, Default)]
pub struct Fatal {
    reason: Arc<OnceLock<String>>,
    token: CancellationToken,
}

impl Fatal {
    /// Ends the process, with the first reason that is given.
    pub fn give_up(&self, reason: String) {
        if self.reason.set(reason).is_ok() {
            self.token.cancel();
        }
    }

    /// Waits until somebody gives up, and says why.
    pub async fn wait(&self) -> String {
        self.token.cancelled().await;
        self.reason.get().cloned().unwrap_or_default()
    }
}

/// How one actor is, for readers outside.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) name: &'static str,
    restarts: AtomicU64,
    restarting: AtomicBool,
}

impl Health {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            restarts: AtomicU64::new(0),
            restarting: AtomicBool::new(false),
        }
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(super) fn restarting(&self) -> bool {
        self.restarting.load(Ordering::Relaxed)
    }
}

/// Runs `actor` on the present arbiter and restarts it after every panic, until it stops or fails too often.
pub(super) fn supervise<A>(actor: A, health: Arc<Health>, supervision: Supervision, fatal: Fatal) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    let context = Context::new();
    let address = context.address();
    let run = context.into_future(actor);
    actix::spawn(poll_and_restart(run, health, supervision, fatal));
    address
}

async fn poll_and_restart<A>(
    mut run: ContextFut<A, Context<A>>,
    health: Arc<Health>,
    supervision: Supervision,
    fatal: Fatal,
) where
    A: Actor<Context = Context<A>> + Supervised,
{
    let mut recent: VecDeque<Instant> = VecDeque::new();
    loop {
        // The actor builds its state anew, so what a panic left half-changed is not looked at again.
        let Err(panic) = AssertUnwindSafe(&mut run).catch_unwind().await else {
            return;
        };
        let reason = panic_text(&*panic);
        let now = Instant::now();
        recent.push_back(now);
        while recent
            .front()
            .is_some_and(|at| now.duration_since(*at) > supervision.window)
        {
            recent.pop_front();
        }
        let count = u32::try_from(recent.len()).unwrap_or(u32::MAX);
        if count > supervision.max_restarts {
            let window = supervision.window;
            fatal.give_up(format!(
                "actor {} failed {count} times within {window:?}, last: {reason}",
                health.name
            ));
            return;
        }
        let delay = supervision.restart_delay.saturating_mul(1 << (count - 1).min(16));
        let delay = delay.min(MAX_RESTART_DELAY);
        health.restarting.store(true, Ordering::Relaxed);
        tracing::error!(
            actor = health.name,
            reason,
            delay_ms = delay.as_millis(),
            "actor panicked; it is restarted"
        );
        tokio::time::sleep(delay).await;
        let restarted = std::panic::catch_unwind(AssertUnwindSafe(|| run.restart()));
        health.restarts.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(crate::telemetry::metrics::ACTOR_RESTARTS, "actor" => health.name).increment(1);
        health.restarting.store(false, Ordering::Relaxed);
        match restarted {
            Ok(true) => {}
            Ok(false) => return,
            Err(panic) => {
                let reason = panic_text(&*panic);
                fatal.give_up(format!("actor {} cannot be restarted: {reason}", health.name));
                return;
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}
