//! Gauges that show the cluster. They are set from one snapshot at a time, so that they agree with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use metrics::gauge;
use streamkeeper_core::cluster::{Availability, ClusterState, Role, StreamState};
use streamkeeper_core::consistency_checker::{Finding, FindingKind, score};
use streamkeeper_protocol::{Performance, WorkerId};

use super::metrics::{
    CONSISTENCY_SCORE, FINDINGS_PRESENT, LEADER, STREAMS, STREAMS_BYTES_PER_SECOND, STREAMS_CPU_CORES,
    STREAMS_MEMORY_BYTES, TERM, WORKER_LOAD_RATIO, WORKER_STREAMS, WORKERS,
};

static GAUGES: Mutex<Gauges> = Mutex::new(Gauges::new());

/// Sets every gauge of the cluster. It walks over all streams: call it per scrape, not per change.
pub fn record_snapshot(cluster: &ClusterState) {
    GAUGES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .record(cluster);
}

/// Sets the gauges of what was found.
pub fn record_findings(findings: &[Finding], streams: usize) {
    for kind in FindingKind::ALL {
        let count = findings.iter().filter(|finding| finding.kind == kind).count();
        gauge!(FINDINGS_PRESENT, "kind" => kind.as_str()).set(number(count));
    }
    gauge!(CONSISTENCY_SCORE).set(score(findings, streams));
}

/// The gauges and whom they name.
#[derive(Debug)]
struct Gauges {
    /// Workers whose gauges are not zero: whoever is missing in a later snapshot is set to zero once, because the
    /// recorder cannot forget a series.
    named: BTreeSet<WorkerId>,
}

impl Gauges {
    const fn new() -> Self {
        Self {
            named: BTreeSet::new(),
        }
    }

    fn record(&mut self, cluster: &ClusterState) {
        let leads = cluster.leadership.role == Role::Leading;
        gauge!(LEADER).set(if leads { 1.0 } else { 0.0 });
        gauge!(TERM).set(cluster.leadership.term.get());
        // One look at each: there may be millions.
        let mut by_state = BTreeMap::from(StreamState::ALL.map(|state| (state, 0_usize)));
        let mut sum = Performance::default();
        for stream in cluster.streams.values() {
            *by_state.entry(stream.state()).or_default() += 1;
            if let Some(measured) = stream.performance.as_deref() {
                sum = sum.plus(*measured);
            }
        }
        for (state, count) in by_state {
            gauge!(STREAMS, "state" => state.as_str()).set(number(count));
        }
        gauge!(STREAMS_CPU_CORES).set(f64::from(sum.cpu_cores.unwrap_or_default()));
        gauge!(STREAMS_MEMORY_BYTES).set(sum.memory_bytes.unwrap_or_default() as f64);
        gauge!(STREAMS_BYTES_PER_SECOND).set(sum.bytes_per_second.unwrap_or_default() as f64);
        for availability in Availability::ALL {
            let count = cluster
                .workers
                .values()
                .filter(|worker| worker.availability == availability)
                .count();
            gauge!(WORKERS, "availability" => availability.as_str()).set(number(count));
        }
        for id in &self.named {
            if !cluster.workers.contains_key(id) {
                set_worker(id, 0, 0.0);
            }
        }
        self.named = cluster.workers.keys().cloned().collect();
        for (id, worker) in &cluster.workers {
            let ratio = worker.relative_load();
            set_worker(
                id,
                worker.assigned.len(),
                if ratio.is_finite() { ratio } else { f64::NAN },
            );
        }
    }
}

