//! A real Alertmanager. It tells whom it knows of which alert, and forgets all of them when it is started again.

use std::path::PathBuf;

use serde_json::Value;

use crate::http::Api;
use crate::ports::free_port;
use crate::process::{Process, find_program};
use crate::wait;
use crate::world::World;

/// Nobody is told anything further.
const CONFIG: &str = "route: { receiver: nobody }\nreceivers: [ { name: nobody } ]\n";

/// A server, on a port that it keeps.
#[derive(Debug)]
pub struct Alertmanager {
    config: PathBuf,
    storage: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Alertmanager {
    /// One that does not run yet.
    pub fn new(world: &World) -> Self {
        Self {
            config: world.write("alertmanager.yml", CONFIG),
            storage: world.folder().join("alertmanager"),
            port: free_port(),
            process: None,
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// Panics where it does not.
    pub async fn start(&mut self, world: &World) {
        let program = find_program("prometheus-alertmanager");
        self.process = Some(world.spawn("alertmanager", &program, |command| {
            command
                .arg(format!("--config.file={}", self.config.display()))
                .arg(format!("--storage.path={}", self.storage.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
                .arg("--cluster.listen-address=");
        }));
        let answers = wait::until(wait::GENEROUS, async || self.active("").await);
        answers
            .await
            .unwrap_or_else(|reason| panic!("Alertmanager: {reason}"));
    }

    /// Kills it: it forgets which alerts there are.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The alerts of this rule that are active there.
    ///
    /// # Errors
    /// When it does not answer, in words.
    pub async fn active(&self, rule: &str) -> Result<Vec<Value>, String> {
        let list = Api::new(self.port).get("/api/v2/alerts?active=true").await?;
        let alerts = list.as_array().ok_or_else(|| format!("no list: {list}"))?;
        let of_rule = alerts.iter().filter(|alert| alert["labels"]["alertname"] == rule);
        Ok(of_rule.cloned().collect())
    }

    /// Waits until exactly these workers have an active alert of this rule there, one each, and says which.
    ///
    /// # Panics
    /// Panics with the last picture where that does not happen.
    pub async fn knows(&self, rule: &str, workers: &[&str]) -> Vec<Value> {
        let known = wait::until(wait::GENEROUS, async || {
            let active = self.active(rule).await?;
            let mut found: Vec<&str> = active
                .iter()
                .filter_map(|alert| alert["labels"]["worker"].as_str())
                .collect();
            found.sort_unstable();
            if found == workers {
                return Ok(active);
            }
            Err(format!("{rule}: {found:?} instead of {workers:?}"))
        });
        known
            .await
            .unwrap_or_else(|reason| panic!("Alertmanager: {reason}"))
    }
}
