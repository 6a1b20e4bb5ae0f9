//! Rules that contradict each other, or the fleet as it is: found when they are written, on the state that everybody reads,
//! so that whoever declares them hears of it at once. A plan never depends on it: it leaves out what cannot be placed and
//! says why.
//!
//! What no fleet can keep is refused. What this fleet cannot keep today is no error of the declaration: workers come,
//! go and change their labels, often after the streams that are meant for them were declared. That is a warning.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use streamkeeper_protocol::{Ownership, StreamId, WorkerId};

use crate::cluster::{ClusterState, WorkerRecord};
use crate::request::ApplyStreams;
use crate::spec::StreamSpec;

/// Most contradictions that one change names.
pub const MAX_CONTRADICTIONS: usize = 100;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Degree {
    /// No fleet can keep it.
    Impossible,
    /// Not with the worker that it names, as that worker declares itself.
    Unfit,
    /// Not today.
    Today,
}

/// A rule that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The stream that has the rule.
    pub stream: StreamId,
    /// The field of its declaration.
    pub field: &'static str,
    /// The value, what is wrong with it, and what to do.
    pub detail: String,
    /// How bad it is.
    pub degree: Degree,
}

/// Streams of one spread key.
#[derive(Debug, Default)]
struct Group {
    streams: usize,
    /// Two streams at most for each worker that any is pinned to.
    pinned: BTreeMap<WorkerId, Vec<StreamId>>,
    told: bool,
}

/// What is wrong with the rules that a change declares or switches on, the worst first.
#[must_use]
pub fn contradictions(cluster: &ClusterState, change: &ApplyStreams) -> Vec<Contradiction> {
    let written = written(cluster, change);
    let judged: Vec<&StreamSpec> = written
        .values()
        .map(|spec| &**spec)
        .filter(|spec| spec.enabled && (spec.pin.is_some() || spec.spread.is_some()))
        .collect();
    let mut groups = groups(cluster, change, &written, &judged);
    let takers = cluster.workers.values().filter(|worker| worker.takes_streams());
    let takers = takers.count();
    let mut found = Vec::new();
    for spec in judged {
        let mut tell = |field, detail, degree| {
            found.push(Contradiction {
                stream: spec.name.clone(),
                field,
                detail,
                degree,
            });
        };
        if let Some(group) = spec.spread.as_deref().and_then(|key| groups.get_mut(key)) {
            if let Some(detail) = clash(spec, group) {
                tell("pin", detail, Degree::Impossible);
            }
            // Once for the whole group.
            if group.streams > takers && !std::mem::replace(&mut group.told, true) {
                tell("spread", too_wide(spec, group.streams, takers), Degree::Today);
            }
        }
        if let Some((detail, degree)) = spec.pin.as_ref().and_then(|pin| unfit(cluster, spec, pin)) {
            tell("pin", detail, degree);
        }
    }
    // Stable: in the order of names otherwise.
    found.sort_by_key(|contradiction| contradiction.degree);
    found.truncate(MAX_CONTRADICTIONS);
    found
}

/// The specs that a change writes, as they will be.
fn written<'a>(
    cluster: &'a ClusterState,
    change: &'a ApplyStreams,
) -> BTreeMap<&'a StreamId, Cow<'a, StreamSpec>> {
    let declared = change.streams.iter();
    let mut written: BTreeMap<&StreamId, Cow<'_, StreamSpec>> =
        declared.map(|spec| (&spec.name, Cow::Borrowed(spec))).collect();
    let present = |name: &StreamId| {
        let record = cluster.streams.get(name);
        record.map(|record| Cow::Borrowed(&*record.spec))
    };
    for (name, enabled) in &change.enable {
        if let Some(mut spec) = written.remove(name).or_else(|| present(name)) {
            spec.to_mut().enabled = *enabled;
            written.insert(name, spec);
        }
    }
    for (name, pin) in &change.pin {
        if let Some(mut spec) = written.remove(name).or_else(|| present(name)) {
            spec.to_mut().pin.clone_from(pin);
            written.insert(name, spec);
        }
    }
    written
}

