//! What the API says of streams, assignments and actors, in the shapes that tests compare.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{Answer, Api};
use crate::wait;

/// Who runs a stream, under which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The worker.
    pub worker: String,
    /// The epoch.
    pub epoch: i64,
}

/// Assignments by stream.
pub type Assignments = BTreeMap<String, Assignment>;

impl Api {
    /// All assignments.
    ///
    /// # Errors
    /// When the API does not answer, or otherwise than described, in words.
    pub async fn assignments(&self) -> Result<Assignments, String> {
        let list = self.list("assignments").await?;
        let read = |item: &Value| {
            let stream = item["stream"].as_str()?.to_owned();
            let worker = item["worker"].as_str()?.to_owned();
            let epoch = item["epoch"].as_str()?.parse().ok()?;
            Some((stream, Assignment { worker, epoch }))
        };
        list.iter()
            .map(|item| read(item).ok_or_else(|| format!("unreadable assignment: {item}")))
            .collect()
    }

    /// Names of the streams that their workers report as running.
    ///
    /// # Errors
    /// When the API does not answer, in words.
    pub async fn running(&self) -> Result<Vec<String>, String> {
        let streams = self.list("streams").await?;
        let running = streams.iter().filter(|stream| stream["state"] == "running");
        Ok(running
            .filter_map(|stream| stream["name"].as_str().map(ToOwned::to_owned))
            .collect())
    }

    /// Waits until an alert of this rule fires and every sink was told of it, for good; says what is shown of it.
    ///
    /// # Panics
    /// Panics with the last picture where that does not happen.
    pub async fn told_alert(&self, rule: &str) -> Value {
        let told = wait::until(wait::GENEROUS, async || {
            let alerts = self.list("alerts").await?;
            let told = alerts.iter().find(|alert| {
                let delivery = alert["delivery"].as_object();
                alert["rule"] == rule
                    && delivery.is_some_and(|sinks| sinks.values().all(|told| told == "delivered"))
            });
            told.cloned()
                .ok_or_else(|| format!("no alert {rule} that was told: {alerts:?}"))
        });
        told.await.unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Waits until exactly `count` streams are declared and all of them run.
    ///
    /// # Panics
    /// Panics with the last picture where that does not happen.
    pub async fn all_running(&self, count: usize) -> Assignments {
        let all = wait::until(wait::GENEROUS, async || {
            let streams = self.list("streams").await?;
            let running = self.running().await?;
            let assignments = self.assignments().await?;
            if streams.len() == count && running.len() == count && assignments.len() == count {
                Ok(assignments)
            } else {
                let told = |stream: &Value| {
                    let [state, worker, failure, unplaced] =
                        ["state", "worker", "failure", "unplaced"].map(|field| stream[field].to_string());
                    let name = &stream["name"];
                    format!("{name}: {state}, worker {worker}, failure {failure}, unplaced {unplaced}")
                };
                let streams: Vec<String> = streams.iter().map(told).collect();
                Err(format!("{count} streams are to run, but: {streams:#?}"))
            }
        });
        all.await.unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Waits until exactly `count` workers are heard: streams that are declared before the last one joins are evened out
    /// later, which stops and starts some of them.
    ///
    /// # Panics
    /// Panics with the last picture where that does not happen.
    pub async fn workers_alive(&self, count: usize) {
        let heard = wait::until(wait::GENEROUS, async || {
            let workers = self.list("workers").await?;
            let alive = workers.iter().filter(|worker| worker["availability"] == "alive");
            if alive.count() == count {
                Ok(())
            } else {
                Err(format!("{count} workers are to be alive, but: {workers:#?}"))
            }
        });
        heard.await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// How often an actor was restarted.
    ///
    /// # Errors
    /// When the API does not answer, or knows no such actor, in words.
    pub async fn restarts(&self, actor: &str) -> Result<u64, String> {
        let status = self.get("/api/v1/status").await?;
        let actors = status["actors"].as_array();
        actors
            .and_then(|actors| actors.iter().find(|item| item["name"] == actor))
            .and_then(|item| item["restarts"].as_u64())
            .ok_or_else(|| format!("no restarts of {actor} in {status}"))
    }

    /// Declares streams, given as name and source.
    ///
    /// # Panics
    /// Panics where they are refused.
    pub async fn declare(&self, streams: &[(&str, &str)]) {
        let streams: Vec<Value> = streams
            .iter()
            .map(|(name, source)| json!({"name": name, "source": source}))
            .collect();
        self.change(Method::PUT, "/api/v1/streams", Some(&json!({"streams": streams})))
            .await;
    }

    /// Deletes a stream.
    ///
    /// # Panics
    /// Panics where that is refused.
    pub async fn delete(&self, name: &str) {
        self.change(Method::DELETE, &format!("/api/v1/streams/{name}"), None)
            .await;
    }

    /// Changes something, again and again while the leader has no time for it, or does not know what became of it.
    async fn change(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let again = if method == Method::PUT {
            &[503, 504][..]
        } else {
            &[503][..]
        };
        let done = wait::until(wait::GENEROUS, async || {
            let answer = self.send(method.clone(), path, body).await?;
            if again.contains(&answer.status) {
                Err(format!("{path}: {answer:?}"))
            } else {
                Ok(answer)
            }
        });
        let answer = done.await.unwrap_or_else(|reason| panic!("{reason}"));
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        answer
    }
}

/// Streams per worker; workers without streams are not there.
pub fn per_worker(assignments: &Assignments) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for assignment in assignments.values() {
        *counts.entry(assignment.worker.clone()).or_insert(0) += 1;
    }
    counts
}

/// The highest epoch of every stream that was ever seen.
#[derive(Debug, Default)]
pub struct Watermark(BTreeMap<String, i64>);

impl Watermark {
    /// Takes a new picture into account.
    ///
    /// # Panics
    /// Panics where an epoch is lower than one that was seen before.
    #[track_caller]
    pub fn rises(&mut self, assignments: &Assignments) {
        for (stream, assignment) in assignments {
            let highest = self.0.entry(stream.clone()).or_insert(0);
            assert!(
                assignment.epoch >= *highest,
                "epoch of {stream} went back from {highest} to {}",
                assignment.epoch
            );
            *highest = assignment.epoch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(epoch: i64) -> Assignments {
        let worker = "a".to_owned();
        Assignments::from([("cam".to_owned(), Assignment { worker, epoch })])
    }

    #[test]
    fn the_watermark_takes_equal_and_higher_epochs() {
        let mut watermark = Watermark::default();
        for epoch in [3, 3, 4] {
            watermark.rises(&picture(epoch));
        }
    }

    #[test]
    #[should_panic(expected = "epoch of cam went back from 4 to 3")]
    fn the_watermark_refuses_lower_epochs() {
        let mut watermark = Watermark::default();
        // The stream being away for a while does not lower the mark.
        for picture in [picture(4), Assignments::new(), picture(3)] {
            watermark.rises(&picture);
        }
    }
}
