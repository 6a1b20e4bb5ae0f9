//! Which alerts have one cause: they are one incident, and one page.
//!
//! An alert that a known incident explains joins it and pages nobody, unless it is more urgent than what people were told
//! of that incident. Where the cause is over and a consequence stays, the consequence becomes a cause, and a page. An
//! incident without alerts is remembered for a while, so that trouble that comes and goes stays one incident.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{Severity, Term};

use super::topic::{Scene, Topic, is_of_many, rule};
use super::{ActiveAlert, Fingerprint, IncidentId};
use crate::time::Timestamp;

/// How long an incident without alerts is remembered.
const LINGERS_FOR: Duration = Duration::from_secs(60);
/// Most incidents without alerts that are remembered.
const MAX_LINGERING: usize = 10_000;
/// How long an alert that nothing explains any more may go on to be over as well, before people are told.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long after its last alert an incident takes others whose relation is only likely: the same host of a source, or
/// a cause that is known later than its consequence.
const JOINS_WITHIN: Duration = Duration::from_secs(600);

/// The most urgent and most explaining alert comes first.
type Place = (Reverse<Severity>, u8, Fingerprint);

#[derive(Debug)]
struct Incident {
    topics: BTreeSet<Topic>,
    /// Alerts that people were told of and that fire; the first one explains the others.
    causes: BTreeSet<Place>,
    /// Alerts that are explained and fire, and since when nothing explains them any more.
    explained: BTreeMap<Place, Option<Timestamp>>,
    /// The most urgent that people were told.
    told: Option<Severity>,
    /// When an alert joined last.
    joined: Timestamp,
    /// Since when none of its alerts fires.
    quiet_since: Option<Timestamp>,
}

impl Incident {
    const fn new(now: Timestamp) -> Self {
        Self {
            topics: BTreeSet::new(),
            causes: BTreeSet::new(),
            explained: BTreeMap::new(),
            told: None,
            joined: now,
            quiet_since: None,
        }
    }

    fn head(&self) -> Option<String> {
        self.causes.first().map(|(.., key)| key.to_string())
    }

    fn is_quiet(&self) -> bool {
        self.causes.is_empty() && self.explained.is_empty()
    }

    /// Takes an alert in, as a cause or as one that is explained.
    fn put(&mut self, key: Fingerprint, alert: &ActiveAlert) {
        self.quiet_since = None;
        if alert.explained_by.is_some() {
            self.explained.insert(place(key, alert), None);
        } else {
            self.causes.insert(place(key, alert));
            self.told = self.told.max(Some(alert.severity));
        }
    }
}

fn place(key: Fingerprint, alert: &ActiveAlert) -> Place {
    let rank = rule(alert).map_or(u8::MAX, super::Rule::rank);
    (Reverse(alert.severity), rank, key)
}

/// What correlating has changed.
#[derive(Debug, Default)]
pub(super) struct Correlated {
    /// Alerts whose incident or explanation is another one now.
    pub(super) changed: BTreeSet<Fingerprint>,
    /// When time alone changes something.
    pub(super) wake: Option<Timestamp>,
}

/// The incidents that go on, and those that were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    known: BTreeMap<IncidentId, Incident>,
    by_topic: BTreeMap<Topic, IncidentId>,
    newest: Option<IncidentId>,
    /// The alerts are others than those that were correlated last.
    stale: bool,
}

impl Incidents {
    /// The last incident that anybody has named.
    pub(super) fn named(&mut self, newest: Option<IncidentId>) {
        self.newest = self.newest.max(newest);
    }

    /// Alerts from before go on.
    pub(super) const fn restored(&mut self) {
        self.stale = true;
    }

