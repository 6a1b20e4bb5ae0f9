//! The rules: what holds, and what people are told about it.

use std::collections::BTreeMap;

use streamkeeper_protocol::{Phase, WorkerId};

use super::evaluation::{Evaluation, Words};
use super::facts::{Facts, MISSED_FOR};
use super::failing::{Failing, steady_after};
use super::{Config, Rule};
use crate::cluster::{Availability, ClusterState, Slot, WorkerRecord};
use crate::consistency_checker::{Finding, FindingKind};
use crate::directive::{self, SUSPECTED};

/// Most names in one description.
const MAX_NAMES: usize = 5;
/// What to do about a lost worker.
const LOST: &str = "Look at its machine, its network and its log, and start it again.";

/// Workers that are silent, lost or dead.
pub(super) fn workers(evaluation: &mut Evaluation<'_>, cluster: &ClusterState, config: &Config) {
    let mut orphans: BTreeMap<&WorkerId, usize> = BTreeMap::new();
    for name in &cluster.needs_worker {
        let record = cluster.streams.get(name);
        if let Some(Slot::Orphaned { last }) = record.map(|record| &record.slot) {
            *orphans.entry(&last.worker).or_default() += 1;
        }
    }
    for record in cluster.workers.values() {
        let owned = record.assigned.len() + orphans.get(&record.id).copied().unwrap_or_default();
        let label = Some(("worker", record.id.as_str()));
        match record.availability {
            Availability::Warning => {
                let silence = evaluation.now.since(record.last_heard).as_secs();
                evaluation.add(Rule::WorkerSilent, label, || silent(record, owned, silence));
            }
            Availability::Lost => {
                let silence = evaluation.now.since(record.last_heard).as_secs();
                let what = format!("was last heard {silence} s ago");
                evaluation.add(Rule::WorkerLost, label, || lost(record, owned, &what));
            }
            Availability::Dead if is_lost_by_death(evaluation, record, owned, config) => {
                let what = "is proven to be dead";
                evaluation.add(Rule::WorkerLost, label, || lost(record, owned, what));
            }
            // After a takeover everybody counts as alive until the time-out: not heard is not "heard again".
            Availability::Alive if !record.heard && evaluation.is_active(Rule::WorkerLost, label) => {
                let what = "was not heard since this orchestrator took over";
                evaluation.add(Rule::WorkerLost, label, || lost(record, owned, what));
            }
            Availability::Alive | Availability::Dead => {}
        }
    }
}

/// Workers that were lost under a former leadership, and that nothing else is known of.
pub(super) fn missed(evaluation: &mut Evaluation<'_>, facts: &Facts) {
    for (worker, since) in &facts.missed {
        evaluation.wake_at(*since + MISSED_FOR);
        let label = Some(("worker", worker.as_str()));
        if evaluation.is_active(Rule::WorkerLost, label) {
            evaluation.add(Rule::WorkerLost, label, || Words {
                summary: format!("Worker {worker} is lost"),
                description: format!(
                    "Worker {worker} was not heard since this orchestrator took over; it owns no stream."
                ),
                suggestion: LOST,
            });
        }
    }
}

/// A worker that announced its end is missed only while its streams find no other; one that died otherwise is missed
/// until it is back.
fn is_lost_by_death(
    evaluation: &mut Evaluation<'_>,
    record: &WorkerRecord,
    owned: usize,
    config: &Config,
) -> bool {
    let announced = matches!(record.phase, Phase::Draining | Phase::Leaving | Phase::Gone);
    !announced || (owned > 0 && evaluation.lasts(record.since, config.unplaced_after))
}

fn silent(record: &WorkerRecord, owned: usize, silence: u64) -> Words {
    Words {
        summary: format!("Worker {} is late", record.id),
        description: format!(
            "Worker {} (session {}) was last heard {silence} s ago; {} on it.",
            record.id,
            record.session,
            counted(owned, "stream counts", "streams count")
        ),
        suggestion: "Nothing needs to be done unless it lasts: look at the load of its machine and its network.",
    }
}

fn lost(record: &WorkerRecord, owned: usize, what: &str) -> Words {
    Words {
        summary: format!("Worker {} is lost", record.id),
        description: format!(
            "Worker {} (session {}) {what}; {} on it.",
            record.id,
            record.session,
            counted(owned, "stream still counts", "streams still count")
        ),
        suggestion: LOST,
    }
}

