//! A worker that does nothing of its own will: it says what the test wants, and runs nothing.

use std::time::Duration;

use async_nats::Client;
use futures::StreamExt;
use streamkeeper_protocol::{
    Assign, AssignKind, Capacity, Control, ControlReply, Epoch, Heartbeat, Inventory, Mode, PROTOCOL_VERSION,
    Phase, RunState, RunningStream, SessionId, StreamId, Subjects, Term, Version, WorkerId, decode, encode,
};
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
}

/// A puppet. It ends without a word when dropped.
#[derive(Debug)]
pub struct Puppet {
    _task: AbortOnDropHandle<()>,
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
        let subject = subjects.heartbeat(&heartbeat.worker);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            loop {
                tokio::select! {
                    _ = ticks.tick() => match manner {
                        Manner::Silent { after } if heartbeat.seq >= after => {}
                        Manner::Silent { .. } | Manner::Stubborn { .. } => {
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
            _task: AbortOnDropHandle::new(task),
        }
    }
}

fn first(worker: WorkerId, manner: Manner) -> Heartbeat {
    let running = match manner {
        Manner::Silent { .. } => Vec::new(),
        Manner::Stubborn { stream } => vec![RunningStream {
            stream: StreamId::new(stream).expect("a name"),
            epoch: Epoch::new(Term::new(1).expect("a term"), 1),
            state: RunState::Running,
            restarts: 0,
            reason: None,
        }],
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
            max_streams: 10,
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
