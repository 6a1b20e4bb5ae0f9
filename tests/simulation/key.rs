//! The leader's key on the message server: compare-and-set, answers that get lost, a server that forgets.

use streamkeeper_core::election::{self, Found, WriteOutcome};
use streamkeeper_core::router::Input;
use streamkeeper_protocol::LeaderRecord;

use crate::network::Party;
use crate::orchestrator::{Process, Work};
use crate::world::{Happening, World};

/// After this time the adapter says that there was no answer.
const TIMEOUT_MS: u64 = 1_000;

/// What the message server holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key {
    /// The revision of the newest write.
    revision: u64,
    record: Option<LeaderRecord>,
    /// What it held a while ago, and falls back to when the last writes were not on its disk.
    older: Option<(u64, LeaderRecord)>,
    /// Counts the times that it lost something.
    life: u64,
}

/// What is asked of the key, by which life of an orchestrator's process.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) orchestrator: usize,
    pub(crate) life: u64,
    attempt: u64,
    /// The server's life in which it was sent: a server that restarts has broken every connection.
    server: u64,
    pub(crate) wish: KeyWish,
}

#[derive(Debug, Clone)]
pub(crate) enum KeyWish {
    Read,
    Write(LeaderRecord, u64),
}

impl Key {
    fn read(&self) -> Found {
        match &self.record {
            Some(record) => Found::Record {
                revision: self.revision,
                record: record.clone(),
            },
            None => Found::Absent { revision: 0 },
        }
    }

    fn write(&mut self, record: LeaderRecord, expect: u64) -> WriteOutcome {
        if self.revision != expect {
            return WriteOutcome::Conflict;
        }
        if self.revision.is_multiple_of(4) {
            self.older = self.record.take().map(|record| (self.revision, record));
        }
        self.revision += 1;
        self.record = Some(record);
        WriteOutcome::Stored {
            revision: self.revision,
        }
    }
}

impl World {
    pub(crate) fn ask_key(&mut self, index: usize, attempt: u64, wish: KeyWish) {
        let life = self.orchestrators[index].gate.life;
        let ask = Ask {
            orchestrator: index,
            life,
            attempt,
            server: self.leader_key.life,
            wish,
        };
        if self.orchestrators[index].own_key {
            // Leadership by a lock on the own folder: nothing of it can be lost.
            let event = Self::perform_ask(self.orchestrators[index].key_mut(), &ask);
            return self.answer_election(index, life, 0, event);
        }
        let mute = self.link(Party::Orchestrator(index)).mute_until > self.now;
        let lost = mute || !self.nats_up || self.keyless || (self.stormy && self.network.per_mille(20));
        if !lost {
            // A write may be on its way for long, and land when nobody waits for it any more.
            let late = self.stormy && self.network.per_mille(30);
            let delay = self.network.between(0, if late { 12_000 } else { 5 });
            self.after(delay, Happening::Key(Box::new(ask.clone())));
        }
        let event = no_answer(&ask);
        self.answer_election(index, life, TIMEOUT_MS, event);
    }

    /// Something reaches the server. The machine ignores the second of two answers.
    pub(crate) fn key(&mut self, ask: &Ask) {
        if !self.nats_up || ask.server != self.leader_key.life {
            return;
        }
        let event = Self::perform_ask(&mut self.leader_key, ask);
        let (index, life) = (ask.orchestrator, ask.life);
        if let KeyWish::Write(record, expect) = &ask.wish {
            let stored = matches!(
                event,
                election::Event::Written {
                    outcome: WriteOutcome::Stored { .. },
                    ..
                }
            );
            if stored && *expect == 0 {
                self.note_maker(index);
            }
            self.trace(format_args!(
                "o{index} writes term {} released {} to the key: {event:?}",
                record.term, record.released
            ));
            self.key_changed();
        }
        let deaf = self.link(Party::Orchestrator(index)).deaf_until > self.now;
        if deaf || (self.stormy && self.network.per_mille(20)) {
            self.sometimes.saw("answer about the leader's key lost");
            return;
        }
        if std::mem::take(&mut self.orchestrators[index].reconnects) {
            // Nothing is answered before the connection stands again.
            self.answer_election(index, life, 0, election::Event::Connection);
        }
        let delay = self.network.between(0, 5);
        self.answer_election(index, life, delay, event);
    }

    fn perform_ask(key: &mut Key, ask: &Ask) -> election::Event {
        let attempt = ask.attempt;
        match &ask.wish {
            KeyWish::Read => {
                let found = key.read();
                election::Event::Read { attempt, found }
            }
            KeyWish::Write(record, expect) => {
                let outcome = key.write(record.clone(), *expect);
                election::Event::Written { attempt, outcome }
            }
        }
    }

    pub(crate) fn answer_election(&mut self, index: usize, life: u64, delay: u64, event: election::Event) {
        let work = Work::Arrive(Box::new(Input::Election(event)));
        self.after(delay, Happening::Orchestrator(index, life, work));
    }

    /// Those who watch the key hear of it, if they hear anything.
    fn key_changed(&mut self) {
        for index in 0..self.orchestrators.len() {
            let deaf = self.link(Party::Orchestrator(index)).deaf_until > self.now;
            if !deaf && !self.network.per_mille(50) {
                let life = self.orchestrators[index].gate.life;
                let delay = self.network.between(1, 20);
                self.answer_election(index, life, delay, election::Event::Changed);
            }
        }
    }

    /// The server lost its data: all of it, or the newest.
    pub(crate) fn wipe_key(&mut self, all: bool) {
        let older = self.leader_key.older.take().filter(|_| !all);
        self.sometimes.saw(if older.is_some() {
            "leader's key back at an older state"
        } else {
            "leader's key wiped"
        });
        self.trace(format_args!("the key is wiped to {older:?}"));
        let life = self.leader_key.life + 1;
        self.leader_key = match older {
            Some((revision, record)) => Key {
                revision,
                record: Some(record),
                older: None,
                life,
            },
            None => Key {
                life,
                ..Key::default()
            },
        };
        if let Some(record) = &self.leader_key.record {
            let holds = |process: &Process| process.id == record.leader && !record.released;
            let mut processes = self.orchestrators.iter().map(|other| other.process.as_ref());
            let owner = processes.position(|process| process.is_some_and(holds));
            let term = record.term;
            // A process that is gone holds nothing, and its key is waited for.
            if record.released || owner.is_some() {
                self.forget_holder(term, owner);
            }
        }
        for orchestrator in &mut self.orchestrators {
            orchestrator.reconnects = true;
        }
        self.key_changed();
    }
}

fn no_answer(ask: &Ask) -> election::Event {
    let attempt = ask.attempt;
    match ask.wish {
        KeyWish::Read => election::Event::Read {
            attempt,
            found: Found::Failed,
        },
        KeyWish::Write(..) => election::Event::Written {
            attempt,
            outcome: WriteOutcome::Unknown,
        },
    }
}
