//! Workers that run nothing and say that they do. Every message is made once, and only its number changes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use streamkeeper_orchestrator::app::bench::{Fleet, worker_name};
use streamkeeper_protocol::{
    Assign, AssignKind, Capacity, Control, ControlReply, Heartbeat, Inventory, Mode, PROTOCOL_VERSION, Phase,
    RunState, RunningStream, Subjects, Version, WorkerId, decode, encode,
};
use tokio::time::{Instant, timeout_at};

use super::Serve;
use super::wire::{self, Incoming, Message, Outgoing};
use crate::failure::Failure;

/// Numbers of heartbeats begin here: from here on they all have the same length on the wire.
const FIRST_SEQ: u32 = 1 << 16;
/// What stands before the number in a heartbeat: the name of the field and the mark of four bytes.
const SEQ_FIELD: &[u8] = b"\xa3seq\xce";
/// The same in an answer.
const ACK_FIELD: &[u8] = b"\xa7ack_seq\xce";
const CURRENT: &[u8] = b"\xa4kind\xa7current";
/// Time between two looks at what is due.
const BEAT: Duration = Duration::from_millis(1);
/// Longest wait until every worker has what is wanted of it.
const JOIN_PATIENCE: Duration = Duration::from_secs(600);
/// While they join, a worker that got no answer speaks again after this time.
const REPEAT: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Debug, Default)]
pub(in crate::bench) struct Answers {
    pub(in crate::bench) sent: u64,
    pub(in crate::bench) answered: u64,
    /// Time from sending to the answer, in microseconds.
    pub(in crate::bench) times_us: Vec<u32>,
}

/// One worker.
#[derive(Debug)]
struct Puppet {
    subject: String,
    seq: u32,
    applied: Version,
    /// It has applied what is wanted of it.
    settled: bool,
    /// A heartbeat with everything that it says.
    bytes: Vec<u8>,
    /// Where its number stands.
    seq_at: usize,
    /// Heartbeats without an answer, and when they were sent.
    waiting: VecDeque<(u32, Instant)>,
}

/// All of them.
#[derive(Debug)]
pub(in crate::bench) struct Puppets {
    fleet: Fleet,
    /// Whether each heartbeat carries the whole inventory.
    whole: bool,
    incoming: Incoming,
    outgoing: Outgoing,
    subjects: Subjects,
    all: Vec<Puppet>,
    /// Whose heartbeat is next.
    next: usize,
    answers: Answers,
}

impl Puppets {
    /// Connects, and speaks until every worker has applied what the orchestrator wants of it.
    pub(in crate::bench) async fn join(serve: &Serve, fleet: Fleet, whole: bool) -> Result<Self, Failure> {
        let (incoming, mut outgoing, prefix) = wire::connect(serve.folder()).await?;
        let subjects = Subjects::new(&prefix)
            .map_err(|error| Failure::failed(format!("bench: the prefix {prefix:?} is none: {error}")))?;
        let every = |subject: String| subject.replace("any", "*");
        let any = worker("any")?;
        outgoing.subscribe(&every(subjects.assign(&any)), 1);
        outgoing.subscribe(&every(subjects.control(&any)), 2);
        outgoing.flush().await?;
        let mut puppets = Self {
            fleet,
            whole,
            incoming,
            outgoing,
            subjects,
            all: Vec::new(),
            next: 0,
            answers: Answers::default(),
        };
        for number in 0..fleet.workers {
            let id = worker(&worker_name(number))?;
            let mut puppet = Puppet {
                subject: puppets.subjects.heartbeat(&id),
                seq: FIRST_SEQ,
                applied: Version::default(),
                settled: false,
                bytes: Vec::new(),
                seq_at: 0,
                waiting: VecDeque::new(),
            };
            puppet.write(number, &fleet, true)?;
            puppets.all.push(puppet);
        }
        puppets.settle().await?;
        Ok(puppets)
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + JOIN_PATIENCE;
        loop {
            let now = Instant::now();
            let open = self.all.iter().filter(|puppet| !puppet.settled).count();
            if open == 0 {
                break;
            }
            if now > deadline {
                return Err(Failure::failed(format!(
                    "bench: {open} of {} workers did not join within {JOIN_PATIENCE:?}",
                    self.all.len()
                )));
            }
            for number in 0..self.all.len() {
                let puppet = &self.all[number];
                let quiet = puppet.waiting.back().is_none_or(|(_, sent)| now > *sent + REPEAT);
                if !puppet.settled && quiet {
                    self.beat(number, now);
                }
            }
            self.outgoing.flush().await?;
            self.listen(now + BEAT).await?;
        }
        for (puppet, number) in self.all.iter_mut().zip(0..) {
            puppet.write(number, &self.fleet, self.whole)?;
        }
        Ok(())
    }

