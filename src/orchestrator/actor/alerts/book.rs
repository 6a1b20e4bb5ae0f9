//! The alerts of one leadership: what fires, what is to be stored, and what each sink has not taken yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use streamkeeper_core::alert_manager::{ActiveAlert, Adopted, IncidentId, Silence, StoredAlert};
use streamkeeper_core::record::Fence;
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::Term;

use super::lane::Lane;

/// How long a change waits to be stored before sinks are told. Longer only where the database is slow, and then people are
/// to hear of it.
const STORED_WITHIN: Duration = Duration::from_secs(1);

/// Names one row: fingerprint and beginning.
pub(super) type Key = (String, i64);

/// One row.
pub(super) struct Entry {
    pub(super) alert: Arc<StoredAlert>,
    since: Timestamp,
    /// Counts the changes of the row, those that no consumer hears of included.
    pub(super) revision: u64,
    /// Until when sinks wait for the row to be stored.
    pub(super) held_until: Timestamp,
    /// What is stored of who has taken which change: only of that is sure that nobody will tell it again.
    pub(super) stored: BTreeMap<String, u64>,
}

impl Entry {
    fn new(alert: StoredAlert, since: Timestamp) -> Self {
        Self {
            stored: alert.delivered.clone(),
            alert: Arc::new(alert),
            since,
            revision: 0,
            held_until: Timestamp::ZERO,
        }
    }
}

/// What a sink is to take next.
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// Something, at this moment: it is being stored.
    At(Timestamp),
    /// This change.
    Take(Key, Arc<StoredAlert>),
}

/// What a takeover read.
struct Found {
    fence: Fence,
    rows: Vec<(StoredAlert, Timestamp)>,
    silences: Vec<Silence>,
}

/// Everything.
#[derive(Default)]
pub(super) struct Book {
    /// The right to write; none before the first leadership.
    pub(super) fence: Option<Fence>,
    found: Option<Found>,
    pub(super) rows: BTreeMap<Key, Entry>,
    /// The beginning of what fires, by fingerprint.
    pub(super) firing: BTreeMap<String, i64>,
    pub(super) dirty: BTreeSet<Key>,
    /// The last write failed: nobody waits for the next one.
    pub(super) fails: bool,
    /// It is ours to tell what fires.
    pub(super) leads: bool,
    newest_incident: Option<IncidentId>,
    /// What people want to hear nothing of, by name.
    pub(super) silences: BTreeMap<String, Arc<Silence>>,
    pub(super) lanes: Vec<Lane>,
}

