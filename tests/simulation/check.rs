//! What must hold at every moment, and once all is calm.

use std::collections::BTreeMap;

use streamkeeper_core::cluster::{Availability, ClusterState, MoveReason, Role, Slot};
use streamkeeper_core::notice::Notice;
use streamkeeper_protocol::{Epoch, StreamId};

use crate::orchestrator::Kind;
use crate::world::{Happening, World};

/// A worker that no fault touched for so long must not lose a stream.
const HEALTHY_MS: u64 = 25_000;

impl World {
    /// A new state is published: what a leader takes away on purpose is noted, readers are woken.
    pub(crate) fn publish(&mut self, cluster: ClusterState) {
        for (stream, record) in &cluster.streams {
            if let Slot::Releasing { from, .. } = &record.slot {
                self.released.insert((stream.clone(), from.epoch));
            }
        }
        let Some(orchestrator) = self.orchestrator.as_mut() else {
            return;
        };
        orchestrator.outliving.cluster = cluster;
        let idle: Vec<Kind> = Kind::READERS
            .into_iter()
            .filter(|kind| !orchestrator.reading.contains(kind))
            .collect();
        orchestrator.reading.extend(idle.iter().copied());
        for kind in idle {
            let delay = self.network.between(0, 3);
            self.after(delay, Happening::Read(self.life, kind));
        }
    }

    /// A worker starts a stream.
    pub(crate) fn started(&mut self, index: usize, stream: &StreamId, epoch: Epoch) {
        let (worker, session) = (self.nodes[index].id.clone(), self.nodes[index].session_id);
        self.trace(format_args!("{worker} starts {stream} at {epoch:?}"));
        self.last_change = self.now;
        let known = self.named.entry((stream.clone(), epoch)).or_insert(session);
        assert_eq!(
            *known, session,
            "S2 epoch-monotonic: {stream} {epoch:?} names two sessions"
        );
        assert!(
            self.database.ever.contains(&(stream.clone(), epoch)),
            "persist before telling: {stream} {epoch:?} was never stored"
        );
        let highest = self.nodes[index].highest.entry(stream.clone()).or_default();
        assert!(
            *highest <= epoch,
            "S2 epoch-monotonic: {worker} starts {stream} at {epoch:?} after {highest:?}"
        );
        *highest = epoch;
    }

    /// A worker is about to stop a stream. S6 no-empty-plan: only what the user ended, what a leader moves on purpose,
    /// or what was durably given to somebody else.
    pub(crate) fn stopped(&mut self, index: usize, stream: &StreamId, epoch: Epoch) {
        let worker = self.nodes[index].id.clone();
        self.trace(format_args!("{worker} stops {stream} at {epoch:?}"));
        self.last_change = self.now;
        let off = self.database.streams.get(stream).is_none_or(|spec| !spec.enabled);
        let at = |map: &BTreeMap<StreamId, Epoch>| map.get(stream).copied().unwrap_or_default();
        let replaced = at(&self.database.highest) > epoch;
        let ended = at(&self.database.ended) >= epoch;
        let released = self.released.contains(&(stream.clone(), epoch));
        assert!(
            off || replaced || ended || released || self.nodes[index].leaving,
            "S6 no-empty-plan: {worker} stops {stream} at {epoch:?}, which nobody has replaced"
        );
    }

    /// Something was told. S5 no-needless-move: who is healthy loses a stream only to the balancer or the user.
    pub(crate) fn noticed(&mut self, notice: &Notice) {
        self.trace(format_args!("{} {:?}", notice.kind(), notice.fields()));
        self.sometimes.saw(notice.kind());
        let Notice::Assigned {
            stream,
            worker,
            epoch,
            reason,
        } = notice
        else {
            return;
        };
        self.sometimes.saw(reason.as_str());
        if matches!(
            reason,
            MoveReason::Balance | MoveReason::Changed | MoveReason::Drain | MoveReason::Restart
        ) {
            return;
        }
        let seats = self
            .orchestrator
            .as_ref()
            .map(|orchestrator| orchestrator.coordinator.cluster().workers.clone())
            .unwrap_or_default();
        let calm = self.now > self.touched + HEALTHY_MS && !self.stormy;
        for node in &self.nodes {
            let child = node.children.get(stream);
            let runs = child.is_some_and(|child| child.epoch < *epoch && !child.stopping);
            // Who was refused, because another process had its id, has nothing to lose.
            let seated = seats
                .get(&node.id)
                .is_some_and(|seat| seat.session == node.session_id);
            let healthy = seated && node.session.is_some() && self.now > node.touched + HEALTHY_MS && calm;
            assert!(
                !(runs && healthy),
                "S5 no-needless-move: {} is healthy, runs {stream}, and it is given to {worker} ({})",
                node.id,
                reason.as_str()
            );
        }
    }

    /// L1, L3, L4: everything runs once, everybody agrees, no alert is left.
    pub(crate) fn check_settled(&self) {
        self.check_durable();
        let orchestrator = self.orchestrator.as_ref().expect("an orchestrator runs");
        let cluster = orchestrator.coordinator.cluster();
        assert_eq!(cluster.leadership.role, Role::Leading);
        let mut running: BTreeMap<&StreamId, Vec<String>> = BTreeMap::new();
        for node in &self.nodes {
            for stream in node.children.keys() {
                running.entry(stream).or_default().push(node.id.to_string());
            }
        }
        for (stream, spec) in &self.database.streams {
            let copies = running.remove(stream).unwrap_or_default();
            assert_eq!(
                copies.len(),
                usize::from(spec.enabled),
                "L1: {stream} runs on {copies:?}: {:?} {:?}",
                cluster.streams[stream].slot,
                cluster.streams[stream]
                    .slot
                    .worker()
                    .map(|worker| &cluster.workers[worker])
            );
            let Some(row) = self.database.rows.get(stream).filter(|_| spec.enabled) else {
                assert!(!spec.enabled, "L3: {stream} runs without a row");
                continue;
            };
            assert_eq!(copies, [row.worker.to_string()], "L3: {stream}");
            let record = &cluster.streams[stream];
            assert_eq!(
                record.slot,
                Slot::Held(row.clone()),
                "L3: {stream}, {:?}",
                cluster.workers[&row.worker]
            );
            let worker = &cluster.workers[&row.worker];
            assert_eq!(record.state().as_str(), "running", "L1: {record:?} {worker:?}");
        }
        assert!(running.is_empty(), "ghosts: {running:?}");
        assert_eq!(cluster.streams.len(), self.database.streams.len(), "L3");
        assert_eq!(orchestrator.outliving.findings, [], "L3");
        let alerts = &orchestrator.outliving.alerts;
        assert!(alerts.is_empty(), "L4: {alerts:?}");
        let mut loads: Vec<f64> = cluster
            .workers
            .values()
            .filter(|worker| worker.availability == Availability::Alive)
            .map(|worker| worker.load)
            .collect();
        loads.sort_by(f64::total_cmp);
        let gap = loads.last().unwrap_or(&0.0) - loads.first().unwrap_or(&0.0);
        assert!(gap <= 3.0, "L2: loads differ by more than one stream: {loads:?}");
    }
}
