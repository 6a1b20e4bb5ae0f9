//! One orchestrator with its own nats-server and database, or two that share them, and agents whose streams read from a
//! judge: real processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use streamkeeper_orchestrator::adapter::nats::locate_server;
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
    /// Settings of every orchestrator.
    pub(super) set: Vec<(String, String)>,
    /// What two orchestrators share, beside the database that the settings name; one orchestrator needs nothing.
    pub(super) shared: Option<Shared>,
}

/// A message server for several orchestrators.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    program: PathBuf,
    port: u16,
}

impl Shared {
    pub(super) async fn new() -> Result<Self, Failure> {
        let program = locate_server(None).map_err(|error| Failure::failed(format!("bench: {error}")))?;
        let port = free_port().await?;
        Ok(Self { program, port })
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn server(&self, folder: &Path, logs: &Path) -> Part {
        let port = self.port.to_string();
        let mut args = words(&[
            "--addr",
            "127.0.0.1",
            "--port",
            &port,
            "--jetstream",
            "--store_dir",
        ]);
        args.push(folder.join("jetstream").into());
        Part::of("nats-server", self.program.clone().into(), args, logs)
    }
}

/// One of them, and where its API answers.
#[derive(Debug)]
pub(super) struct Orchestrator {
    pub(super) part: Part,
    pub(super) api: Api,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) judge: Judge,
    pub(super) agents: Vec<Part>,
    /// One, or two of which one leads.
    pub(super) orchestrators: Vec<Orchestrator>,
    streams: u32,
    /// The message server that two of them share; it ends when this is dropped.
    server: Option<Part>,
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
        let program = crate::program()?;
        let program = program.to_str().ok_or_else(|| {
            Failure::failed("bench: the path of this program is not UTF-8; copy it to another folder")
        })?;
        let command = shell_words(&[program, READER, "{source}"]);
        let agents = (1..=plan.workers).map(|number| {
            let name = format!("agent-{number}");
            let mut agent = words(&["agent", "--id", &name, "--exec", &command, "--state"]);
            agent.push(folder.join(format!("state-{name}")).into());
            match &plan.shared {
                Some(shared) => agent.extend(words(&["--nats", &shared.url()])),
                None => {
                    agent.push("--data".into());
                    agent.push(folder.into());
                }
            }
            // Any one of them could carry all.
            let all = plan.streams.to_string();
            agent.extend(words(&["--max-streams", &all, "--weight", &all]));
            Part::new(&name, agent, &logs)
        });
        let mut cluster = Self {
            judge,
            agents: agents.collect(),
            orchestrators: orchestrators(plan, folder, &logs).await?,
            streams: plan.streams,
            server: plan.shared.as_ref().map(|shared| shared.server(folder, &logs)),
        };
        cluster.begin(plan).await?;
        Ok(cluster)
    }

    async fn begin(&mut self, plan: &Plan) -> Result<(), Failure> {
        if let Some(server) = &mut self.server {
            server.start()?;
        }
        for index in 0..self.orchestrators.len() {
            self.start_orchestrator(index).await?;
        }
        if plan.shared.is_some() {
            self.ask("an answer of the leader", async |api| {
                api.get::<Value>("/api/v1/workers")
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            })
            .await?;
            let api = &self.first()?.api;
            if !streams::all(api, "").await?.is_empty() {
                return Err(Failure::usage(
                    "bench: the database holds streams already; name an empty one of its own with --database",
                ));
            }
        }
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
            let api = &self.first()?.api;
            api.put("/api/v1/streams", &json!({ "streams": streams })).await?;
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

    /// Starts one, again or for the first time, and waits until it is ready.
    pub(super) async fn start_orchestrator(&mut self, index: usize) -> Result<(), Failure> {
        if let Some(orchestrator) = self.orchestrators.get_mut(index) {
            orchestrator.part.start()?;
        }
        self.ask_at(index, "a ready orchestrator", async |api| {
            let ready = api.get::<Value>("/readyz").await;
            ready.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    fn first(&self) -> Result<&Orchestrator, Failure> {
        self.orchestrators
            .first()
            .ok_or_else(|| Failure::failed("bench: there is no orchestrator"))
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

    /// Asks again and again until the API says what is waited for. A standby sends on to the leader.
    async fn ask(
        &mut self,
        what: &str,
        ask: impl AsyncFn(&Api) -> Result<(), String>,
    ) -> Result<(), Failure> {
        self.ask_at(0, what, ask).await
    }

    /// The same, of one orchestrator.
    pub(super) async fn ask_at(
        &mut self,
        index: usize,
        what: &str,
        ask: impl AsyncFn(&Api) -> Result<(), String>,
    ) -> Result<(), Failure> {
        self.poll(index, what, ASK, ask).await
    }

    /// The same, as often as this.
    pub(super) async fn poll<T>(
        &mut self,
        index: usize,
        what: &str,
        every: Duration,
        ask: impl AsyncFn(&Api) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let orchestrator = self.orchestrators.get(index);
        let api = orchestrator.map(|orchestrator| orchestrator.api.clone());
        let api = api.ok_or_else(|| Failure::failed("bench: there is no such orchestrator"))?;
        loop {
            let last = match ask(&api).await {
                Ok(found) => return Ok(found),
                Err(last) => last,
            };
            self.go_on(what, &last, deadline)?;
            sleep(every).await;
        }
    }

    /// Refuses to wait for what cannot come any more.
    fn go_on(&mut self, what: &str, last: &str, deadline: Instant) -> Result<(), Failure> {
        let orchestrators = self.orchestrators.iter_mut().map(|one| &mut one.part);
        let mut parts: Vec<&mut Part> = orchestrators.chain(&mut self.server).collect();
        for part in &mut parts {
            if let Some(status) = part.ended() {
                return Err(Failure::failed(format!(
                    "bench: {} ended by itself ({status})\n{}",
                    part.name,
                    part.tail()
                )));
            }
        }
        if Instant::now() < deadline {
            return Ok(());
        }
        let tails: Vec<String> = parts.iter().map(|part| part.tail()).collect();
        Err(Failure::failed(format!(
            "bench: {what} did not come to be within {PATIENCE:?}: {last}\n{}",
            tails.join("\n")
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
        for orchestrator in &mut self.orchestrators {
            orchestrator.part.terminate();
            orchestrator.part.join().await;
        }
        Ok(())
    }
}

/// One, or two where they share a message server; each with a data folder of its own.
async fn orchestrators(plan: &Plan, folder: &Path, logs: &Path) -> Result<Vec<Orchestrator>, Failure> {
    let names: &[&str] = match plan.shared {
        Some(_) => &["orchestrator-1", "orchestrator-2"],
        None => &["orchestrator"],
    };
    let mut all = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let address = format!("127.0.0.1:{}", free_port().await?);
        let mut serve = words(&["serve", "--bind", &address, "--data"]);
        // Nothing is left behind by a bench that is killed.
        let mut set = vec![("nats.linger".to_owned(), "0s".to_owned())];
        if plan.shared.is_some() {
            serve.push(folder.join(name).into());
            set.push(("leadership.number".to_owned(), number.to_string()));
        } else {
            serve.push(folder.into());
        }
        for (key, value) in set.iter().chain(&plan.set) {
            serve.extend(words(&["--set", &format!("{key}={value}")]));
        }
        all.push(Orchestrator {
            part: Part::new(name, serve, logs),
            api: Api::new(&format!("http://{address}"))?,
        });
    }
    Ok(all)
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Words as a command line that is split into the same words again.
fn shell_words(words: &[&str]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
        .collect();
    quoted.join(" ")
}

pub(super) async fn free_port() -> Result<u16, Failure> {
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