/// Streams without a worker: one alert for all.
pub(super) fn streams(evaluation: &mut Evaluation<'_>, cluster: &ClusterState, config: &Config) {
    let mut reasons: BTreeMap<&'static str, (usize, String)> = BTreeMap::new();
    let mut names = Vec::new();
    let mut count = 0;
    for name in &cluster.needs_worker {
        let Some(record) = cluster.streams.get(name) else {
            continue;
        };
        let Some(reason) = record.unplaced else {
            continue;
        };
        if !evaluation.lasts(record.since, config.unplaced_after) {
            continue;
        }
        count += 1;
        let entry = reasons.entry(reason.as_str());
        entry.or_insert_with(|| (0, reason.to_string())).0 += 1;
        if names.len() < MAX_NAMES {
            names.push(name.as_str());
        }
    }
    if count == 0 {
        return;
    }
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(reason, (count, words))| format!("{count} {reason} ({words})"))
        .collect();
    evaluation.add(Rule::StreamsUnplaced, None, || Words {
        summary: format!("{} no worker", counted(count, "stream has", "streams have")),
        description: format!(
            "By reason: {}. Streams: {}.",
            reasons.join("; "),
            listed(&names, count)
        ),
        suggestion: "Start more workers, raise their max_streams, or change what the streams require.",
    });
}

/// A database that does not take what is to be stored.
pub(super) fn database(evaluation: &mut Evaluation<'_>, cluster: &ClusterState, config: &Config) {
    let Some(outage) = &cluster.outage else {
        return;
    };
    if !evaluation.lasts(outage.since, config.database_after) {
        return;
    }
    let seconds = evaluation.now.since(outage.since).as_secs();
    evaluation.add(Rule::DatabaseFailing, None, || Words {
        summary: "The database does not take changes".to_owned(),
        description: format!(
            "Nothing was stored for {seconds} s: {}. What runs goes on, available streams still fail over, and changes of \
             streams are refused.",
            outage.reason
        ),
        suggestion: "Look at GET /health and at the database; it is tried again all the time, and nothing has to be \
                     restarted.",
    });
}

/// Streams that are restarted in vain.
pub(super) fn failing(
    evaluation: &mut Evaluation<'_>,
    failing: &Failing,
    cluster: &ClusterState,
    config: &Config,
) {
    for (stream, trouble) in &failing.streams {
        // It has an alert of its own then, which says more.
        if cluster.quarantined.contains_key(stream) {
            continue;
        }
        let label = Some(("stream", stream.as_str()));
        if let Some((since, _)) = trouble.running {
            evaluation.wake_at(since + steady_after(config.failing_after));
            if !evaluation.is_active(Rule::StreamFailing, label) {
                continue;
            }
        }
        if !evaluation.lasts(trouble.since, config.failing_after) {
            continue;
        }
        evaluation.add(Rule::StreamFailing, label, || {
            let worker = trouble.worker.as_ref().map_or("its worker", |worker| worker.as_str());
            let reason = trouble.reason.as_deref().unwrap_or("no reason was given");
            Words {
                summary: format!("Stream {stream} does not keep running"),
                description: format!(
                    "{worker} started it again {} and it did not run for {} s at a stretch; it last ended with: {reason}",
                    counted(trouble.restarts as usize, "time", "times"),
                    steady_after(config.failing_after).as_secs_f64(),
                ),
                suggestion: "Check that its source answers and that the worker's command is right.",
            }
        });
    }
}

/// Streams whose source is at fault, and workers that are at fault.
pub(super) fn blamed(evaluation: &mut Evaluation<'_>, cluster: &ClusterState) {
    for (stream, quarantine) in &*cluster.quarantined {
        evaluation.add(Rule::StreamQuarantined, Some(("stream", stream.as_str())), || {
            let tried: Vec<&str> = quarantine.tried.iter().map(|worker| worker.as_str()).collect();
            Words {
                summary: format!("Stream {stream} runs nowhere: its source seems to be at fault"),
                description: format!(
                    "It did not keep running on {}. Its worker goes on trying, and other workers are tried again after a \
                     time that grows.",
                    listed(&tried, tried.len())
                ),
                suggestion: "Check that its source answers, and what `streamkeeper streams logs` shows; switch it off if it \
                             is gone.",
            }
        });
    }
    let cordons = cluster.directives.of(directive::Kind::Cordon);
    let suspected = cordons.filter(|(_, standing)| standing.reason.starts_with(SUSPECTED));
    for (worker, standing) in suspected {
        evaluation.add(Rule::WorkerSuspected, Some(("worker", worker)), || Words {
            summary: format!("Worker {worker} is taken out of use: streams fail on it that run elsewhere"),
            description: format!("It was cordoned and is drained; {}.", standing.reason),
            suggestion: "Look at its network, its disk and its log, then let it get streams again with `streamkeeper workers \
                         uncordon`.",
        });
    }
}

