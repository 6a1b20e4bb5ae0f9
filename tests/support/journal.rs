//! What an orchestrator tells whoever listens: its events and alerts, noted from the moment on at which this is made.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Client;
use futures::StreamExt;
use streamkeeper_protocol::{Alert, AlertStatus, Event, Subjects, decode};
use tokio_util::task::AbortOnDropHandle;

use crate::wait;

#[derive(Debug, Default)]
struct Noted {
    events: Vec<Event>,
    alerts: Vec<Alert>,
}

/// Everything that was told.
#[derive(Debug)]
pub struct Journal {
    noted: Arc<Mutex<Noted>>,
    _task: AbortOnDropHandle<()>,
}

impl Journal {
    /// Begins to listen under a prefix.
    ///
    /// # Panics
    /// Panics where the server does not take its subscriptions.
    pub async fn begin(client: &Client, prefix: &str) -> Self {
        let subjects = Subjects::new(prefix).expect("a prefix");
        let mut events = client.subscribe(subjects.events()).await.expect("subscribed");
        let mut alerts = client.subscribe(subjects.alerts()).await.expect("subscribed");
        client.flush().await.expect("the server answers");
        let noted = Arc::<Mutex<Noted>>::default();
        let into = Arc::clone(&noted);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(message) = events.next() => {
                        let event = decode::<Event>(&message.payload, None).expect("an event");
                        into.lock().unwrap_or_else(PoisonError::into_inner).events.push(event);
                    }
                    Some(message) = alerts.next() => {
                        let alert = decode::<Alert>(&message.payload, None).expect("an alert");
                        into.lock().unwrap_or_else(PoisonError::into_inner).alerts.push(alert);
                    }
                    else => return,
                }
            }
        });
        Self {
            noted,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits for an event of this kind with these fields.
    ///
    /// # Panics
    /// Panics with all events of the kind where it does not come.
    pub async fn event(&self, kind: &str, fields: &[(&str, &str)]) {
        let told = wait::until(wait::GENEROUS, async || {
            let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let of_kind: Vec<&Event> = noted.events.iter().filter(|event| event.kind == kind).collect();
            let has = |event: &&&Event| {
                let mut wanted = fields.iter();
                wanted.all(|(name, value)| event.fields.get(*name).is_some_and(|found| found == value))
            };
            match of_kind.iter().find(has) {
                Some(_) => Ok(()),
                None => Err(format!("no event {kind} with {fields:?} among {of_kind:#?}")),
            }
        });
        told.await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Waits until an alert of this rule and label has fired, whatever became of it.
    ///
    /// # Panics
    /// Panics with what was told of it where that does not happen.
    pub async fn fired(&self, rule: &str, label: (&str, &str)) {
        let told = |words: &[AlertStatus]| words.contains(&AlertStatus::Firing);
        self.alert(rule, label, "has fired", told).await;
    }

    /// Waits until the last word about the alert of this rule and label is that it is over.
    ///
    /// # Panics
    /// Panics with what was told of it where that does not happen.
    pub async fn resolved(&self, rule: &str, label: (&str, &str)) {
        let told = |words: &[AlertStatus]| words.last() == Some(&AlertStatus::Resolved);
        self.alert(rule, label, "is over", told).await;
    }

    async fn alert(
        &self,
        rule: &str,
        (name, value): (&str, &str),
        wanted: &str,
        holds: impl Fn(&[AlertStatus]) -> bool,
    ) {
        let told = wait::until(wait::GENEROUS, async || {
            let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let is = |alert: &&Alert, name: &str, value: &str| {
                alert.labels.get(name).is_some_and(|found| found == value)
            };
            let of_rule = noted.alerts.iter().filter(|alert| is(alert, "alertname", rule));
            let of_label = of_rule.filter(|alert| is(alert, name, value));
            let words: Vec<AlertStatus> = of_label.map(|alert| alert.status).collect();
            if holds(&words) {
                Ok(())
            } else {
                Err(format!(
                    "not told: {rule} with {name}={value} {wanted}; told was {words:?}"
                ))
            }
        });
        told.await.unwrap_or_else(|reason| panic!("{reason}"));
    }
}
