//! Candidates with clocks of their own around one key, over a network that loses, doubles and delays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{LeaderRecord, OrchestratorId, Term};

use super::super::*;

/// What comes at its time.
#[derive(Debug, Clone)]
enum Happening {
    Event(usize, u64, Event),
    Look(usize, u64, u64),
    Write(usize, u64, u64, LeaderRecord, u64),
    Timer(usize, u64),
}

/// One orchestrator.
pub(super) struct Candidate {
    machine: Option<Election>,
    pub(super) life: u64,
    /// Milliseconds of its clock for 1,000 real ones, and where it began.
    rate: u64,
    offset: u64,
    term_file: Term,
    /// Until when (real time) it may lead, and under which term.
    pub(super) leads: Option<(Term, u64)>,
    /// Takes nothing before (SIGSTOP).
    pub(super) stopped_until: u64,
    /// Reaches nobody before.
    pub(super) cut_until: u64,
    pub(super) status: Status,
}

/// Share of messages, in a thousand, with each trouble.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    pub(super) lost: u64,
    pub(super) late: u64,
    pub(super) doubled: u64,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) key: Option<(u64, LeaderRecord)>,
    revisions: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    count: u64,
    random: Nonces,
    pub(super) candidates: Vec<Candidate>,
    pub(super) trouble: Trouble,
    /// Every term that anybody led under, with the life that did.
    pub(super) elected: BTreeMap<Term, (usize, u64)>,
    over: BTreeSet<Term>,
    /// Two led at the same time: an error, except where the key was lost.
    pub(super) overlaps: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, candidates: usize) -> Self {
        let mut random = Nonces(seed);
        let candidates = (0..candidates).map(|_| Candidate {
            machine: None,
            life: 0,
            rate: 990 + random.next() % 21,
            offset: random.next() % 1_000_000_000,
            term_file: Term::ZERO,
            leads: None,
            stopped_until: 0,
            cut_until: 0,
            status: Status::default(),
        });
        let candidates: Vec<Candidate> = candidates.collect();
        let mut world = Self {
            now: 1,
            key: None,
            revisions: 0,
            queue: BTreeMap::new(),
            count: 0,
            random,
            candidates,
            trouble: Trouble::default(),
            elected: BTreeMap::new(),
            over: BTreeSet::new(),
            overlaps: Vec::new(),
        };
        for index in 0..world.candidates.len() {
            world.start(index);
        }
        world
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random.next() % below.max(1)
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.count += 1;
        self.queue.insert((self.now + delay, self.count), happening);
    }

    fn clock(&self, index: usize) -> Timestamp {
        let candidate = &self.candidates[index];
        Timestamp::from_ms(candidate.offset + self.now * candidate.rate / 1_000)
    }

    /// When a clock will show this; never early.
    fn real(&self, index: usize, at: Timestamp) -> u64 {
        let candidate = &self.candidates[index];
        (at.as_ms().saturating_sub(candidate.offset) * 1_000).div_ceil(candidate.rate)
    }

    pub(super) fn start(&mut self, index: usize) {
        let seed = self.draw(u64::MAX);
        let candidate = &mut self.candidates[index];
        candidate.life += 1;
        let me = OrchestratorId::new(format!("o-{index}-{}", candidate.life)).unwrap();
        let config = Config {
            number: u32::try_from(index).unwrap(),
            ..Config::default()
        };
        candidate.machine = Some(Election::new(me, config, seed));
        let remembered = candidate.term_file;
        self.tell(index, Event::Begin { remembered });
    }

    /// The machine alone begins anew; its process, and so its name and its coordinator, live on.
    pub(super) fn restart_machine(&mut self, index: usize) {
        let seed = self.draw(u64::MAX);
        let candidate = &mut self.candidates[index];
        let Some(old) = candidate.machine.take() else {
            return;
        };
        candidate.machine = Some(Election::new(old.me, old.config, seed));
        let remembered = candidate.term_file;
        self.tell(index, Event::Begin { remembered });
    }

    pub(super) fn kill(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        candidate.machine = None;
        candidate.leads = None;
        candidate.life += 1;
    }

    pub(super) fn is_alive(&self, index: usize) -> bool {
        self.candidates[index].machine.is_some()
    }

    pub(super) fn wipe(&mut self) {
        self.key = None;
        self.revisions = 0;
    }

    pub(super) fn tell(&mut self, index: usize, event: Event) {
        let life = self.candidates[index].life;
        self.after(0, Happening::Event(index, life, event));
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + u64::try_from(duration.as_millis()).unwrap();
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Event(index, life, _) | Happening::Timer(index, life)
                if self.candidates[index].life != life => {}
            Happening::Event(index, ..) | Happening::Timer(index, _)
                if self.candidates[index].stopped_until > self.now =>
            {
                let wait = self.candidates[index].stopped_until - self.now;
                self.after(wait, happening);
            }
            Happening::Event(index, _, event) => self.handle(index, event),
            Happening::Timer(index, _) => self.handle(index, Election::tick()),
            Happening::Look(index, life, attempt) => {
                let found = match &self.key {
                    Some((revision, record)) => Found::Record {
                        revision: *revision,
                        record: record.clone(),
                    },
                    None => Found::Absent { revision: 0 },
                };
                self.answer(index, life, Event::Read { attempt, found });
            }
            Happening::Write(index, life, attempt, record, expect) => {
                let present = self.key.as_ref().map_or(0, |(revision, _)| *revision);
                let outcome = if present == expect {
                    self.revisions += 1;
                    self.key = Some((self.revisions, record));
                    WriteOutcome::Stored {
                        revision: self.revisions,
                    }
                } else {
                    WriteOutcome::Conflict
                };
                self.answer(index, life, Event::Written { attempt, outcome });
            }
        }
    }

    /// A message over the network.
    fn send(&mut self, index: usize, happening: Happening) {
        if self.candidates[index].cut_until > self.now {
            return;
        }
        let trouble = self.trouble;
        if self.draw(1_000) < trouble.doubled {
            let delay = self.draw(15_000);
            self.after(delay, happening.clone());
        }
        if self.draw(1_000) < trouble.lost {
            return;
        }
        let late = self.draw(1_000) < trouble.late;
        let delay = self.draw(if late { 15_000 } else { 20 });
        self.after(delay, happening);
    }

    fn answer(&mut self, index: usize, life: u64, event: Event) {
        self.send(index, Happening::Event(index, life, event));
    }

    fn handle(&mut self, index: usize, event: Event) {
        let now = self.clock(index);
        if let Event::Vacated { term } = &event {
            let leads = &mut self.candidates[index].leads;
            leads.take_if(|(led, _)| led == term);
        }
        let Some(machine) = self.candidates[index].machine.as_mut() else {
            return;
        };
        let commands = machine.handle(now, event);
        let deadline = machine.next_deadline();
        for command in commands {
            self.perform(index, command);
        }
        if let Some(at) = deadline {
            let delay = self.real(index, at).saturating_sub(self.now).max(1);
            let life = self.candidates[index].life;
            self.after(delay, Happening::Timer(index, life));
        }
    }

    fn perform(&mut self, index: usize, command: Command) {
        let life = self.candidates[index].life;
        match command {
            Command::Read { attempt } => self.send(index, Happening::Look(index, life, attempt)),
            Command::Write {
                attempt,
                record,
                expect,
            } => {
                self.send(index, Happening::Write(index, life, attempt, record, expect));
            }
            Command::Remember(term) => {
                self.candidates[index].term_file = term;
                let delay = self.draw(10);
                let event = Event::Remembered { term, durable: true };
                self.after(delay, Happening::Event(index, life, event));
            }
            Command::Elected(lead) => self.elected(index, lead.term, lead.until),
            Command::Resigned { term } => {
                self.over.insert(term);
                let delay = self.draw(100);
                self.after(delay, Happening::Event(index, life, Event::Vacated { term }));
            }
            Command::Publish(status) => self.candidates[index].status = status,
            Command::Implausible(_) => {}
        }
    }

    fn elected(&mut self, index: usize, term: Term, until: Timestamp) {
        let life = self.candidates[index].life;
        let before = *self.elected.entry(term).or_insert((index, life));
        assert_eq!(before, (index, life), "term {term} was taken twice");
        assert!(!self.over.contains(&term), "term {term} was over and came again");
        let until = self.real(index, until);
        for (other, candidate) in self.candidates.iter().enumerate() {
            if let Some((led, end)) = candidate.leads
                && other != index
                && end > self.now
            {
                let text = format!(
                    "at {} {index} leads under {term} and {other} under {led} until {end}",
                    self.now
                );
                self.overlaps.push(text);
            }
        }
        self.candidates[index].leads = Some((term, until));
    }

    /// Who may lead now.
    pub(super) fn leaders(&self) -> Vec<usize> {
        let leads = |candidate: &Candidate| candidate.leads.is_some_and(|(_, until)| until > self.now);
        (0..self.candidates.len())
            .filter(|index| leads(&self.candidates[*index]))
            .collect()
    }

    pub(super) fn term(&self, index: usize) -> Term {
        self.candidates[index].leads.map_or(Term::ZERO, |(term, _)| term)
    }
}
