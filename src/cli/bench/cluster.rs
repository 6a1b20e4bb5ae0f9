//! An orchestrator with its own nats-server and database, and agents whose streams read from a judge: real processes,
//! begun and ended anew for each run.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::judge::Judge;
use super::reader::READER;
use super::tally::{self, Visit};
use crate::api::Api;
use crate::failure::Failure;
use crate::part::Part;
use crate::{streams, workers};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(180);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Time between two questions to the API.
const ASK: Duration = Duration::from_millis(200);
/// Streams in one declaration.
const BATCH: u32 = 5_000;

/// What is started.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) workers: u32,
    pub(super) streams: u32,
    /// As the API has it.
    pub(super) ownership: &'static str,
    /// Settings of the orchestrator.
    pub(super) set: Vec<(String, String)>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) judge: Judge,
    pub(super) agents: Vec<Part>,
    streams: u32,
    api: Api,
    orchestrator: Part,
}

impl Cluster {
    /// Starts everything and returns when every stream is read.
    pub(super) async fn start(plan: &Plan, folder: &Path) -> Result<Self, Failure> {
        let judge = Judge::start()
            .await
            .map_err(|error| Failure::failed(format!("bench: the judge cannot be started: {error}")))?;
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs).map_err(|error| {
            Failure::failed(format!("bench: {}: cannot be made: {error}", logs.display()))
        })?;
        let address = format!("127.0.0.1:{}", free_port().await?);
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut serve = words(&["serve", "--bind", &address, "--data"]);
        serve.push(folder.into());
        // Nothing is left behind by a bench that is killed.
        serve.extend(words(&["--set", "nats.linger=0s"]));
        for (key, value) in &plan.set {
            serve.extend(words(&["--set", &format!("{key}={value}")]));
        }
        let program = crate::program()?;
        let program = program.to_str().ok_or_else(|| {
            Failure::failed("bench: the path of this program is not UTF-8; copy it to another folder")
        })?;
        let command = shell_words(&[program, READER, "{source}"]);
        let agents = (1..=plan.workers).map(|number| {
            let name = format!("agent-{number}");
            let mut agent = words(&["agent", "--id", &name, "--exec", &command, "--data"]);
            agent.push(folder.into());
            // Any one of them could carry all.
            let all = plan.streams.to_string();
            agent.extend(words(&["--max-streams", &all, "--weight", &all]));
            Part::new(&name, agent, &logs)
        });
        let mut cluster = Self {
            judge,
            agents: agents.collect(),
            streams: plan.streams,
            api: Api::new(&format!("http://{address}"))?,
            orchestrator: Part::new("orchestrator", serve, &logs),
        };
        cluster.begin(plan).await?;
        Ok(cluster)
    }

    async fn begin(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.orchestrator.start()?;
        self.ask("a ready orchestrator", async |api| {
            let ready = api.get::<Value>("/readyz").await;
            ready.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        for agent in &mut self.agents {
            agent.start()?;
        }
        let wanted = self.agents.len();
        self.ask("agents that take streams", async |api| {
            let rows = workers::rows(api).await.map_err(|failure| failure.text)?;
            let ready = rows.iter().filter(|row| row.takes_streams).count();
            let all = ready == wanted;
            all.then_some(()).ok_or_else(|| format!("{ready} of {wanted} do"))
        })
        .await?;
        let address = self.judge.address().to_string();
        let names: Vec<u32> = (1..=plan.streams).collect();
        for names in names.chunks(BATCH as usize) {
            let streams: Vec<Value> = names
                .iter()
                .map(|number| {
                    json!({
                        "name": format!("stream-{number:05}"),
                        "source": address,
                        "ownership": plan.ownership,
                    })
                })
                .collect();
            self.api
                .put("/api/v1/streams", &json!({ "streams": streams }))
                .await?;
        }
        self.one_reader_each().await?;
        self.ask("every stream known as running", async |api| {
            let streams = streams::all(api, "").await.map_err(|error| error.to_string())?;
            let rows = streams::rows(&streams).map_err(|failure| failure.text)?;
            match rows.iter().find(|row| row.state != "running") {
                None => Ok(()),
                Some(row) => Err(format!("{} is {}", row.name, row.state)),
            }
        })
        .await
    }

    /// Waits until every stream has exactly one reader.
    pub(super) async fn one_reader_each(&mut self) -> Result<(), Failure> {
        let wanted = self.streams as usize;
        self.look("one reader of every stream", |visits, _| {
            let readers = tally::readers(visits);
            let one = readers.values().filter(|count| **count == 1).count();
            let others = readers.values().filter(|count| **count > 1).count();
            if one == wanted {
                Ok(())
            } else {
                Err(format!("{one} of {wanted} have one, {others} have more"))
            }
        })
        .await
    }

    /// Looks at the judge's log again and again until `look` finds what is waited for.
    pub(super) async fn look<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&[Visit], u64) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now_us = self.judge.now_us();
            let last = match look(&self.judge.visits(), now_us) {
                Ok(found) => return Ok(found),
                Err(last) => last,
            };
            self.go_on(what, &last, deadline)?;
            sleep(LOOK).await;
        }
    }

    /// Asks the API again and again until it says what is waited for.
    async fn ask(
        &mut self,
        what: &str,
        ask: impl AsyncFn(&Api) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(last) = ask(&self.api).await else {
                return Ok(());
            };
            self.go_on(what, &last, deadline)?;
            sleep(ASK).await;
        }
    }

    /// Refuses to wait for what cannot come any more.
    fn go_on(&mut self, what: &str, last: &str, deadline: Instant) -> Result<(), Failure> {
        if let Some(status) = self.orchestrator.ended() {
            return Err(Failure::failed(format!(
                "bench: the orchestrator ended by itself ({status})\n{}",
                self.orchestrator.tail()
            )));
        }
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "bench: {what} did not come to be within {PATIENCE:?}: {last}\n{}",
            self.orchestrator.tail()
        )))
    }

    /// Ends everything. An orderly end would take each stream elsewhere first: nothing of this run is needed any more.
    pub(super) async fn end(mut self) -> Result<(), Failure> {
        for agent in &mut self.agents {
            agent.kill().await?;
        }
        // The guards end what is left.
        let none = self.look("the end of all readers", |visits, _| {
            let open = visits.iter().filter(|visit| visit.to_us.is_none()).count();
            (open == 0).then_some(()).ok_or_else(|| format!("{open} read"))
        });
        none.await?;
        self.orchestrator.terminate();
        self.orchestrator.join().await;
        Ok(())
    }
}

/// Words as a command line that is split into the same words again.
fn shell_words(words: &[&str]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
        .collect();
    quoted.join(" ")
}

async fn free_port() -> Result<u16, Failure> {
    let failed = |error| Failure::failed(format!("bench: no port is free: {error}"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted() {
        assert_eq!(shell_words(&["/a b/it's", "x"]), r"'/a b/it'\''s' 'x'");
    }
}
