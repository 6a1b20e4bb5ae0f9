//! One worker: its machine, its disk, the process that runs there now and then, and the children that really run.

use std::collections::BTreeMap;

use streamkeeper_protocol::{Capacity, Epoch, SessionId, StreamId, Term, WorkerId};
use streamkeeper_worker::{Command, Event, Millis, SavedSet, Session, SessionConfig};

use crate::clock::Clock;
use crate::gate::Gate;
use crate::guard::{Deed, Guard};
use crate::network::Link;
use crate::random::Random;

/// What a worker's process does next.
#[derive(Debug, Clone)]
pub(crate) enum Inside {
    Timer,
    Connect,
    Disconnect,
    /// Something happens to the session.
    Hear(Box<Event>),
    /// What it was about to do when it was paused.
    Do(Box<Command>),
    /// It saves what it is to run.
    Save,
}

/// A child that really runs: the truth that nobody in the world sees directly.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// Tells this start from others under the same epoch.
    pub(crate) serial: u64,
    pub(crate) epoch: Epoch,
    pub(crate) exclusive: bool,
    /// The worker has ordered its stop.
    pub(crate) stopping: bool,
    /// Its lease has ended: when it is killed, on the machine's clock.
    pub(crate) kill_at: Option<u64>,
}

/// What the state folder holds.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    session: Option<SessionId>,
    boot: u64,
    /// A leader has answered the session.
    pub(crate) acknowledged: bool,
    /// Sessions before that one which no leader may know to be dead, the oldest first.
    former: Vec<SessionId>,
    pub(crate) term: Term,
    pub(crate) saved: Option<SavedSet>,
}

pub(crate) struct Node {
    pub(crate) id: WorkerId,
    pub(crate) clock: Clock,
    pub(crate) link: Link,
    pub(crate) gate: Gate<Inside>,
    pub(crate) session: Option<Session>,
    pub(crate) session_id: SessionId,
    pub(crate) guard: Guard,
    pub(crate) children: BTreeMap<StreamId, Child>,
    /// When the guard's newest word reaches the process.
    pub(crate) pipe: u64,
    pub(crate) connected: bool,
    pub(crate) armed: Option<u64>,
    /// A save of this revision is done or on its way.
    pub(crate) saving: u64,
    pub(crate) disk: Disk,
    pub(crate) boot: u64,
    /// The whole machine is suspended until then.
    pub(crate) suspended_until: u64,
    /// What its guard does then.
    pub(crate) frozen: Vec<(u64, Deed)>,
    /// When a fault touched it last.
    pub(crate) touched: u64,
    /// A second process with somebody's id; ends for good when it ends.
    pub(crate) twin: bool,
    /// Whether something outside its process ends exclusive streams.
    pub(crate) guarded: bool,
    /// It was told to end.
    pub(crate) leaving: bool,
    /// What its session does at this step it does because its lease has lapsed.
    pub(crate) lapsing: bool,
    /// The highest epoch that it ever started of each stream, in a session or (0) over all its lives.
    pub(crate) highest: BTreeMap<(StreamId, SessionId), Epoch>,
}

impl Node {
    pub(crate) fn new(id: &str, random: &mut Random) -> Self {
        Self {
            id: WorkerId::new(id).unwrap(),
            clock: Clock::new(random),
            link: Link::default(),
            gate: Gate::new(),
            session: None,
            session_id: SessionId::from_u128(0),
            guard: Guard::default(),
            children: BTreeMap::new(),
            pipe: 0,
            connected: false,
            armed: None,
            saving: 0,
            disk: Disk::default(),
            boot: 0,
            suspended_until: 0,
            frozen: Vec::new(),
            touched: 0,
            twin: false,
            guarded: true,
            leaving: false,
            lapsing: false,
            highest: BTreeMap::new(),
        }
    }

    /// A new process. The lock of the state folder proves that the former ones of the same boot are dead.
    pub(crate) fn start(&mut self, now: u64, session_id: SessionId) {
        let capacity = Capacity {
            max_streams: 30,
            weight: 30.0,
        };
        let disk = &mut self.disk;
        let mut former = std::mem::take(&mut disk.former);
        if disk.acknowledged || disk.boot != self.boot {
            former.clear();
        }
        former.extend(disk.session.filter(|_| disk.boot == self.boot));
        disk.former.clone_from(&former);
        disk.acknowledged = false;
        disk.session = Some(session_id);
        disk.boot = self.boot;
        let config = SessionConfig {
            guarded: self.guarded,
            ..SessionConfig::new(self.id.clone(), capacity)
        };
        let boot_id = format!("boot-{}", self.boot);
        let mut session = Session::new(config, session_id, boot_id, former, disk.term);
        if let Some(saved) = disk.saved.clone() {
            session.restore(Millis(self.clock.read(now)), saved);
        }
        self.gate.close();
        self.guard = Guard::default();
        self.session = Some(session);
        self.session_id = session_id;
        self.leaving = false;
        self.lapsing = false;
        self.connected = false;
        self.armed = None;
        self.saving = 0;
    }

    pub(crate) fn time(&self, now: u64) -> Millis {
        Millis(self.clock.read(now))
    }
}
