//! S4 fenced-leader: a deposed leader changes nothing that its successor has changed; and two orchestrators never hold
//! the role at once, as long as the message server forgets nothing, or whoever takes the key makes it anew.

use std::collections::{BTreeMap, BTreeSet};

use streamkeeper_core::coordinator::Event;
use streamkeeper_core::election;
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
    /// The server went back to a state in which the key was given up, and somebody leads until then who wrote it since:
    /// who begins just then and knows of no later term takes it at once. (The fence holds all the same.)
    forgotten_until: u64,
    /// Who made the key anew, after waiting as long as any lease of it lasts: nobody else may lead.
    makers: BTreeSet<usize>,
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
            Input::Coordinator(Event::Elected { term, until }) => {
                let now = self.now;
                let until = self.orchestrators[index].clock.when(until.as_ms());
                let made = self.watch.holders.makers.remove(&index);
                let trusted = made || self.watch.holders.forgotten_until < now;
                let holders = &mut self.watch.holders.until;
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

    /// The process is gone, or (none) the message server has forgotten who holds the role.
    pub(crate) fn forget_role(&mut self, index: Option<usize>) {
        let holders = &mut self.watch.holders;
        match index {
            Some(index) => {
                holders.until.remove(&index);
                holders.makers.remove(&index);
            }
            None => holders.forgotten_until = self.now + FORGOTTEN_MS,
        }
    }
}
