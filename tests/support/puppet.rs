//! A worker that does nothing of its own will: it says what the test wants, and runs nothing.

use std::time::Duration;

use async_nats::Client;
use futures::StreamExt;
use streamkeeper_protocol::{
    Assign, AssignKind, Capacity, Control, ControlReply, DesiredEntry, Epoch, Heartbeat, Inventory, Mode,
    PROTOCOL_VERSION, Phase, RunState, RunningStream, SessionId, StreamId, Subjects, Term, Version, WorkerId,
    decode, encode,
};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

const INTERVAL: Duration = Duration::from_millis(300);

/// What a puppet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It speaks so often, and then never again.
    Silent {
        /// Heartbeats that it sends.
        after: u64,
    },
    /// It speaks on, and claims to run a stream of this name that nobody has declared, whatever it is told.
    Stubborn {
        /// The stream.
        stream: &'static str,
    },
    /// It takes one stream, says so, and never lists it.
    Hiding,
    /// It takes one stream, and says that it runs it under an epoch that nobody granted.
    Forging,
    /// It says that it runs so many streams, and lists none.
    Miscounting {
        /// The number.
        says: u32,
    },
}

/// A puppet. It ends without a word when dropped.
#[derive(Debug)]
pub struct Puppet {
    leave: oneshot::Sender<()>,
    task: AbortOnDropHandle<()>,
}

impl Puppet {
    /// Joins the fleet under a prefix.
    ///
    /// # Panics
    /// Panics where the server does not take its subscriptions.
    pub async fn join(client: &Client, prefix: &str, worker: &str, manner: Manner) -> Self {
        let subjects = Subjects::new(prefix).expect("a prefix");
        let worker = WorkerId::new(worker).expect("an id");
        let assigns = client.subscribe(subjects.assign(&worker)).await;
        let controls = client.subscribe(subjects.control(&worker)).await;
        let (mut assigns, mut controls) = (assigns.expect("subscribed"), controls.expect("subscribed"));
        client.flush().await.expect("the server answers");
        let client = client.clone();
        let mut heartbeat = first(worker, manner);
        if !matches!(manner, Manner::Silent { .. } | Manner::Stubborn { .. }) {
            heartbeat
                .labels
                .insert("puppet".to_owned(), heartbeat.worker.to_string());
        }
        let subject = subjects.heartbeat(&heartbeat.worker);
        let (leave, mut left) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            loop {
                tokio::select! {
                    Ok(()) = &mut left => {
                        heartbeat.seq += 1;
                        heartbeat.phase = Phase::Gone;
                        let bytes = encode(&heartbeat).expect("it can be encoded");
                        let _ = client.publish(subject.clone(), bytes.into()).await;
                        let _ = client.flush().await;
                        return;
                    }
                    _ = ticks.tick() => match manner {
                        Manner::Silent { after } if heartbeat.seq >= after => {}
                        _ => {
                            if let Manner::Miscounting { says } = manner && heartbeat.applied.generation > 0 {
                                heartbeat.inventory.parts = 0;
                                heartbeat.inventory.count = says;
                            }
                            heartbeat.seq += 1;
                            let bytes = encode(&heartbeat).expect("it can be encoded");
                            // Lost while the server is away, as any heartbeat.
                            let _ = client.publish(subject.clone(), bytes.into()).await;
                        }
                    },
                    Some(message) = assigns.next() => {
                        if let Ok(assign) = decode::<Assign>(&message.payload, None) && assign.kind != AssignKind::Current {
                            // So it says.
                            heartbeat.applied = Version { term: assign.term, generation: assign.generation };
                            heartbeat.highest_term = assign.term;
                            take(manner, &mut heartbeat.inventory, &assign.entries);
                        }
                    }
                    Some(message) = controls.next() => {
                        if let (Ok(control), Some(reply)) = (decode::<Control>(&message.payload, None), message.reply) {
                            let answer = ControlReply { v: PROTOCOL_VERSION, id: control.id, done: true, reason: None };
                            let bytes = encode(&answer).expect("it can be encoded");
                            let _ = client.publish(reply, bytes.into()).await;
                        }
                    }
                    else => return,
                }
            }
        });
        Self {
            leave,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Says goodbye.
    ///
    /// # Panics
    /// Panics where it failed before.
    pub async fn leave(self) {
        // An error says that it has ended already.
        let _ = self.leave.send(());
        self.task.await.expect("it lived until now");
    }
}

/// What it says of what it was told to run.
fn take(manner: Manner, inventory: &mut Inventory, entries: &[DesiredEntry]) {
    if entries.is_empty() {
        return;
    }
    match manner {
        Manner::Hiding => {
            inventory.version += 1;
            inventory.parts = 0;
        }
        Manner::Forging => {
            let forged = |entry: &DesiredEntry| {
                running(
                    entry.stream.clone(),
                    Epoch::new(entry.epoch.term(), entry.epoch.counter() + 1_000_000),
                )
            };
            inventory.version += 1;
            inventory.running = entries.iter().map(forged).collect();
            inventory.count = u32::try_from(entries.len()).expect("few");
        }
        Manner::Silent { .. } | Manner::Stubborn { .. } | Manner::Miscounting { .. } => {}
    }
}

fn running(stream: StreamId, epoch: Epoch) -> RunningStream {
    RunningStream {
        stream,
        epoch,
        state: RunState::Running,
        restarts: 0,
        reason: None,
    }
}

fn first(worker: WorkerId, manner: Manner) -> Heartbeat {
    let stubborn = |stream| {
        let epoch = Epoch::new(Term::new(1).expect("a term"), 1);
        running(StreamId::new(stream).expect("a name"), epoch)
    };
    // Nobody else's streams are to go to those who do not run them.
    let (running, max_streams) = match manner {
        Manner::Silent { .. } => (Vec::new(), 10),
        Manner::Stubborn { stream } => (vec![stubborn(stream)], 0),
        Manner::Hiding | Manner::Forging => (Vec::new(), 1),
        Manner::Miscounting { .. } => (Vec::new(), 0),
    };
    Heartbeat {
        v: PROTOCOL_VERSION,
        worker,
        session: SessionId::from_u128(1),
        seq: 0,
        boot_id: "boot".to_owned(),
        supersedes: None,
        applied: Version::default(),
        highest_term: Term::ZERO,
        mode: Mode::Connected,
        lease_left_ms: 0,
        guarded: false,
        phase: Phase::Ready,
        capacity: Capacity {
            max_streams,
            weight: 10.0,
        },
        labels: std::collections::BTreeMap::new(),
        zone: None,
        version: "puppet".to_owned(),
        inventory: Inventory {
            version: 1,
            count: u32::try_from(running.len()).expect("few"),
            part: 0,
            parts: 1,
            running,
        },
        host: None,
        performance: Vec::new(),
        zlib: false,
    }
}
