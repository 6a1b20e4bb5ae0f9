//! What the API may ask besides the actors: database, message server, clock.

use super::*;

#[async_trait]
impl Store for Behind {
    async fn stored_term(&self) -> Result<Term, StoreError> {
        unreachable!("the API does not lead")
    }

    async fn take_over(&self, _fence: Fence, _lease: Duration) -> Result<TakenOver, StoreError> {
        unreachable!("the API does not lead")
    }

    async fn persist(&self, _fence: Fence, _batch: &WriteBatch) -> Persisted {
        unreachable!("the API writes through the gateway")
    }

    async fn read_page(&self, _after: Option<&StreamId>, _limit: u32) -> Result<Page, StoreError> {
        unreachable!("the API does not compare")
    }

    async fn write_alerts(&self, _fence: Fence, _alerts: &[StoredAlert]) -> Result<(), StoreError> {
        unreachable!("the API stores no alert")
    }

    async fn write_silences(
        &self,
        _fence: Fence,
        _puts: &[Silence],
        _removes: &[String],
    ) -> Result<(), StoreError> {
        unreachable!("the API writes through the gateway")
    }

    async fn prune_alerts(&self, _fence: Fence, _before_ms: i64, _limit: u32) -> Result<u64, StoreError> {
        unreachable!("the API stores no alert")
    }

    async fn ping(&self) -> Result<Duration, StoreError> {
        if self.database_down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                operation: "ping",
                reason: "postgres://sk:s3cret@db/sk refused".to_owned(),
            });
        }
        Ok(Duration::from_micros(1_500))
    }
}

#[async_trait]
impl Bus for Behind {
    fn assign(&self, _assign: &Assign, _compressed: bool) -> Result<(), BusError> {
        unreachable!("the API sends nothing")
    }

    fn beacon(&self, _beacon: &Beacon) -> Result<(), BusError> {
        unreachable!("the API sends nothing")
    }

    fn alert(&self, _severity: Severity, _rule: &str, _alert: &Alert) -> Result<(), BusError> {
        unreachable!("the API sends nothing")
    }

    fn event(&self, _event: &Event) -> Result<(), BusError> {
        unreachable!("the API sends nothing")
    }

    async fn control(&self, _control: &Control, _timeout: Duration) -> Result<ControlReply, BusError> {
        unreachable!("the API sends nothing")
    }

    async fn logs(&self, request: &LogRequest, _timeout: Duration) -> Result<LogReply, BusError> {
        self.requests.lock().unwrap().push(request.clone());
        let answer = self.lines.lock().unwrap().pop_front();
        match answer {
            Some(answer) => answer,
            // A worker that has nothing to tell waits, and says so.
            None => {
                tokio::time::sleep(Duration::from_millis(request.wait_ms.into())).await;
                Ok(LogReply {
                    v: PROTOCOL_VERSION,
                    stream: request.stream.clone(),
                    session: SessionId::from_u128(7),
                    next: request.from.unwrap_or(1),
                    lines: Vec::new(),
                    reason: None,
                })
            }
        }
    }

    fn connected(&self) -> bool {
        !self.nats_down.load(Ordering::SeqCst)
    }

    async fn ping(&self) -> Result<Duration, BusError> {
        Ok(Duration::from_micros(250))
    }
}

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn wall(&self, at: Timestamp) -> DateTime<Utc> {
        let origin = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
        origin + Duration::from_millis(at.as_ms())
    }
}
