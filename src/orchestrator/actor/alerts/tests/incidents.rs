//! Sinks that page people hear of causes alone.

use async_trait::async_trait;
use streamkeeper_protocol::AlertStatus;

use super::*;
use crate::port::alert_sink::{Change, SinkError};

/// Somebody's telephone.
#[derive(Default)]
struct Pager(Mutex<Vec<String>>);

#[async_trait]
impl AlertSink for Pager {
    fn name(&self) -> &'static str {
        "pager"
    }

    async fn take(&self, change: &Change) -> Result<(), SinkError> {
        let status = match change.message.status {
            AlertStatus::Firing => "fires",
            AlertStatus::Resolved => "is over",
        };
        let incident = change.message.incident.as_deref().unwrap_or("none");
        self.0
            .lock()
            .unwrap()
            .push(format!("{} {status} in {incident}", change.rule));
        Ok(())
    }
}

fn with_pager(outside: &Arc<Outside>) -> (Arc<Pager>, AlertOutbox) {
    let pager = Arc::new(Pager::default());
    let store: Arc<dyn Store> = outside.clone();
    let outbox = AlertOutbox::new(
        vec![Arc::new(NatsSink(outside.clone())), pager.clone()],
        &store,
        outside.clone(),
        Breakers::default(),
        Duration::from_secs(3_600),
    );
    (pager, outbox)
}

fn of_incident(rule: &'static str, number: u32, explained_by: Option<&str>) -> ActiveAlert {
    let term = Term::new(1).unwrap();
    ActiveAlert {
        incident: Some(IncidentId { term, number }),
        explained_by: explained_by.map(|rule| format!("fingerprint of {rule}")),
        ..alert(rule)
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_paged_for_what_is_explained_until_it_is_a_cause() {
    let outside = Arc::new(Outside::new());
    let (pager, outbox) = with_pager(&outside);
    lead(&outside, &outbox, 1);
    outbox.perform(Command::Fire(of_incident("cause", 1, None)));
    outbox.perform(Command::Fire(of_incident("consequence", 1, Some("cause"))));
    outbox.perform(Command::Fire(of_incident("short", 1, Some("cause"))));
    settle().await;
    outbox.perform(Command::Resolve(of_incident("short", 1, None)));
    outbox.perform(Command::Resolve(of_incident("cause", 1, None)));
    settle().await;
    let told = std::mem::take(&mut *pager.0.lock().unwrap());
    assert_eq!(told, ["cause fires in 1-1", "cause is over in 1-1"]);
    let kept = outside.kept();
    assert_eq!(
        kept.len(),
        5,
        "who asks for everything hears of everything: {kept:?}"
    );
    outbox.perform(Command::Explain(of_incident("consequence", 1, None)));
    settle().await;
    assert_eq!(*pager.0.lock().unwrap(), ["consequence fires in 1-1"]);
    assert_eq!(outside.kept(), ["consequence firing"]);
    // What nobody was told of is not over for them either.
    outbox.perform(Command::Resolve(of_incident("consequence", 1, None)));
    settle().await;
    let last = pager.0.lock().unwrap().last().cloned();
    assert_eq!(last.as_deref(), Some("consequence is over in 1-1"));
    let pending = outside.stored().into_iter().filter(|(_, _, pending)| *pending);
    assert_eq!(pending.count(), 0, "everybody knows what they are to know");
}

#[tokio::test(start_paused = true)]
async fn incidents_outlive_the_leader() {
    let outside = Arc::new(Outside::new());
    let (_, old) = with_pager(&outside);
    lead(&outside, &old, 1);
    old.perform(Command::Fire(of_incident("worker_lost", 4, None)));
    old.perform(Command::Fire(of_incident(
        "streams_unplaced",
        4,
        Some("worker_lost"),
    )));
    settle().await;
    let (_, told, newest) = old.told();
    drop(old);
    assert_eq!(newest.map(|id| id.to_string()).as_deref(), Some("1-4"));
    let (pager, new) = with_pager(&outside);
    lead(&outside, &new, 2);
    settle().await;
    assert_eq!(*pager.0.lock().unwrap(), [""; 0], "nobody is told twice");
    let (_, found, _) = new.told();
    let seen = |alerts: Vec<ActiveAlert>| -> Vec<(Option<IncidentId>, Option<String>)> {
        let pairs = alerts
            .into_iter()
            .map(|alert| (alert.incident, alert.explained_by));
        pairs.collect()
    };
    assert_eq!(seen(found), seen(told));
}