fn set_worker(id: &WorkerId, streams: usize, ratio: f64) {
    gauge!(WORKER_STREAMS, "worker" => id.to_string()).set(number(streams));
    gauge!(WORKER_LOAD_RATIO, "worker" => id.to_string()).set(ratio);
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use streamkeeper_core::cluster::{StreamRecord, WorkerRecord};
    use streamkeeper_core::record::Assignment;
    use streamkeeper_core::spec::StreamSpec;
    use streamkeeper_core::time::Timestamp;
    use streamkeeper_protocol::{Capacity, Epoch, Mode, Phase, SessionId, StreamId, Version};

    use super::super::metrics::builder;
    use super::*;

    fn worker(id: &WorkerId, weight: f64) -> Arc<WorkerRecord> {
        let stream = StreamId::new("radio").unwrap();
        Arc::new(WorkerRecord {
            id: id.clone(),
            session: SessionId::from_u128(1),
            availability: Availability::Alive,
            since: Timestamp::ZERO,
            last_heard: Timestamp::ZERO,
            heard: true,
            phase: Phase::Ready,
            mode: Mode::Connected,
            capacity: Capacity {
                max_streams: 10,
                weight,
            },
            zone: None,
            labels: Arc::default(),
            version: "1".into(),
            guarded: true,
            host: None,
            cordoned: false,
            zlib: false,
            assigned: [stream].into_iter().collect(),
            load: 2.0,
            desired: Version::default(),
            applied: Version::default(),
            declared: None,
            inventory: Arc::default(),
        })
    }

    fn stream(assignment: Assignment) -> Arc<StreamRecord> {
        let spec = StreamSpec::new(StreamId::new("radio").unwrap(), "http://localhost/a");
        Arc::new(StreamRecord {
            slot: streamkeeper_core::cluster::Slot::Held(assignment),
            performance: Some(Box::new(Performance {
                cpu_cores: Some(0.5),
                memory_bytes: Some(1_000),
                ..Performance::default()
            })),
            ..StreamRecord::new(Arc::new(spec), Timestamp::ZERO)
        })
    }

    #[test]
    fn gauges_follow_the_cluster_and_gone_workers_are_zero() {
        let recorder = builder().unwrap().build_recorder();
        let id = WorkerId::new("agent-1").unwrap();
        let mut cluster = ClusterState::default();
        cluster.leadership.role = Role::Leading;
        cluster.workers.insert(id.clone(), worker(&id, 8.0));
        let assignment = Assignment {
            worker: id.clone(),
            session: SessionId::from_u128(1),
            epoch: Epoch::ZERO,
        };
        let name = StreamId::new("radio").unwrap();
        cluster.streams.insert(name, stream(assignment));
        let mut gauges = Gauges::new();
        let shown = |gauges: &mut Gauges, cluster: &ClusterState| {
            metrics::with_local_recorder(&recorder, || gauges.record(cluster));
            recorder.handle().render()
        };

        let text = shown(&mut gauges, &cluster);
        for line in [
            "streamkeeper_leader 1",
            "streamkeeper_streams{state=\"starting\"} 1",
            "streamkeeper_streams{state=\"running\"} 0",
            "streamkeeper_streams_cpu_cores 0.5",
            "streamkeeper_streams_memory_bytes 1000",
            "streamkeeper_streams_bytes_per_second 0",
            "streamkeeper_workers{availability=\"alive\"} 1",
            "streamkeeper_worker_streams{worker=\"agent-1\"} 1",
            "streamkeeper_worker_load_ratio{worker=\"agent-1\"} 0.25",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line} is not in\n{text}"
            );
        }

        cluster.workers.insert(id.clone(), worker(&id, 0.0));
        let text = shown(&mut gauges, &cluster);
        assert!(
            text.contains("load_ratio{worker=\"agent-1\"} NaN"),
            "no capacity is known:\n{text}"
        );

        cluster.workers.remove(&id);
        cluster.leadership.role = Role::Standby;
        let text = shown(&mut gauges, &cluster);
        for line in [
            "streamkeeper_leader 0",
            "streamkeeper_workers{availability=\"alive\"} 0",
            "streamkeeper_worker_streams{worker=\"agent-1\"} 0",
            "streamkeeper_worker_load_ratio{worker=\"agent-1\"} 0",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
