//! Which assigns a session accepts, and how the parts of a desired set become whole.

use std::collections::BTreeMap;

use streamkeeper_protocol::limit::{MAX_ENTRIES, MAX_PARTS};
use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{Action, Assign, DesiredEntry, SessionId, StreamId, Term, Version, WorkerId};

/// A whole desired set.
pub(super) type DesiredSet = BTreeMap<StreamId, DesiredEntry>;

/// The parts of one desired set that have come so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    version: Version,
    parts: u32,
    next: u32,
    entries: DesiredSet,
}

/// Why an assign is not for this session now, or `None`.
pub(super) fn objection(
    assign: &Assign,
    (worker, session): (&WorkerId, SessionId),
    highest_term: Term,
    applied: Version,
) -> Option<String> {
    let meant = assign.session == session || mutant::on(Mutant::NoSessionCheck);
    if assign.worker != *worker || !meant {
        return Some(format!("assign for {} {}", assign.worker, assign.session));
    }
    let lower_term = assign.term < highest_term;
    if lower_term && mutant::on(Mutant::NoTermCheck) {
        return None;
    }
    if lower_term {
        return Some(format!("term {} is below {highest_term}", assign.term));
    }
    if assign.version() < applied {
        return Some(format!(
            "generation {} is below {}",
            assign.generation, applied.generation
        ));
    }
    None
}

impl Assembly {
    /// Takes the next part; gives the set when it is whole. A part out of order ends the assembly: the leader sends
    /// the set again with its next answer, and a set with a hole would stop streams that it names.
    pub(super) fn take(&mut self, assign: Assign) -> Result<Option<DesiredSet>, String> {
        let version = assign.version();
        if assign.part == 0 && version >= self.version {
            *self = Self {
                version,
                parts: assign.parts,
                ..Self::default()
            };
        }
        if self.version > version {
            return Err(format!(
                "generation {} is below the one being assembled",
                version.generation
            ));
        }
        let wanted = (self.version, self.parts, self.next);
        if wanted != (version, assign.parts, assign.part) || assign.part >= assign.parts.min(MAX_PARTS) {
            self.forget();
            return Err(format!(
                "part {} of {} is out of order",
                assign.part, assign.parts
            ));
        }
        for entry in assign.entries {
            let bad = entry.action == Action::Run && entry.spec.is_none();
            if bad || self.entries.len() >= MAX_ENTRIES || self.entries.contains_key(&entry.stream) {
                self.forget();
                return Err(format!(
                    "stream {} is twice, without spec or too much",
                    entry.stream
                ));
            }
            self.entries.insert(entry.stream.clone(), entry);
        }
        self.next += 1;
        if self.next < self.parts {
            return Ok(None);
        }
        let entries = std::mem::take(&mut self.entries);
        self.forget();
        Ok(Some(entries))
    }

    /// Drops what has come.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
