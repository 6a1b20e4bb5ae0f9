//! What stands in for the database where events and measurements are read.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use streamkeeper_core::alert_manager::{IncidentId, StoredAlert};
use streamkeeper_orchestrator::port::incidents::{Ended, Incident, IncidentQuery};
use streamkeeper_orchestrator::port::samples::{Level, Point, Sample, SampleQuery, Series};
use streamkeeper_orchestrator::port::{
    EventLog, EventQuery, IncidentLog, SampleLog, Store, StoreError, StoredEvent, Waiting,
};

use super::world::Behind;

#[async_trait]
impl EventLog for Behind {
    async fn append_events(&self, _events: &[Waiting]) -> Result<u64, StoreError> {
        unreachable!("the API appends through the journal")
    }

    async fn events(&self, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        self.newest_event().await?;
        let events = self.events.lock().unwrap();
        let after = query.after.unwrap_or(0);
        let found = events.iter().filter(|stored| stored.id > after);
        let found = found.filter(|stored| query.kinds.is_empty() || query.kinds.contains(&stored.event.kind));
        Ok(found.take(query.limit).cloned().collect())
    }

    async fn newest_event(&self) -> Result<u64, StoreError> {
        Store::ping(self).await?;
        let events = self.events.lock().unwrap();
        Ok(events.last().map_or(0, |stored| stored.id))
    }

    async fn forget_events(&self, _before: DateTime<Utc>, _keep: u64, _most: u32) -> Result<u64, StoreError> {
        unreachable!("the API forgets nothing")
    }
}

#[async_trait]
impl IncidentLog for Behind {
    async fn incidents(&self, query: &IncidentQuery) -> Result<Vec<Incident>, StoreError> {
        Store::ping(self).await?;
        let alerts = self.stored_alerts.lock().unwrap();
        let all = alerts.iter().filter_map(|head| {
            Some(Incident {
                id: head.incident?,
                severity: head.severity,
                opened_ms: head.began_ms,
                ended_ms: head.resolved_ms,
                alerts: 1,
                firing: u64::from(head.resolved_ms.is_none()),
                head: head.clone(),
            })
        });
        let wanted = all
            .filter(|one| query.before.is_none_or(|before| one.id < before))
            .filter(|one| query.open.is_none_or(|open| open == one.ended_ms.is_none()));
        Ok(wanted.take(query.limit).collect())
    }

    async fn incident(&self, id: IncidentId) -> Result<Option<(Incident, Vec<StoredAlert>)>, StoreError> {
        let query = IncidentQuery {
            limit: usize::MAX,
            ..IncidentQuery::default()
        };
        let all = self.incidents(&query).await?;
        let found = all.into_iter().find(|one| one.id == id);
        Ok(found.map(|one| (one.clone(), vec![one.head])))
    }

    async fn alerts_over(
        &self,
        before: Option<&Ended>,
        limit: usize,
    ) -> Result<Vec<StoredAlert>, StoreError> {
        Store::ping(self).await?;
        let alerts = self.stored_alerts.lock().unwrap();
        let over = alerts.iter().filter(|alert| {
            let at = alert.resolved_ms;
            at.is_some_and(|at| before.is_none_or(|before| at < before.at_ms))
        });
        Ok(over.take(limit).cloned().collect())
    }
}

#[async_trait]
impl SampleLog for Behind {
    async fn append_samples(&self, _at: DateTime<Utc>, _samples: &[Sample]) -> Result<(), StoreError> {
        unreachable!("the API measures nothing")
    }

    async fn roll_up(&self, _to: usize, _now: DateTime<Utc>) -> Result<bool, StoreError> {
        unreachable!("the API measures nothing")
    }

    async fn samples(&self, query: &SampleQuery) -> Result<Series, StoreError> {
        Store::ping(self).await?;
        let point = Point {
            at: query.from,
            low: 1.0,
            mean: 2.0,
            high: 3.0,
        };
        self.sampled.lock().unwrap().push(query.clone());
        Ok([(r#"{"state":"running"}"#.to_owned(), vec![point])].into())
    }

    async fn forget_samples(
        &self,
        _level: Level,
        _before: DateTime<Utc>,
        _most: u32,
    ) -> Result<u64, StoreError> {
        unreachable!("the API forgets nothing")
    }
}