    /// Whether nothing fires.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.known.values().all(Incident::is_quiet)
    }

    /// Gives every alert its incident, and says which alerts are seen in another way now.
    pub(super) fn correlate(
        &mut self,
        now: Timestamp,
        term: Term,
        scene: &Scene<'_>,
        active: &mut BTreeMap<Fingerprint, ActiveAlert>,
    ) -> Correlated {
        let mut correlated = Correlated::default();
        if std::mem::take(&mut self.stale) {
            self.begin_anew(now, scene, active);
        }
        self.end(now, active);
        let mut fresh: Vec<Place> = active
            .iter()
            .filter(|(_, alert)| alert.incident.is_none())
            .map(|(key, alert)| place(*key, alert))
            .collect();
        // Causes before what they explain.
        fresh.sort_by_key(|(severity, rank, key)| (*rank, *severity, *key));
        let mut late = None;
        for (.., key) in fresh {
            if let Some(alert) = active.get(&key) {
                let late = late.get_or_insert_with(|| self.unexplained(now, scene, active));
                let (incident, overtaken) = self.find(now, term, scene, alert, late);
                self.join(now, scene, (key, incident), active);
                correlated.changed.insert(key);
                if overtaken {
                    self.overtake(scene, (key, incident), active, &mut correlated.changed);
                }
            }
        }
        self.review(now, scene, active, &mut correlated);
        correlated
    }

    fn begin_anew(
        &mut self,
        now: Timestamp,
        scene: &Scene<'_>,
        active: &mut BTreeMap<Fingerprint, ActiveAlert>,
    ) {
        self.known.clear();
        self.by_topic.clear();
        let keys: Vec<(Fingerprint, IncidentId)> = active
            .iter()
            .filter_map(|(key, alert)| Some((*key, alert.incident?)))
            .collect();
        for (key, id) in keys {
            self.named(Some(id));
            if let Some(alert) = active.get(&key) {
                self.known
                    .entry(id)
                    .or_insert_with(|| Incident::new(now))
                    .put(key, alert);
                self.learn(id, scene, alert);
            }
        }
    }

    /// What this alert is about belongs to this incident.
    fn learn(&mut self, id: IncidentId, scene: &Scene<'_>, alert: &ActiveAlert) {
        let about = rule(alert).map(Topic::Rule);
        for topic in std::iter::once(scene.own(alert)).chain(about) {
            if let Some(incident) = self.known.get_mut(&id) {
                incident.topics.insert(topic.clone());
            }
            self.by_topic.insert(topic, id);
        }
    }

    /// Takes out what is over, and forgets incidents that have been quiet for long.
    fn end(&mut self, now: Timestamp, active: &BTreeMap<Fingerprint, ActiveAlert>) {
        let mut quiet = Vec::new();
        for (id, incident) in &mut self.known {
            let fires = |place: &Place| {
                let alert = active.get(&place.2);
                alert.is_some_and(|alert| alert.incident == Some(*id))
            };
            incident.causes.retain(fires);
            incident.explained.retain(|place, _| fires(place));
            if incident.is_quiet() {
                quiet.push((*incident.quiet_since.get_or_insert(now), *id));
            }
        }
        quiet.sort();
        let surplus = quiet.len().saturating_sub(MAX_LINGERING);
        for (index, (since, id)) in quiet.into_iter().enumerate() {
            if index >= surplus && now.since(since) < LINGERS_FOR {
                continue;
            }
            for topic in self.known.remove(&id).into_iter().flat_map(|gone| gone.topics) {
                if self.by_topic.get(&topic) == Some(&id) {
                    self.by_topic.remove(&topic);
                }
            }
        }
    }

    /// What would explain the causes of young incidents, or what is left of them: a cause that comes late, or again, takes
    /// them over.
    fn unexplained(
        &self,
        now: Timestamp,
        scene: &Scene<'_>,
        active: &BTreeMap<Fingerprint, ActiveAlert>,
    ) -> BTreeMap<Topic, IncidentId> {
        let mut wanted = BTreeMap::new();
        for (id, incident) in &self.known {
            if now.since(incident.joined) >= JOINS_WITHIN {
                continue;
            }
            let left = incident.explained.keys().filter(|_| incident.causes.is_empty());
            let first = incident.causes.iter().chain(left);
            let alerts = first.filter_map(|(.., key)| active.get(key));
            for topic in alerts.flat_map(|alert| scene.claims(alert)) {
                wanted.entry(topic).or_insert(*id);
            }
        }
        wanted
    }

    /// The incident of an alert, and whether the alert explains what that incident was thought to be.
    fn find(
        &mut self,
        now: Timestamp,
        term: Term,
        scene: &Scene<'_>,
        alert: &ActiveAlert,
        late: &BTreeMap<Topic, IncidentId>,
    ) -> (IncidentId, bool) {
        for topic in scene.claims(alert) {
            let found = self.by_topic.get(&topic);
            let Some((id, incident)) = found.and_then(|id| Some((*id, self.known.get(id)?))) else {
                continue;
            };
            let only_likely = matches!(topic, Topic::Source(_));
            if !only_likely || now.since(incident.joined) < JOINS_WITHIN {
                return (id, false);
            }
        }
        if let Some(id) = late
            .get(&scene.own(alert))
            .filter(|id| self.known.contains_key(id))
        {
            return (*id, true);
        }
        let id = IncidentId::after(self.newest, term);
        self.newest = Some(id);
        self.known.insert(id, Incident::new(now));
        (id, false)
    }

    fn join(
        &mut self,
        now: Timestamp,
        scene: &Scene<'_>,
        (key, id): (Fingerprint, IncidentId),
        active: &mut BTreeMap<Fingerprint, ActiveAlert>,
    ) {
        let (Some(alert), Some(incident)) = (active.get_mut(&key), self.known.get_mut(&id)) else {
            return;
        };
        let told = incident.told.is_some_and(|told| alert.severity <= told);
        alert.incident = Some(id);
        alert.explained_by = incident.head().filter(|_| told);
        incident.joined = now;
        incident.put(key, alert);
        self.learn(id, scene, alert);
    }

    /// A cause is known later than what it explains: it comes first from now on.
    fn overtake(
        &mut self,
        scene: &Scene<'_>,
        (key, id): (Fingerprint, IncidentId),
        active: &mut BTreeMap<Fingerprint, ActiveAlert>,
        changed: &mut BTreeSet<Fingerprint>,
    ) {
        let Some(incident) = self.known.get_mut(&id) else {
            return;
        };
        let Some(cause) = active.get_mut(&key) else {
            return;
        };
        let (topic, severity) = (scene.own(cause), cause.severity);
        if cause.explained_by.take().is_some() {
            incident.explained.remove(&place(key, cause));
            incident.put(key, cause);
        }
        let head = key.to_string();
        for place in incident.causes.clone() {
            let Some(alert) = active.get_mut(&place.2).filter(|_| place.2 != key) else {
                continue;
            };
            if alert.severity <= severity && scene.claims(alert).contains(&topic) {
                alert.explained_by = Some(head.clone());
                incident.causes.remove(&place);
                incident.explained.insert(place, None);
                changed.insert(place.2);
            }
        }
    }

    /// Looks whether what is explained still is.
    fn review(
        &mut self,
        now: Timestamp,
        scene: &Scene<'_>,
        active: &mut BTreeMap<Fingerprint, ActiveAlert>,
        correlated: &mut Correlated,
    ) {
        for incident in self.known.values_mut() {
            let places: Vec<Place> = incident.explained.keys().copied().collect();
            for place in places {
                let Some(alert) = active.get_mut(&place.2) else {
                    continue;
                };
                // Its own topic comes first, and explains nothing.
                let others = || scene.claims(alert).into_iter().skip(1);
                let explained = || others().any(|topic| incident.topics.contains(&topic));
                let head = incident.head().filter(|_| !is_of_many(alert) || explained());
                if let Some(head) = head {
                    incident.explained.insert(place, None);
                    let by = alert.explained_by.as_ref();
                    let fires = |by: &String| incident.causes.iter().any(|(.., key)| key.to_string() == *by);
                    if !by.is_some_and(fires) {
                        alert.explained_by = Some(head);
                        correlated.changed.insert(place.2);
                    }
                    continue;
                }
                let since = incident.explained.get(&place).copied().flatten().unwrap_or(now);
                if now.since(since) < PATIENCE {
                    incident.explained.insert(place, Some(since));
                    let wake = since + PATIENCE;
                    correlated.wake = Some(correlated.wake.map_or(wake, |other| other.min(wake)));
                    continue;
                }
                alert.explained_by = None;
                incident.explained.remove(&place);
                incident.put(place.2, alert);
                correlated.changed.insert(place.2);
            }
        }
    }
}
