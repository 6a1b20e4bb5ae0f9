//! A user who changes streams all the time, through whichever orchestrator answers, and remembers what was acknowledged
//! (S3). The streams are switched off: nothing ever runs for them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use streamkeeper_tests::http::Api;
use tokio_util::sync::{CancellationToken, DropGuard};

const NOTES: usize = 8;
const PAUSE: Duration = Duration::from_millis(250);
/// Longer than an answer takes where one comes at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// What may be in one stream: the last value that was acknowledged, and those that were sent and not answered. The
/// latter may be carried out at any time, for instance by an orchestrator that was frozen.
#[derive(Debug, Default, Clone)]
struct Note {
    acknowledged: Option<u64>,
    unanswered: BTreeSet<u64>,
}

/// The user.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    notes: Arc<Mutex<Vec<Note>>>,
    ends: Option<DropGuard>,
}

impl Writer {
    /// Writes from now on.
    pub(crate) fn begin(&mut self, apis: Vec<Api>) {
        *lock(&self.notes) = vec![Note::default(); NOTES];
        let ends = CancellationToken::new();
        self.ends = Some(ends.clone().drop_guard());
        tokio::spawn(ends.run_until_cancelled_owned(write(Arc::clone(&self.notes), apis)));
    }

    /// How many changes were acknowledged of how many streams.
    pub(crate) fn acknowledged(&self) -> usize {
        lock(&self.notes)
            .iter()
            .filter(|note| note.acknowledged.is_some())
            .count()
    }

    /// Reads everything back, and says which acknowledged change is lost.
    pub(crate) async fn broken(&self, api: &Api) -> Vec<String> {
        let mut broken = Vec::new();
        for index in 0..NOTES {
            // What is acknowledged while this is read is no loss.
            let before = lock(&self.notes)[index].clone();
            let found = api
                .send(Method::GET, &format!("/api/v1/streams/{}", name(index)), None)
                .await;
            let after = lock(&self.notes)[index].clone();
            let found = match found {
                Ok(answer) if answer.status == 404 => None,
                Ok(answer) => answer.body["source"]
                    .as_str()
                    .and_then(|source| source.parse::<u64>().ok()),
                Err(reason) => {
                    broken.push(format!("S3 {} cannot be read: {reason}", name(index)));
                    continue;
                }
            };
            let allowed = |note: &Note| {
                found == note.acknowledged || found.is_some_and(|value| note.unanswered.contains(&value))
            };
            if !allowed(&before) && !allowed(&after) {
                broken.push(format!(
                    "S3 {} holds {found:?}, but {after:?} was written",
                    name(index)
                ));
            }
        }
        broken
    }
}

fn name(index: usize) -> String {
    format!("note-{index}")
}

fn lock(notes: &Mutex<Vec<Note>>) -> MutexGuard<'_, Vec<Note>> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(notes: Arc<Mutex<Vec<Note>>>, apis: Vec<Api>) {
    for value in 1.. {
        let index = value as usize % NOTES;
        let api = &apis[value as usize / NOTES % apis.len()];
        lock(&notes)[index].unanswered.insert(value);
        let body = json!({"streams": [{"name": name(index), "source": value.to_string(), "enabled": false}]});
        let answer =
            tokio::time::timeout(PATIENCE, api.send(Method::PUT, "/api/v1/streams", Some(&body))).await;
        if let Ok(Ok(answer)) = answer
            && answer.status < 300
        {
            let note = &mut lock(&notes)[index];
            note.unanswered.remove(&value);
            note.acknowledged = Some(value);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
