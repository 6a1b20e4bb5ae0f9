//! The rules' names and the alerts' fingerprints.

use std::fmt;

use streamkeeper_protocol::Severity;

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A worker is lost, or died without saying goodbye.
    WorkerLost,
    /// A worker's heartbeats are late.
    WorkerSilent,
    /// A session has been silent beyond the emergency threshold.
    WorkerEmergency,
    /// Most of the fleet is silent at once; losses are held back.
    MassFailure,
    /// Streams have no worker.
    StreamsUnplaced,
    /// A stream is restarted in vain.
    StreamFailing,
    /// A second process uses a worker's id.
    DuplicateWorker,
    /// Memory and inventories do not agree.
    Inconsistent,
    /// Recovery of a worker used up its attempts.
    RecoveryExhausted,
    /// The database does not take what is to be stored.
    DatabaseFailing,
    /// A guarantee is broken.
    InvariantViolated,
    /// A stream failed on every worker that was tried: its source is at fault.
    StreamQuarantined,
    /// Streams failed on a worker and run elsewhere.
    WorkerSuspected,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 13] = [
        Self::WorkerLost,
        Self::WorkerSilent,
        Self::WorkerEmergency,
        Self::MassFailure,
        Self::StreamsUnplaced,
        Self::StreamFailing,
        Self::DuplicateWorker,
        Self::Inconsistent,
        Self::RecoveryExhausted,
        Self::DatabaseFailing,
        Self::InvariantViolated,
        Self::StreamQuarantined,
        Self::WorkerSuspected,
    ];

    /// Subject token, `alertname` and metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkerLost => "worker_lost",
            Self::WorkerSilent => "worker_silent",
            Self::WorkerEmergency => "worker_emergency",
            Self::MassFailure => "mass_failure",
            Self::StreamsUnplaced => "streams_unplaced",
            Self::StreamFailing => "stream_failing",
            Self::DuplicateWorker => "duplicate_worker",
            Self::Inconsistent => "inconsistent",
            Self::RecoveryExhausted => "recovery_exhausted",
            Self::DatabaseFailing => "database_failing",
            Self::InvariantViolated => "invariant_violated",
            Self::StreamQuarantined => "stream_quarantined",
            Self::WorkerSuspected => "worker_suspected",
        }
    }

    /// The rule of this name: for alerts that were stored.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == name)
    }

    /// How urgent its alerts are.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::WorkerLost
            | Self::WorkerEmergency
            | Self::MassFailure
            | Self::StreamsUnplaced
            | Self::RecoveryExhausted
            | Self::DatabaseFailing
            | Self::InvariantViolated => Severity::Critical,
            Self::WorkerSilent
            | Self::StreamFailing
            | Self::DuplicateWorker
            | Self::Inconsistent
            | Self::StreamQuarantined
            | Self::WorkerSuspected => Severity::Warning,
        }
    }

    /// Where its alerts stand among the causes of one incident: the first one explains the others.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::MassFailure => 0,
            Self::DatabaseFailing => 1,
            Self::WorkerLost => 2,
            Self::WorkerEmergency => 3,
            Self::WorkerSilent => 4,
            Self::DuplicateWorker => 5,
            Self::WorkerSuspected => 6,
            Self::StreamQuarantined => 7,
            Self::StreamFailing => 8,
            Self::Inconsistent => 9,
            Self::RecoveryExhausted => 10,
            Self::StreamsUnplaced => 11,
            Self::InvariantViolated => 12,
        }
    }

    /// Whether its alerts are not raised anew while a mass failure holds: it is one cause, and has its own alert.
    pub(super) const fn is_inhibited_by_mass_failure(self) -> bool {
        matches!(self, Self::WorkerLost | Self::WorkerSilent | Self::Inconsistent)
    }
}

/// Names an alert over all its changes. Text form: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The fingerprint of rule, severity and labels (in the order of their names): FNV-1a with 64 bits over all texts, each
/// followed by the byte 0xff, which no text contains, so that no two lists of texts give the same bytes.
///
/// It has to be the same in every version and on every machine; it need not resist an attacker.
#[must_use]
pub fn fingerprint<'a>(
    rule: &str,
    severity: Severity,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Fingerprint {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    };
    add(rule);
    add(severity.as_str());
    for (name, value) in labels {
        add(name);
        add(value);
    }
    Fingerprint(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_stay_what_they_are() {
        let worker = |name| fingerprint("worker_lost", Severity::Critical, [("worker", name)]);
        assert_eq!(worker("a").to_string(), "b327897167f2f416");
        assert_ne!(worker("a"), worker("b"));
        let split = |labels: [(&'static str, &'static str); 1]| fingerprint("r", Severity::Info, labels);
        assert_ne!(split([("ab", "c")]), split([("a", "bc")]));
        assert_ne!(
            fingerprint("r", Severity::Info, []),
            fingerprint("r", Severity::Warning, [])
        );
    }

    #[test]
    fn rules_are_found_by_name() {
        for rule in Rule::ALL {
            assert_eq!(Rule::named(rule.as_str()), Some(rule));
        }
        assert_eq!(Rule::named("other"), None);
    }
}
