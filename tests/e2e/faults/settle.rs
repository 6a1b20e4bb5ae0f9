//! Waiting until a fleet has recovered: every stream runs once, all agree, and nothing moves any more.

use reqwest::Method;
use streamkeeper_tests::history;
use streamkeeper_tests::http::Api;
use tokio::time::{Duration, Instant, sleep};

use crate::scene::Scene;

/// A sign of life counts for so long.
const FRESH_NS: u64 = 2_000_000_000;
const PAUSE: Duration = Duration::from_millis(250);

impl Scene {
    /// Waits until everything runs again and nothing moves.
    ///
    /// # Panics
    /// Panics with what is wrong where that does not happen.
    pub(crate) async fn settle(&mut self) {
        self.settled().await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Waits until everything runs again and nothing moves.
    ///
    /// # Errors
    /// With what is wrong where that does not happen.
    pub(crate) async fn settled(&mut self) -> Result<(), String> {
        let end = Instant::now() + self.pace.patience;
        let mut quiet_since = None;
        let mut lives = 0;
        loop {
            self.read();
            let wrong = self.wrong().await;
            let moved = self.history.len() != lives;
            lives = self.history.len();
            if wrong.is_some() || moved {
                quiet_since = None;
            } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= self.pace.quiet {
                return Ok(());
            }
            if Instant::now() >= end {
                let patience = self.pace.patience;
                return Err(format!(
                    "after {patience:?} the fleet has not recovered: {wrong:?}"
                ));
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until every stream runs somewhere else than on this agent.
    ///
    /// # Panics
    /// Panics with what is wrong where that does not happen.
    pub(crate) async fn rescued_from(&mut self, worker: &str) {
        let end = Instant::now() + self.pace.patience;
        loop {
            self.read();
            let now = history::now();
            let elsewhere = |stream: &&String| {
                let living = self.history.living(stream, now, FRESH_NS);
                living.iter().any(|life| life.worker != worker)
            };
            let left: Vec<&String> = self.streams().filter(|stream| !elsewhere(stream)).collect();
            if left.is_empty() {
                return;
            }
            assert!(
                Instant::now() < end,
                "not replaced by others than {worker}: {left:?}"
            );
            sleep(PAUSE).await;
        }
    }

    /// What is not as it should be, if anything: by the witnesses, and by what a leader says.
    async fn wrong(&self) -> Option<String> {
        let now = history::now();
        for stream in self.streams() {
            let living = self.history.living(stream, now, FRESH_NS);
            if living.len() != 1 {
                return Some(format!("{stream} runs {} times: {living:?}", living.len()));
            }
        }
        let leader = match self.leader().await {
            Some(index) => self.orchestrators[index].part.api(),
            None => return Some("nobody leads".to_owned()),
        };
        self.agrees(&leader).await.err()
    }

    /// L3: the leader says of each stream what its witness wrote; every worker is heard; every orchestrator is ready.
    async fn agrees(&self, leader: &Api) -> Result<(), String> {
        let workers = leader.list("workers").await?;
        let alive = workers
            .iter()
            .filter(|worker| worker["availability"] == "alive")
            .count();
        if alive != self.agents.len() {
            return Err(format!(
                "{alive} of {} workers are alive: {workers:?}",
                self.agents.len()
            ));
        }
        for api in self.apis() {
            let answer = api.send(Method::GET, "/readyz", None).await?;
            if answer.status != 200 {
                return Err(format!("{}: {answer:?}", api.base()));
            }
        }
        let assignments = leader.assignments().await?;
        for stream in self.streams() {
            let life = self.history.of(stream).last().ok_or("no witness")?;
            let agreed = assignments
                .get(stream)
                .is_some_and(|said| said.worker == life.worker && said.epoch as u64 == life.epoch);
            if !agreed {
                return Err(format!(
                    "{stream}: the leader says {:?}, the witness {life:?}",
                    assignments.get(stream)
                ));
            }
        }
        Ok(())
    }
}
