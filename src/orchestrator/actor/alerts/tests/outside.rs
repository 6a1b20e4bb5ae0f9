//! The outside of the outbox: a message server, a database and a wall clock that do what a test wants.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use streamkeeper_core::record::{Page, Persisted, WriteBatch};
use streamkeeper_protocol::{
    Alert, Assign, Beacon, Control, ControlReply, Event, LogReply, LogRequest, Severity, StreamId,
};
use tokio::time::Instant;

use super::super::*;
use crate::port::{Bus, BusError, StoreError, TakenOver};

/// A message server that can be away or keep nothing of one rule, a database that can fail or hang, and a wall clock that
/// can be set.
pub(super) struct Outside {
    pub(super) away: AtomicBool,
    pub(super) fails: AtomicBool,
    pub(super) hangs: AtomicBool,
    pub(super) deposed: AtomicBool,
    pub(super) clock_set_by: AtomicI64,
    pub(super) began: Instant,
    pub(super) kept: Mutex<Vec<String>>,
    pub(super) starts: Mutex<Vec<String>>,
    pub(super) rows: Mutex<BTreeMap<(String, i64), StoredAlert>>,
    pub(super) silences: Mutex<Vec<Silence>>,
    /// Under which term each batch was written.
    pub(super) writes: Mutex<Vec<Term>>,
}

impl Outside {
    pub(super) fn new() -> Self {
        Self {
            away: AtomicBool::default(),
            fails: AtomicBool::default(),
            hangs: AtomicBool::default(),
            deposed: AtomicBool::default(),
            clock_set_by: AtomicI64::default(),
            began: Instant::now(),
            kept: Mutex::default(),
            starts: Mutex::default(),
            rows: Mutex::default(),
            silences: Mutex::default(),
            writes: Mutex::default(),
        }
    }

    pub(super) fn kept(&self) -> Vec<String> {
        std::mem::take(&mut self.kept.lock().unwrap())
    }

    /// What a new leadership would read.
    pub(super) fn open(&self) -> Vec<StoredAlert> {
        let rows = self.rows.lock().unwrap();
        let open = rows
            .values()
            .filter(|row| row.resolved_ms.is_none() || row.pending);
        open.cloned().collect()
    }

    pub(super) fn silences(&self) -> Vec<Silence> {
        self.silences.lock().unwrap().clone()
    }

    /// Rule, whether it fires, and whether somebody still has to be told.
    pub(super) fn stored(&self) -> Vec<(String, bool, bool)> {
        let rows = self.rows.lock().unwrap();
        let said = |row: &StoredAlert| (row.rule.clone(), row.resolved_ms.is_none(), row.pending);
        rows.values().map(said).collect()
    }
}

#[async_trait]
impl Store for Outside {
    async fn stored_term(&self) -> Result<Term, StoreError> {
        unreachable!("only alerts are stored")
    }

    async fn take_over(&self, _fence: Fence, _lease: Duration) -> Result<TakenOver, StoreError> {
        unreachable!("only alerts are stored")
    }

    async fn persist(&self, _fence: Fence, _batch: &WriteBatch) -> Persisted {
        unreachable!("only alerts are stored")
    }

    async fn read_page(&self, _after: Option<&StreamId>, _limit: u32) -> Result<Page, StoreError> {
        unreachable!("only alerts are stored")
    }

    async fn write_alerts(&self, fence: Fence, alerts: &[StoredAlert]) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.deposed.load(Ordering::SeqCst) {
            return Err(StoreError::Fenced(Term::new(2).unwrap()));
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                operation: "write alerts",
                reason: "disk full".to_owned(),
            });
        }
        self.writes.lock().unwrap().push(fence.term);
        for row in alerts {
            let key = (row.fingerprint.clone(), row.began_ms);
            self.rows.lock().unwrap().insert(key, row.clone());
        }
        Ok(())
    }

    async fn write_silences(
        &self,
        _fence: Fence,
        puts: &[Silence],
        removes: &[String],
    ) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                operation: "write silences",
                reason: "disk full".to_owned(),
            });
        }
        let mut stored = self.silences.lock().unwrap();
        stored.retain(|silence| !removes.contains(&silence.id));
        stored.extend(puts.iter().cloned());
        Ok(())
    }

    async fn prune_alerts(&self, _fence: Fence, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        let old = rows
            .iter()
            .filter(|(_, row)| row.resolved_ms.is_some_and(|at| at < before_ms));
        let old: Vec<_> = old.map(|(key, _)| key.clone()).take(limit as usize).collect();
        for key in &old {
            rows.remove(key);
        }
        Ok(old.len() as u64)
    }

    async fn ping(&self) -> Result<Duration, StoreError> {
        unreachable!("only alerts are stored")
    }
}

#[async_trait]
impl Bus for Outside {
    fn assign(&self, _assign: &Assign, _compressed: bool) -> Result<(), BusError> {
        unreachable!("only alerts are sent")
    }

    fn beacon(&self, _beacon: &Beacon) -> Result<(), BusError> {
        unreachable!("only alerts are sent")
    }

    fn alert(&self, _severity: Severity, _rule: &str, _alert: &Alert) -> Result<(), BusError> {
        unreachable!("alerts are to be kept")
    }

    async fn keep_alert(&self, _severity: Severity, rule: &str, alert: &Alert) -> Result<(), BusError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(BusError::Disconnected);
        }
        match rule {
            "unkept" => return Err(BusError::NotKept("disk full".to_owned())),
            "unsendable" => return Err(BusError::Unsendable("too large".to_owned())),
            _ => {}
        }
        let status = alert.ends_at.as_ref().map_or("firing", |_| "resolved");
        self.kept.lock().unwrap().push(format!("{rule} {status}"));
        self.starts.lock().unwrap().push(alert.starts_at.clone());
        Ok(())
    }

    fn event(&self, _event: &Event) -> Result<(), BusError> {
        unreachable!("only alerts are sent")
    }

    async fn control(&self, _control: &Control, _timeout: Duration) -> Result<ControlReply, BusError> {
        unreachable!("only alerts are sent")
    }

    async fn logs(&self, _request: &LogRequest, _timeout: Duration) -> Result<LogReply, BusError> {
        unreachable!("only alerts are sent")
    }

    fn connected(&self) -> bool {
        !self.away.load(Ordering::SeqCst)
    }

    async fn ping(&self) -> Result<Duration, BusError> {
        unreachable!("only alerts are sent")
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(1_000) + self.began.elapsed()
    }

    fn wall(&self, at: Timestamp) -> DateTime<Utc> {
        let set = TimeDelta::seconds(self.clock_set_by.load(Ordering::SeqCst));
        DateTime::UNIX_EPOCH + Duration::from_millis(at.as_ms()) + set
    }
}