impl Book {
    /// Nothing, for these sinks; of each, whether it pages people.
    pub(super) fn new(sinks: impl Iterator<Item = (&'static str, bool)>) -> Self {
        Self {
            lanes: sinks.map(|(name, pages)| Lane::new(name, pages)).collect(),
            ..Self::default()
        }
    }

    /// What was told under which term, for a manager that begins anew.
    pub(super) fn term(&self) -> Option<Term> {
        self.fence.map(|fence| fence.term)
    }

    /// Whether a takeover has read everything, and the alert manager has not begun yet.
    pub(super) const fn is_about_to_lead(&self) -> bool {
        self.found.is_some()
    }

    pub(super) const fn fence(&self) -> Option<Fence> {
        self.fence
    }

    /// What fires, sorted by fingerprint.
    pub(super) fn firing(&self) -> impl Iterator<Item = (&Arc<StoredAlert>, Timestamp)> {
        let rows = self
            .firing
            .iter()
            .filter_map(|(name, began)| self.rows.get(&(name.clone(), *began)));
        rows.map(|entry| (&entry.alert, entry.since))
    }

    pub(super) fn firing_keys(&self) -> impl Iterator<Item = Key> {
        self.firing.iter().map(|(name, began)| (name.clone(), *began))
    }

    pub(super) fn alert(&self, key: &Key) -> Option<&Arc<StoredAlert>> {
        self.rows.get(key).map(|entry| &entry.alert)
    }

    /// Keeps what a takeover read until the alert manager begins that leadership.
    pub(super) fn found(
        &mut self,
        fence: Fence,
        rows: Vec<(StoredAlert, Timestamp)>,
        silences: Vec<Silence>,
    ) {
        self.found = Some(Found {
            fence,
            rows,
            silences,
        });
    }

    /// Begins a leadership. Afterwards exactly `alerts` fire. False when nothing was read for this term.
    pub(super) fn adopt(&mut self, adopted: Adopted, now: Timestamp, wall_ms: i64) -> bool {
        let Adopted { term, own, alerts } = adopted;
        let Some(found) = self.found.take_if(|found| found.fence.term == term) else {
            return false;
        };
        self.fence = Some(found.fence);
        self.fails = false;
        self.leads = true;
        // They are stored before they are in force, so what is stored is right.
        let silences = found.silences.into_iter();
        self.silences = silences
            .map(|silence| (silence.id.clone(), Arc::new(silence)))
            .collect();
        if own {
            // Perhaps not stored yet.
            self.dirty = self.rows.keys().cloned().collect();
            self.meet(found.rows, wall_ms);
        } else {
            self.take_over(found.rows);
        }
        let known: BTreeSet<&String> = alerts.iter().map(|alert| &alert.fingerprint).collect();
        let over = self.firing.keys().filter(|name| !known.contains(name));
        for name in over.cloned().collect::<Vec<_>>() {
            self.resolve(&name, now, wall_ms);
        }
        for alert in alerts {
            if !self.firing.contains_key(&alert.fingerprint) {
                self.fire(alert, now, wall_ms);
            }
        }
        self.judge(wall_ms);
        // What the last leadership could not tell any more.
        for (key, entry) in &self.rows {
            for lane in &mut self.lanes {
                if lane.lacks(&entry.alert) && !lane.waits(key) {
                    lane.put(key.clone());
                }
            }
        }
        true
    }

    fn take_over(&mut self, found: Vec<(StoredAlert, Timestamp)>) {
        self.rows.clear();
        self.firing.clear();
        self.dirty.clear();
        self.lanes.iter_mut().for_each(Lane::clear);
        for (alert, since) in found {
            let key = (alert.fingerprint.clone(), alert.began_ms);
            if alert.resolved_ms.is_none() {
                self.firing.insert(key.0.clone(), key.1);
            }
            self.rows.insert(key, Entry::new(alert, since));
        }
    }

    /// Takes in what is stored as firing and is unknown here: it is about to end. Either it ended before the database went
    /// back to an older copy, or a predecessor that had stood still took that copy for its own time and told it. One that
    /// fires under another beginning ends without a word.
    fn meet(&mut self, found: Vec<(StoredAlert, Timestamp)>, wall_ms: i64) {
        for (mut alert, since) in found {
            let key = (alert.fingerprint.clone(), alert.began_ms);
            if alert.resolved_ms.is_some() || self.rows.contains_key(&key) {
                continue;
            }
            if self.firing.contains_key(&key.0) {
                alert.changed_ms = wall_ms.max(key.1);
                alert.resolved_ms = Some(alert.changed_ms);
                alert
                    .delivered
                    .values_mut()
                    .for_each(|taken| *taken = alert.change);
                alert.pending = false;
                self.dirty.insert(key.clone());
            } else {
                self.firing.insert(key.0.clone(), key.1);
            }
            self.rows.insert(key, Entry::new(alert, since));
        }
    }

    /// An alert fires. One that does already only has new words.
    pub(super) fn fire(&mut self, alert: ActiveAlert, now: Timestamp, wall_ms: i64) {
        self.name(alert.incident);
        if let Some(began) = self.firing.get(&alert.fingerprint) {
            let key = (alert.fingerprint, *began);
            self.change(&key, |row| row.annotations = alert.annotations);
            return;
        }
        let mut key = (alert.fingerprint.clone(), wall_ms);
        // A clock that was set back.
        while self.rows.contains_key(&key) {
            key.1 += 1;
        }
        let row = StoredAlert {
            fingerprint: alert.fingerprint,
            rule: alert.rule.to_owned(),
            severity: alert.severity,
            labels: alert.labels,
            context: alert.context,
            annotations: alert.annotations,
            began_ms: key.1,
            changed_ms: key.1,
            resolved_ms: None,
            acknowledged: None,
            suppressed_by: None,
            incident: alert.incident,
            explained_by: alert.explained_by,
            change: 0,
            delivered: self.lanes.iter().map(|lane| (lane.name.to_owned(), 0)).collect(),
            pending: true,
        };
        let entry = Entry::new(row, alert.since);
        self.firing.insert(key.0.clone(), key.1);
        self.rows.insert(key.clone(), entry);
        let silence = self.silence_of(&key, wall_ms);
        self.tell(key, now, wall_ms, |row| row.suppressed_by = silence);
    }

    /// What explains an alert that fires has changed, and everybody is to hear of it.
    pub(super) fn explain(&mut self, alert: ActiveAlert, now: Timestamp, wall_ms: i64) {
        self.name(alert.incident);
        if let Some(began) = self.firing.get(&alert.fingerprint) {
            let key = (alert.fingerprint, *began);
            self.tell(key, now, wall_ms, |row| {
                row.incident = alert.incident;
                row.explained_by = alert.explained_by;
            });
        }
    }

    /// The last incident that was named.
    pub(super) const fn newest_incident(&self) -> Option<IncidentId> {
        self.newest_incident
    }

    fn name(&mut self, incident: Option<IncidentId>) {
        self.newest_incident = self.newest_incident.max(incident);
    }

    /// An alert is over. False when it does not fire.
    pub(super) fn resolve(&mut self, fingerprint: &str, now: Timestamp, wall_ms: i64) -> bool {
        let Some((name, began)) = self.firing.remove_entry(fingerprint) else {
            return false;
        };
        let resolved = wall_ms.max(began);
        self.tell((name, began), now, wall_ms, |row| {
            row.resolved_ms = Some(resolved)
        });
        true
    }

    /// Changes a row so that every sink has to hear of it.
    fn tell(&mut self, key: Key, now: Timestamp, wall_ms: i64, change: impl FnOnce(&mut StoredAlert)) {
        let held_until = if self.fails { now } else { now + STORED_WITHIN };
        self.change(&key, |row| {
            change(row);
            row.change += 1;
            row.changed_ms = wall_ms.max(row.began_ms);
        });
        if let Some(entry) = self.rows.get_mut(&key) {
            entry.held_until = held_until;
        }
        self.line_up(&key);
        self.bound();
    }

    pub(super) fn change(&mut self, key: &Key, change: impl FnOnce(&mut StoredAlert)) {
        let Some(entry) = self.rows.get_mut(key) else {
            return;
        };
        let row = Arc::make_mut(&mut entry.alert);
        change(row);
        row.pending = self.lanes.iter().any(|lane| lane.lacks(row));
        entry.revision += 1;
        self.dirty.insert(key.clone());
    }

    /// What a sink is to take next.
    pub(super) fn next(&self, lane: usize, now: Timestamp) -> Next {
        let waiting = self.lanes.get(lane).and_then(Lane::first);
        let Some((key, entry)) = waiting.and_then(|key| Some((key, self.rows.get(key)?))) else {
            return Next::Nothing;
        };
        if !self.fails && entry.held_until > now {
            return Next::At(entry.held_until);
        }
        Next::Take(key.clone(), Arc::clone(&entry.alert))
    }

    /// A sink has taken this change, or never will.
    pub(super) fn taken(&mut self, lane: usize, key: &Key, change: u64) {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return;
        };
        let name = lane.name;
        let newest = self
            .rows
            .get(key)
            .is_none_or(|entry| entry.alert.change == change);
        if newest {
            lane.remove(key);
        }
        // What is told again is stored already.
        let noted = |entry: &Entry| entry.alert.delivered.get(name) == Some(&change);
        if !self.rows.get(key).is_some_and(noted) {
            self.change(key, |row| {
                row.delivered.insert(name.to_owned(), change);
            });
        }
        self.retire(key);
    }

    /// A sink has not taken it: others first.
    pub(super) fn put_back(&mut self, lane: usize, key: &Key) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.put_back(key);
        }
    }

    pub(super) fn waiting(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, Lane::len)
    }

    /// Nothing is told any more.
    pub(super) fn clear_lanes(&mut self) {
        self.leads = false;
        self.lanes.iter_mut().for_each(Lane::clear);
    }

    /// Forgets a row that is over, stored, and told.
    pub(super) fn retire(&mut self, key: &Key) {
        let over = self
            .rows
            .get(key)
            .is_some_and(|entry| entry.alert.resolved_ms.is_some());
        if over && !self.dirty.contains(key) && !self.lanes.iter().any(|lane| lane.waits(key)) {
            self.rows.remove(key);
        }
    }
}
