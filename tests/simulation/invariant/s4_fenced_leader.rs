//! S4 fenced-leader: a deposed leader changes nothing that its successor has changed; and two orchestrators never hold
//! the role at once, as long as the message server forgets nothing, or whoever takes the key makes it anew.

use std::collections::{BTreeMap, BTreeSet};

use streamkeeper_core::coordinator::Event;
use streamkeeper_core::election::{self, Lead};
use streamkeeper_core::router::{Effect, Input, Route};
use streamkeeper_protocol::{StreamId, Term};

use crate::world::World;

/// The highest term that wrote something of a stream.
#[derive(Debug, Default)]
pub(super) struct Writers(BTreeMap<StreamId, Term>);

impl Writers {
    pub(super) fn wrote(&mut self, stream: &StreamId, term: Term) {
        let highest = self.0.entry(stream.clone()).or_default();
        assert!(
            *highest <= term,
            "S4 fenced-leader: term {term} changes {stream}, which term {highest} has changed"
        );
        *highest = term;
    }

    /// What was written under higher terms is lost.
    pub(super) fn restored(&mut self, term: Term) {
        for highest in self.0.values_mut() {
            *highest = term.min(*highest);
        }
    }
}

/// Until when somebody leads in true time, and whether that was learned while the server had forgotten nothing.
#[derive(Debug, Clone, Copy)]
struct Holder {
    until: u64,
    trusted: bool,
}

/// Who may lead, and until when, unless the coordinator has given it up before.
#[derive(Debug, Default)]
pub(super) struct Holders {
    until: BTreeMap<usize, Holder>,
    forgotten: Forgotten,
    /// When each election saw the key first, since it began.
    looked: BTreeMap<usize, u64>,
    /// The highest term that each election was told of, since it began.
    heard: BTreeMap<usize, Term>,
    /// Who made the key anew, after waiting as long as any lease of it lasts: nobody else may lead.
    makers: BTreeSet<usize>,
}

/// The server went back to an older state of the key, and somebody who wrote it since leads still.
#[derive(Debug, Default)]
struct Forgotten {
    at: u64,
    /// Until when somebody leads of whom the server knows nothing.
    until: u64,
    /// The key was given up in that state: an election that looks at it only after has seen nothing else, and takes it.
    released: bool,
    /// The key's term in that state. Who knows of a later one waits.
    term: Term,
    /// Whose the key was: who heard of nobody else since takes it up again at once.
    owner: Option<usize>,
}

impl Forgotten {
    /// Whether this one can know nothing of the other. (The fence holds all the same, and so do the leases.)
    fn excuses(&self, now: u64, index: usize, (looked, heard): (u64, Term)) -> bool {
        let unaware = now <= self.until && heard <= self.term;
        unaware && (self.owner == Some(index) || (self.released && looked >= self.at))
    }
}

/// The longest lease of the key.
const FORGOTTEN_MS: u64 = 6_100;

impl World {
    /// What a coordinator has decided. Whoever's time is over tells nobody anything and writes nothing.
    pub(crate) fn check_acts(&self, index: usize, routes: &[Route]) {
        let acts = |route: &Route| matches!(route, Route::Do(Effect::Assign(_) | Effect::Persist { .. }));
        if let Some(holder) = self.watch.holders.until.get(&index)
            && routes.iter().any(acts)
        {
            assert!(
                self.now < holder.until,
                "S4 one leader: o{index} acts {} ms after its time was over",
                self.now - holder.until
            );
        }
    }

    /// A word between the machines of an orchestrator.
    pub(crate) fn note_role(&mut self, index: usize, input: &Input) {
        match input {
            Input::Coordinator(Event::Elected(Lead { term, until, .. })) => {
                let now = self.now;
                let holders = &self.watch.holders;
                let looked = holders.looked.get(&index).copied().unwrap_or_default();
                let heard = holders.heard.get(&index).copied().unwrap_or_default();
                let unaware = holders.forgotten.excuses(now, index, (looked, heard));
                let until = self.orchestrators[index].clock.when(until.as_ms());
                let made = self.watch.holders.makers.remove(&index);
                let holders = &mut self.watch.holders.until;
                // Whoever began so may go on so, under whatever term: it gives the key up no sooner for a higher one.
                let goes_on = holders
                    .get(&index)
                    .is_some_and(|own| !own.trusted && own.until > now);
                let trusted = made || !(unaware || goes_on);
                let other = holders
                    .iter()
                    .find(|(other, holder)| **other != index && holder.until > now && holder.trusted);
                assert!(
                    other.is_none() || until <= now || !trusted,
                    "S4 one leader: o{index} is elected with term {term}, and {other:?} leads still"
                );
                holders.insert(index, Holder { until, trusted });
            }
            Input::Election(election::Event::Vacated { .. }) => {
                self.watch.holders.until.remove(&index);
            }
            _ => {}
        }
    }

    /// The key was not there, and is written.
    pub(crate) fn note_maker(&mut self, index: usize) {
        self.watch.holders.makers.insert(index);
    }

    /// An election begins, in a new process or in one that goes on.
    pub(crate) fn note_beginning(&mut self, index: usize) {
        self.watch.holders.looked.remove(&index);
        self.watch.holders.heard.remove(&index);
    }

    /// An election takes in what it is told.
    pub(crate) fn note_look(&mut self, index: usize, input: &Input) {
        let Input::Election(event) = input else { return };
        let holders = &mut self.watch.holders;
        let term = match event {
            election::Event::Heard(term) | election::Event::NeedTerm { above: term } => *term,
            election::Event::Read { found, .. } if *found != election::Found::Failed => {
                holders.looked.entry(index).or_insert(self.now);
                match found {
                    election::Found::Record { record, .. } => record.term,
                    _ => return,
                }
            }
            _ => return,
        };
        let heard = holders.heard.entry(index).or_default();
        *heard = term.max(*heard);
    }

    /// The process is gone.
    pub(crate) fn forget_role(&mut self, index: usize) {
        self.watch.holders.until.remove(&index);
        self.watch.holders.makers.remove(&index);
    }

    /// The message server is back at an older state of the key, in which this process held it, or nobody.
    pub(crate) fn forget_holder(&mut self, term: Term, owner: Option<usize>) {
        self.watch.holders.forgotten = Forgotten {
            at: self.now,
            until: self.now + FORGOTTEN_MS,
            released: owner.is_none(),
            term,
            owner,
        };
    }
}
