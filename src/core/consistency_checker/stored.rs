//! Memory against the database, page by page and slowly. A page with differences is read again: what is being written
//! looks like a difference once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use streamkeeper_protocol::{Epoch, StreamId};

use super::found::{Found, Key, Streaks};
use super::{Command, Config, Finding, FindingKind, Part, Policies, Repair};
use crate::cluster::{ClusterState, Slot, StreamRecord};
use crate::record::{Assignment, Page};
use crate::spec::StreamSpec;
use crate::time::Timestamp;

/// Rows of one page.
pub const PAGE_ROWS: u32 = 2_000;
/// Most pages that wait to be read again; what does not fit is found again by the next pass.
const MAX_AGAIN: usize = 256;
/// An answer that takes longer is not waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The database rests at least so long after each page, and this many times as long as the page took.
const REST: Duration = Duration::from_millis(100);
const REST_SHARE: u32 = 9;

/// A page that was asked for.
#[derive(Debug)]
struct Asked {
    ticket: u64,
    after: Option<StreamId>,
    at: Timestamp,
    /// Whether it belongs to the pass; if not, it is read again.
    of_pass: bool,
}

/// The database side of the checker.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) tickets: u64,
    asked: Option<Asked>,
    /// When the next page is due.
    due: Option<Timestamp>,
    /// Where the pass goes on; none at its beginning.
    cursor: Option<StreamId>,
    in_pass: bool,
    next_pass: Timestamp,
    rows: u64,
    /// Pages with differences, and when each is read again.
    again: VecDeque<(Timestamp, Option<StreamId>)>,
    /// Whether the last page that was read was one of them.
    read_again: bool,
    streaks: Streaks,
    pub(super) confirmed: BTreeMap<Key, Finding>,
    pub(super) passes: u64,
    pub(super) passed_at: Option<Timestamp>,
    pub(super) passed_rows: u64,
    pub(super) error: Option<String>,
}

impl Stored {
    /// Begins anew: the leadership changed.
    pub(super) fn reset(&mut self) {
        *self = Self {
            tickets: self.tickets,
            ..Self::default()
        };
    }

