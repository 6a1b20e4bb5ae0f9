//! The one kind of actor: it reads the clock, calls its machine, follows the machine's commands and arms one timer.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext as _, Context, Handler, Message, SpawnHandle, Supervised};
use streamkeeper_core::time::Timestamp;

use super::hosted::Hosted;
use super::shell::Shell;

/// A deadline that has come already is served after this time, so that others get their turn.
const MIN_DELAY: Duration = Duration::from_millis(1);

/// Hosts one machine.
pub(super) struct Host<M: Hosted> {
    shell: Arc<Shell>,
    machine: Option<M>,
    timer: Option<(Timestamp, SpawnHandle)>,
}

impl<M: Hosted> Host<M> {
    pub(super) const fn new(shell: Arc<Shell>) -> Self {
        Self {
            shell,
            machine: None,
            timer: None,
        }
    }

    fn take(&mut self, events: Vec<M::Event>, context: &mut Context<Self>) {
        let Some(machine) = self.machine.as_mut() else {
            return;
        };
        for event in events {
            for command in machine.handle(self.shell.clock.now(), event) {
                for route in M::route(command) {
                    self.shell.follow(route);
                }
            }
        }
        self.arm(context);
    }

    fn arm(&mut self, context: &mut Context<Self>) {
        let deadline = self.machine.as_ref().and_then(M::next_deadline);
        if self.timer.map(|(at, _)| at) == deadline {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            context.cancel_future(handle);
        }
        self.timer = deadline.map(|at| {
            let delay = at.since(self.shell.clock.now()).max(MIN_DELAY);
            let handle = context.run_later(delay, |host, context| {
                host.timer = None;
                host.take(vec![M::tick()], context);
            });
            (at, handle)
        });
    }
}

impl<M: Hosted> Actor for Host<M> {
    type Context = Context<Self>;

    /// Called at the start and again after each restart: the state is always built anew from what outlives the actor.
    fn started(&mut self, context: &mut Context<Self>) {
        self.machine = Some(M::build(&self.shell));
        self.take(M::revive(self.shell.outliving()), context);
    }
}

impl<M: Hosted> Supervised for Host<M> {
    fn restarting(&mut self, _context: &mut Context<Self>) {
        // The context has forgotten its futures, so the handle means nothing any more.
        self.timer = None;
        self.machine = None;
    }
}

/// Events for the machine.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Deliver<E>(pub(super) Vec<E>);

impl<M: Hosted> Handler<Deliver<M::Event>> for Host<M> {
    type Result = ();

    fn handle(&mut self, Deliver(events): Deliver<M::Event>, context: &mut Context<Self>) {
        self.take(events, context);
    }
}

/// Asks for a sign of progress.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Progress;

impl<M: Hosted> Handler<Progress> for Host<M> {
    type Result = ();

    fn handle(&mut self, _: Progress, _context: &mut Context<Self>) {}
}

/// Makes the actor panic, to try its recovery out.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Panic;

impl<M: Hosted> Handler<Panic> for Host<M> {
    type Result = ();

    fn handle(&mut self, _: Panic, _context: &mut Context<Self>) {
        std::panic::panic_any("injected over the API".to_owned());
    }
}