    /// Speaks so many times a second, for so long, one worker after the other; then waits for what is missing.
    pub(in crate::bench) async fn speak(&mut self, rate: f64, time: Duration) -> Result<Answers, Failure> {
        for puppet in &mut self.all {
            puppet.waiting.clear();
        }
        self.answers = Answers::default();
        let start = Instant::now();
        let mut sent = 0_u64;
        loop {
            let now = Instant::now();
            let since = now - start;
            let due = (since.min(time).as_secs_f64() * rate) as u64;
            for _ in sent..due {
                self.beat(self.next, now);
                self.next = (self.next + 1) % self.all.len();
            }
            sent = due;
            self.outgoing.flush().await?;
            if since >= time {
                break;
            }
            self.listen(now + BEAT).await?;
        }
        let deadline = Instant::now() + REPEAT;
        while self.answers.answered < sent && Instant::now() < deadline {
            self.listen(Instant::now() + BEAT).await?;
        }
        self.answers.sent = sent;
        Ok(std::mem::take(&mut self.answers))
    }

    fn beat(&mut self, number: usize, now: Instant) {
        let puppet = &mut self.all[number];
        puppet.seq += 1;
        puppet.bytes[puppet.seq_at..puppet.seq_at + 4].copy_from_slice(&puppet.seq.to_be_bytes());
        puppet.waiting.push_back((puppet.seq, now));
        self.outgoing.publish(&puppet.subject, &puppet.bytes);
    }

    /// Takes in what comes until then.
    async fn listen(&mut self, until: Instant) -> Result<(), Failure> {
        loop {
            let (all, fleet, answers) = (&mut self.all, &self.fleet, &mut self.answers);
            let (mut replies, mut pings, mut wrong) = (Vec::new(), 0, None);
            let message = |message: Message<'_>| {
                if let Some(reply) = message.reply {
                    replies.extend(obey(&message).map(|bytes| (reply.to_owned(), bytes)));
                } else if let Err(failure) = take(all, fleet, answers, &message) {
                    wrong = Some(failure);
                }
            };
            let line = |line: &str| pings += usize::from(line == "PING");
            match timeout_at(until, self.incoming.read(message, line)).await {
                Ok(read) => read?,
                Err(_) => return Ok(()),
            }
            if let Some(failure) = wrong {
                return Err(failure);
            }
            for _ in 0..pings {
                self.outgoing.pong();
            }
            for (reply, bytes) in replies {
                self.outgoing.publish(&reply, &bytes);
            }
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }
}