    /// Begins a pass now.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        self.next_pass = now;
        if !self.in_pass {
            self.due = Some(now);
        }
    }

    /// Whether differences wait to be confirmed. A page with confirmed ones is read again and again.
    pub(super) fn is_unsure(&self) -> bool {
        self.streaks.0.keys().any(|key| !self.confirmed.contains_key(key))
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match &self.asked {
            Some(asked) => Some(asked.at + ANSWER_TIMEOUT),
            None => self.due,
        }
    }

    /// Asks for the next page that is due.
    pub(super) fn tick(&mut self, now: Timestamp) -> Option<Command> {
        if self
            .asked
            .take_if(|asked| asked.at + ANSWER_TIMEOUT <= now)
            .is_some()
        {
            self.error = Some(format!("no answer within {ANSWER_TIMEOUT:?}"));
            self.due = Some(now);
        }
        if self.asked.is_some() || self.due.is_some_and(|due| due > now) {
            return None;
        }
        let of_pass = self.in_pass || self.next_pass <= now;
        // A pass comes to its end however many pages are read again.
        let turn = !(of_pass && std::mem::take(&mut self.read_again));
        let again = self.again.front().filter(|(at, _)| turn && *at <= now).cloned();
        let (after, of_pass) = match again {
            Some((_, after)) => {
                self.again.pop_front();
                self.read_again = true;
                (after, false)
            }
            None if of_pass => {
                if !self.in_pass {
                    self.in_pass = true;
                    self.rows = 0;
                    self.cursor = None;
                }
                (self.cursor.clone(), true)
            }
            None => {
                self.rest(now);
                return None;
            }
        };
        self.tickets += 1;
        self.asked = Some(Asked {
            ticket: self.tickets,
            after: after.clone(),
            at: now,
            of_pass,
        });
        Some(Command::ReadStored(Part {
            ticket: self.tickets,
            after,
            limit: PAGE_ROWS,
        }))
    }

    /// Waits for whatever is due next.
    fn rest(&mut self, earliest: Timestamp) {
        let next = if self.in_pass { earliest } else { self.next_pass };
        let again = self.again.front().map(|(at, _)| *at);
        self.due = Some(again.map_or(next, |again| again.min(next)).max(earliest));
    }

    /// Takes a page in.
    pub(super) fn read(
        &mut self,
        now: Timestamp,
        cluster: &ClusterState,
        config: &Config,
        ticket: u64,
        outcome: Result<Page, String>,
    ) {
        let Some(asked) = self.asked.take_if(|asked| asked.ticket == ticket) else {
            return;
        };
        let took = now.since(asked.at);
        let page = match outcome {
            Ok(page) => page,
            Err(reason) => {
                // What was confirmed stays; nothing is known of the rest until it answers again.
                self.error = Some(reason);
                self.in_pass = false;
                self.next_pass = now + config.check_interval;
                self.again.clear();
                self.rest(self.next_pass);
                return;
            }
        };
        self.error = None;
        let differs = self.compare(now, cluster, config, asked.after.as_ref(), &page);
        let waits = self.again.iter().any(|(_, after)| *after == asked.after);
        if differs && !waits && self.again.len() < MAX_AGAIN {
            self.again
                .push_back((now + config.check_interval, asked.after.clone()));
        }
        if asked.of_pass {
            self.rows += page.streams.len().max(page.assignments.len()) as u64;
            self.cursor = page.end;
            if self.cursor.is_none() {
                self.in_pass = false;
                self.passes += 1;
                self.passed_at = Some(now);
                self.passed_rows = self.rows;
                self.next_pass = now + config.database_interval;
            }
        }
        self.rest(now + REST.max(took * REST_SHARE));
    }

    /// Whether the page differs from memory.
    fn compare(
        &mut self,
        now: Timestamp,
        cluster: &ClusterState,
        config: &Config,
        after: Option<&StreamId>,
        page: &Page,
    ) -> bool {
        let mut found = Found::default();
        compare(cluster, &config.policies, after, page, &mut found);
        let differs = !found.all.is_empty();
        let of_page = |key: &Key| match &key.stream {
            Some(stream) => {
                after.is_none_or(|after| stream > after) && page.end.as_ref().is_none_or(|end| stream <= end)
            }
            // Rows without a sensible name belong to no part of the order; each page tells its own.
            None => true,
        };
        let mut confirmed = self.streaks.count(found, of_page, config.confirmations);
        for (key, finding) in &mut confirmed {
            let before = self.confirmed.get(key);
            finding.since = before.map_or(now, |before| before.since);
        }
        self.confirmed.retain(|key, _| !of_page(key));
        self.confirmed.append(&mut confirmed);
        differs
    }
}

/// Compares one page with what memory holds of the same names.
fn compare(
    cluster: &ClusterState,
    policies: &Policies,
    after: Option<&StreamId>,
    page: &Page,
    found: &mut Found,
) {
    let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
    let end = page.end.clone();
    let to = end.map_or(Bound::Unbounded, Bound::Included);
    let memory: BTreeMap<&StreamId, &StreamRecord> = cluster
        .streams
        .range((from, to))
        .map(|(name, record)| (name, &**record))
        .collect();
    let specs: BTreeMap<&StreamId, &StreamSpec> =
        page.streams.iter().map(|spec| (&spec.name, spec)).collect();
    let rows: BTreeMap<&StreamId, &Assignment> =
        page.assignments.iter().map(|(name, row)| (name, row)).collect();
    let names: BTreeSet<&StreamId> = memory
        .keys()
        .chain(specs.keys())
        .chain(rows.keys())
        .copied()
        .collect();
    // A row that makes no sense is told as such, and not as missing.
    let is_bad = |name: &StreamId| {
        page.bad_rows
            .iter()
            .any(|row| row.contains(&format!("row {name},")))
    };
    for name in names {
        let (record, spec, row) = (memory.get(name), specs.get(name), rows.get(name));
        if !page.bad_rows.is_empty() && is_bad(name) {
            continue;
        }
        specification(policies, name, record.copied(), spec.copied(), found);
        assignment(cluster, policies, name, record.copied(), row.copied(), found);
    }
    for (index, detail) in page.bad_rows.iter().enumerate() {
        let key = Key {
            stream: None,
            kind: FindingKind::SpecMismatch,
            worker: None,
            mark: (i64::try_from(index).unwrap_or(i64::MAX), 0),
        };
        found.add(
            policies,
            key,
            format!("a stored row makes no sense: {detail}"),
            None,
        );
    }
}