/// All streams of the spread keys that are judged, as they will be.
fn groups(
    cluster: &ClusterState,
    change: &ApplyStreams,
    written: &BTreeMap<&StreamId, Cow<'_, StreamSpec>>,
    judged: &[&StreamSpec],
) -> BTreeMap<String, Group> {
    let keys = judged.iter().filter_map(|spec| spec.spread.as_deref());
    let mut groups: BTreeMap<String, Group> = keys.map(|key| (key.to_owned(), Group::default())).collect();
    if groups.is_empty() {
        return groups;
    }
    let doomed: BTreeSet<&StreamId> = change.delete.iter().collect();
    let stays = |name: &StreamId| !change.prune && !written.contains_key(name) && !doomed.contains(name);
    let others = cluster.streams.iter().filter(|(name, _)| stays(name));
    let others = others.map(|(_, record)| &*record.spec);
    for spec in others
        .chain(written.values().map(|spec| &**spec))
        .filter(|spec| spec.enabled)
    {
        let Some(group) = spec.spread.as_deref().and_then(|key| groups.get_mut(key)) else {
            continue;
        };
        group.streams += 1;
        if let Some(pin) = &spec.pin {
            let pinned = group.pinned.entry(pin.clone()).or_default();
            if pinned.len() < 2 {
                pinned.push(spec.name.clone());
            }
        }
    }
    groups
}

/// Two streams that must not share a worker are pinned to the same one.
fn clash(spec: &StreamSpec, group: &Group) -> Option<String> {
    let (key, pin) = (spec.spread.as_deref()?, spec.pin.as_ref()?);
    let other = group.pinned.get(pin)?.iter().find(|other| **other != spec.name)?;
    Some(format!(
        "is {:?}, and stream {other} with the same spread key {key:?} is pinned there as well, though two of one key are never \
         on one worker; pin one of them to another worker, or give it another spread key",
        pin.as_str()
    ))
}

fn too_wide(spec: &StreamSpec, streams: usize, takers: usize) -> String {
    let key = spec.spread.as_deref().unwrap_or_default();
    format!(
        "is {key:?}, which {streams} streams have, each on a worker of its own, and {takers} workers take streams at present: \
         {} of them wait; start more workers, or use more keys",
        streams - takers
    )
}

/// Why a stream cannot run on the worker that it is pinned to.
fn unfit(cluster: &ClusterState, spec: &StreamSpec, pin: &WorkerId) -> Option<(String, Degree)> {
    let Some(worker) = cluster.workers.get(pin) else {
        let detail = format!(
            "is {:?}, and no such worker is known: the stream waits until it joins; `streamkeeper workers list` lists the workers",
            pin.as_str()
        );
        return Some((detail, Degree::Unfit));
    };
    let (what, advice, degree) = lack(spec, worker)?;
    let detail = format!(
        "is {:?}, a worker that {what}: the stream cannot run there; {advice}",
        pin.as_str()
    );
    Some((detail, degree))
}

/// What a worker lacks for a stream that wants it alone, and what to do.
fn lack(spec: &StreamSpec, worker: &WorkerRecord) -> Option<(String, String, Degree)> {
    let elsewhere = "or pin it to another worker";
    let has = |key: &str, value: &str| worker.labels.get(key).is_some_and(|has| has == value);
    let label = spec.requires.iter().find(|(key, value)| !has(key, value));
    let capacity = &worker.capacity;
    Some(if !worker.heard {
        let advice = format!("wait until it is, {elsewhere}");
        ("was not heard yet".to_owned(), advice, Degree::Today)
    } else if let Some((key, value)) = label {
        (
            format!("lacks the label {key}={value} that \"requires\" names"),
            format!("start the worker with it, {elsewhere}"),
            Degree::Unfit,
        )
    } else if !worker.may_run(spec.ownership == Ownership::Exclusive) {
        (
            "does not guard exclusive streams".to_owned(),
            format!("start the worker with a guard, {elsewhere}"),
            Degree::Unfit,
        )
    } else if capacity.max_streams == 0 {
        (
            "takes no stream at all (its max_streams is 0)".to_owned(),
            format!("raise it, {elsewhere}"),
            Degree::Unfit,
        )
    } else if capacity.weight < spec.weight {
        (
            format!(
                "carries a weight of {} at most, and the stream's is {}",
                capacity.weight, spec.weight
            ),
            format!("raise the worker's capacity, lower the weight, {elsewhere}"),
            Degree::Unfit,
        )
    } else if !worker.takes_streams() {
        (
            "takes no streams at present".to_owned(),
            format!(
                "`streamkeeper workers get {}` tells why; wait, {elsewhere}",
                worker.id
            ),
            Degree::Today,
        )
    } else {
        return None;
    })
}