impl Puppet {
    /// Makes its heartbeat anew.
    fn write(&mut self, number: u32, fleet: &Fleet, whole: bool) -> Result<(), Failure> {
        let running: Vec<RunningStream> = fleet
            .of_worker(number)
            .map(|(stream, epoch)| RunningStream {
                stream,
                epoch,
                state: RunState::Running,
                restarts: 0,
                reason: None,
            })
            .collect();
        let count = u32::try_from(running.len()).unwrap_or(u32::MAX);
        let inventory = if whole {
            Inventory {
                version: 1,
                count,
                part: 0,
                parts: 1,
                running,
            }
        } else {
            Inventory::digest(1, count)
        };
        let heartbeat = Heartbeat {
            v: PROTOCOL_VERSION,
            worker: worker(&worker_name(number))?,
            session: fleet.session(number),
            seq: u64::from(FIRST_SEQ),
            boot_id: "bench".to_owned(),
            supersedes: None,
            applied: self.applied,
            highest_term: self.applied.term.max(fleet.term),
            mode: Mode::Connected,
            lease_left_ms: 0,
            guarded: false,
            phase: Phase::Ready,
            capacity: Capacity {
                max_streams: count.max(1),
                weight: f64::from(count.max(1)),
            },
            labels: BTreeMap::from([("site".to_owned(), format!("site-{}", number % 10))]),
            zone: Some(format!("zone-{}", number % 3)),
            version: "bench".to_owned(),
            inventory,
            host: None,
            performance: Vec::new(),
            zlib: false,
        };
        let failed = |what: String| Failure::failed(format!("bench: a heartbeat cannot be made: {what}"));
        self.bytes = encode(&heartbeat).map_err(|error| failed(error.to_string()))?;
        let at = find(&self.bytes, SEQ_FIELD).ok_or_else(|| failed("it has no number".to_owned()))?;
        self.seq_at = at + SEQ_FIELD.len();
        Ok(())
    }
}

/// Takes in one answer.
fn take(
    all: &mut [Puppet],
    fleet: &Fleet,
    answers: &mut Answers,
    message: &Message<'_>,
) -> Result<(), Failure> {
    let number = message
        .subject
        .rsplit_once('-')
        .and_then(|(_, digits)| digits.parse::<u32>().ok());
    let Some((number, puppet)) = number.and_then(|number| Some((number, all.get_mut(number as usize)?)))
    else {
        return Ok(());
    };
    if let Some(ack) = ack_of(message.payload) {
        // Each heartbeat is answered once, in their order: those before are lost. What is pushed answers none anew.
        while let Some((seq, sent)) = puppet.waiting.front().copied().filter(|(seq, _)| *seq <= ack) {
            puppet.waiting.pop_front();
            if seq == ack {
                answers.answered += 1;
                answers
                    .times_us
                    .push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
        }
    }
    if find(message.payload, CURRENT).is_some() {
        puppet.settled = true;
        return Ok(());
    }
    let assign = decode::<Assign>(message.payload, None)
        .map_err(|error| Failure::failed(format!("bench: an answer cannot be read: {error}")))?;
    if assign.kind == AssignKind::Refused {
        let reason = assign.reason.unwrap_or_default();
        return Err(Failure::failed(format!("bench: a worker is refused: {reason}")));
    }
    if assign.version() >= puppet.applied {
        puppet.applied = assign.version();
        puppet.settled = false;
        puppet.waiting.clear();
        puppet.write(number, fleet, true)?;
    }
    Ok(())
}

/// Does at once what is asked for: nothing.
fn obey(message: &Message<'_>) -> Option<Vec<u8>> {
    let control = decode::<Control>(message.payload, None).ok()?;
    let answer = ControlReply {
        v: PROTOCOL_VERSION,
        id: control.id,
        done: true,
        reason: None,
    };
    encode(&answer).ok()
}

/// The number that an answer acknowledges, without reading the rest.
fn ack_of(payload: &[u8]) -> Option<u32> {
    let at = find(payload, ACK_FIELD)? + ACK_FIELD.len();
    let digits = payload.get(at..at + 4)?;
    Some(u32::from_be_bytes(digits.try_into().ok()?))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn worker(name: &str) -> Result<WorkerId, Failure> {
    WorkerId::new(name).map_err(|error| Failure::failed(format!("bench: {name:?} is no worker: {error}")))
}