fn specification(
    policies: &Policies,
    name: &StreamId,
    record: Option<&StreamRecord>,
    stored: Option<&StreamSpec>,
    found: &mut Found,
) {
    let detail = match (record, stored) {
        (Some(record), Some(stored)) => {
            let fields = differing(&record.spec, stored);
            if fields.is_empty() {
                return;
            }
            format!("is stored with another {}", fields.join(", "))
        }
        // A deleted stream is remembered, switched off, until its last copy has ended.
        (Some(record), None) if record.spec.enabled || matches!(record.slot, Slot::Vacant) => {
            "is declared, and not stored".to_owned()
        }
        (None, Some(_)) => "is stored, and the leader does not know it".to_owned(),
        (Some(_) | None, None) => return,
    };
    let key = Key::of_stream(FindingKind::SpecMismatch, name.clone(), (0, 0));
    found.add(policies, key, detail, Some(Repair::Reread));
}

/// Names of the fields that differ; never their values, which may be secret.
fn differing(memory: &StreamSpec, stored: &StreamSpec) -> Vec<&'static str> {
    let fields = [
        ("source", memory.source != stored.source),
        ("enabled", memory.enabled != stored.enabled),
        ("weight", memory.weight.to_bits() != stored.weight.to_bits()),
        ("priority", memory.priority != stored.priority),
        ("ownership", memory.ownership != stored.ownership),
        ("labels", memory.labels != stored.labels),
        ("requires", memory.requires != stored.requires),
        ("prefers", memory.prefers != stored.prefers),
        ("spread", memory.spread != stored.spread),
        ("pin", memory.pin != stored.pin),
        ("on_owner_lost", memory.on_owner_lost != stored.on_owner_lost),
        ("lost_after", memory.lost_after != stored.lost_after),
    ];
    let named = fields.iter().filter(|(_, differs)| *differs);
    named.map(|(name, _)| *name).collect()
}

fn assignment(
    cluster: &ClusterState,
    policies: &Policies,
    name: &StreamId,
    record: Option<&StreamRecord>,
    stored: Option<&Assignment>,
    found: &mut Found,
) {
    let slot = record.map(|record| &record.slot);
    let held = match slot {
        // What is being stored, or ended, is under way.
        Some(Slot::Committing { .. } | Slot::Releasing { .. } | Slot::Handing { .. }) => return,
        Some(Slot::Orphaned { last }) => {
            if stored.is_none_or(|stored| stored.epoch <= last.epoch) {
                return;
            }
            Some(last)
        }
        Some(Slot::Held(held)) => Some(held),
        Some(Slot::Vacant) | None => None,
    };
    if held == stored {
        return;
    }
    let epoch = |assignment: Option<&Assignment>| assignment.map_or(-1, |assignment| assignment.epoch.get());
    let kind = match stored {
        Some(stored) if !cluster.workers.contains_key(&stored.worker) => FindingKind::UnknownWorker,
        _ => FindingKind::StateMismatch,
    };
    let mut key = Key::of_stream(kind, name.clone(), (epoch(stored), epoch(held)));
    let named = if kind == FindingKind::UnknownWorker {
        stored
    } else {
        held
    };
    if let Some(named) = named {
        key = key.on(&named.worker, named.session);
    }
    let detail = format!("is stored {}; the leader says {}", words(stored), words(held));
    let repair = repair(cluster, name, held, stored);
    found.add(policies, key, detail, Some(repair));
}

/// The leader's memory is right where it is not older: it has told the worker. A higher stored epoch is another matter:
/// then everything is read again.
fn repair(
    cluster: &ClusterState,
    name: &StreamId,
    held: Option<&Assignment>,
    stored: Option<&Assignment>,
) -> Repair {
    let stored = stored.map_or(Epoch::ZERO, |stored| stored.epoch);
    match held {
        Some(held) if stored <= held.epoch => Repair::Restore {
            stream: name.clone(),
            epoch: held.epoch,
        },
        None if stored.term() <= cluster.leadership.term => Repair::Clear {
            stream: name.clone(),
            epoch: stored,
        },
        Some(_) | None => Repair::Reread,
    }
}

fn words(assignment: Option<&Assignment>) -> String {
    assignment.map_or_else(
        || "without a worker".to_owned(),
        |assignment| {
            format!(
                "on worker {} (session {}) under epoch {}",
                assignment.worker, assignment.session, assignment.epoch
            )
        },
    )
}