/// What other machines said.
pub(super) fn told(evaluation: &mut Evaluation<'_>, facts: &Facts, config: &Config) {
    if let Some((silent, of)) = facts.mass_failure {
        evaluation.add(Rule::MassFailure, None, || Words {
            summary: format!("{silent} of {of} workers fell silent at once"),
            description: format!(
                "{silent} of {of} sessions are silent. So many at once are likelier a fault between this orchestrator \
                 and the workers than dead workers, so nothing is redistributed yet."
            ),
            suggestion: "Check the connection between orchestrator, NATS and workers.",
        });
    }
    for (worker, session) in &facts.emergencies {
        evaluation.add(Rule::WorkerEmergency, Some(("worker", worker.as_str())), || {
            let session = session.map_or_else(String::new, |session| format!(" (session {session})"));
            Words {
                summary: format!("Worker {worker} stays silent"),
                description: format!(
                    "Worker {worker}{session} has been silent beyond the emergency threshold and was not proven dead: \
                     it may still run its streams."
                ),
                suggestion: "Look at its machine; if it is not coming back, end the process there.",
            }
        });
    }
    for (worker, rival) in &facts.rivals {
        evaluation.wake_at(rival.last + config.rival_for);
        evaluation.add(Rule::DuplicateWorker, Some(("worker", worker.as_str())), || {
            Words {
                summary: format!("Two processes use the worker id {worker}"),
                description: format!(
                    "Session {} holds the id {worker}; session {} asked for it too and was refused.",
                    rival.holder, rival.refused
                ),
                suggestion: "Give one of the two processes another worker id, or end it.",
            }
        });
    }
    for (invariant, (last, detail)) in &facts.violations {
        evaluation.wake_at(*last + config.violated_for);
        let label = Some(("invariant", invariant.as_str()));
        evaluation.add(Rule::InvariantViolated, label, || Words {
            summary: format!("The guarantee {} is broken", invariant.as_str()),
            description: format!("This orchestrator has seen that a guarantee is broken, last so: {detail}."),
            suggestion: "This is a bug. Keep the logs, which name stream and epochs, and report it.",
        });
    }
    inconsistent(evaluation, &facts.findings);
    for (worker, detail) in &facts.exhausted {
        evaluation.add(Rule::RecoveryExhausted, Some(("worker", worker.as_str())), || {
            Words {
                summary: format!("Worker {worker} could not be brought in line"),
                description: format!("Worker {worker}: {detail}."),
                suggestion: "Look at the worker's log, and restart it if it does not follow.",
            }
        });
    }
}

/// One alert for each kind of finding.
fn inconsistent(evaluation: &mut Evaluation<'_>, findings: &[Finding]) {
    for kind in FindingKind::ALL {
        let of_kind = || findings.iter().filter(move |finding| finding.kind == kind);
        let count = of_kind().count();
        if count == 0 {
            continue;
        }
        evaluation.add(Rule::Inconsistent, Some(("kind", kind.as_str())), || {
            let names: Vec<String> = of_kind().take(MAX_NAMES).map(name).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Words {
                summary: format!(
                    "{} of kind {}",
                    counted(count, "finding", "findings"),
                    kind.as_str()
                ),
                description: format!("{}: {}.", explain(kind), listed(&names, count)),
                suggestion: suggestion(kind),
            }
        });
    }
}

fn name(finding: &Finding) -> String {
    match (&finding.stream, &finding.worker) {
        (Some(stream), Some(worker)) => format!("{stream} on {worker}"),
        (Some(stream), None) => stream.to_string(),
        (None, Some(worker)) => worker.to_string(),
        (None, None) => finding.detail.clone(),
    }
}

const fn explain(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Orphan => "Should run and get no worker, without a reason",
        FindingKind::Duplicate => "Run on more than one worker",
        FindingKind::Ghost => "Run on a worker that should not run them",
        FindingKind::Missing => "Do not run on the worker that has them",
        FindingKind::EpochMismatch => "Run under another epoch than the assigned one",
        FindingKind::StateMismatch => "Are stored with another assignment than the leader gave",
        FindingKind::SpecMismatch => "Are stored with another spec than the leader knows",
        FindingKind::CounterMismatch => "Are counted in another way than they are listed",
        FindingKind::UnknownWorker => "Are stored on a worker that the leader does not know",
        FindingKind::StaleStatus => "Have not moved for too long",
    }
}

const fn suggestion(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::SpecMismatch => {
            "Somebody changed the database: `streamkeeper consistency repair` takes over what is stored there."
        }
        FindingKind::StateMismatch | FindingKind::UnknownWorker => {
            "Somebody changed the database: it is corrected where that is allowed; `streamkeeper consistency check` shows it."
        }
        _ => "Resyncs are under way; if it lasts, look at the logs of the named workers.",
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Some names of `count`.
fn listed(names: &[&str], count: usize) -> String {
    let rest = count.saturating_sub(names.len());
    let names = names.join(", ");
    if rest == 0 {
        names
    } else {
        format!("{names} and {rest} more")
    }
}
