//! Everybody who takes part in the demo: the radio, the orchestrator, the agents.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::DemoArgs;
use super::judge::Judge;
use super::part::Part;
use super::radio::Radio;
use crate::api::Api;
use crate::failure::Failure;

/// The port of an orchestrator's API.
const DEFAULT_PORT: u16 = 8001;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// All of them.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) radio: Radio,
    pub(super) judge: Judge,
    pub(super) api: Api,
    pub(super) api_url: String,
    pub(super) channels: u16,
    pub(super) folder: PathBuf,
    pub(super) orchestrator: Part,
    pub(super) agents: Vec<Part>,
}

/// Who is to blame when something does not come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    Orchestrator,
    /// The agent with this index.
    Agent(usize),
}

impl Cast {
    pub(super) async fn new(args: &DemoArgs, folder: PathBuf) -> Result<Self, Failure> {
        let radio = Radio::start(args.channels)
            .await
            .map_err(|error| Failure::failed(format!("demo: the radio cannot be started: {error}")))?;
        let judge = Judge::new(&radio.url())?;
        let address = format!("127.0.0.1:{}", port(args.port).await?);
        let logs = folder.join("logs");
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut serve = words(&["serve", "--bind", &address, "--data"]);
        serve.push(folder.clone().into());
        // Moved channels may move again soon, so that the return of an agent is seen while one watches.
        serve.extend(words(&["--set", "balancer.stream_cooldown=2s"]));
        let agents = (1..=args.agents)
            .map(|number| {
                let name = format!("agent-{number}");
                let mut agent = words(&["agent", "--id", &name, "--data"]);
                agent.push(folder.clone().into());
                agent.extend(words(&[
                    "--exec",
                    "ffmpeg -nostdin -loglevel error -i {source} -f null -",
                ]));
                Part::new(&name, agent, &logs)
            })
            .collect();
        let api_url = format!("http://{address}");
        Ok(Self {
            judge,
            radio,
            api: Api::new(&api_url)?,
            api_url,
            channels: args.channels,
            orchestrator: Part::new("serve", serve, &logs),
            agents,
            folder,
        })
    }

    /// The channels as streams.
    pub(super) fn declaration(&self) -> serde_json::Value {
        let streams: Vec<_> = (1..=self.channels)
            .map(|channel| {
                json!({
                    "name": stream_name(channel),
                    "source": format!("{}/channel/{channel}", self.radio.url()),
                })
            })
            .collect();
        json!({ "streams": streams, "prune": true })
    }

    /// Looks again and again until `look` finds what is waited for.
    pub(super) async fn until<T, F>(
        &mut self,
        blame: Blame,
        what: &str,
        mut look: impl FnMut(Api, Judge) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, String>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match look(self.api.clone(), self.judge.clone()).await {
                Ok(found) => return Ok(found),
                Err(last) => last,
            };
            self.all_live()?;
            if Instant::now() >= deadline {
                let part = match blame {
                    Blame::Orchestrator => Some(&self.orchestrator),
                    Blame::Agent(index) => self.agents.get(index),
                };
                let tail = part.map_or_else(String::new, Part::tail);
                return Err(Failure::failed(format!(
                    "{what} did not come to be within {PATIENCE:?}: {last}\n{tail}"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Refuses to wait for what cannot come any more.
    fn all_live(&mut self) -> Result<(), Failure> {
        for part in std::iter::once(&mut self.orchestrator).chain(&mut self.agents) {
            if let Some(status) = part.ended() {
                return Err(Failure::failed(format!(
                    "{} ended by itself ({status})\n{}",
                    part.name,
                    part.tail()
                )));
            }
        }
        Ok(())
    }

    /// An orderly end: agents first, so that they can say goodbye.
    pub(super) async fn stop(&mut self) {
        for agent in &self.agents {
            agent.terminate();
        }
        for agent in &mut self.agents {
            agent.join().await;
        }
        self.orchestrator.terminate();
        self.orchestrator.join().await;
    }
}

/// The stream that listens to a channel.
pub(super) fn stream_name(channel: u16) -> String {
    format!("channel-{channel:02}")
}

/// A port for the API that is free now.
async fn port(wanted: Option<u16>) -> Result<u16, Failure> {
    let bind = |port| TcpListener::bind(("127.0.0.1", port));
    let port = wanted.unwrap_or(DEFAULT_PORT);
    let listener = match bind(port).await {
        Ok(listener) => listener,
        Err(error) if wanted.is_some() => {
            return Err(Failure::failed(format!(
                "demo: port {port} cannot be used: {error}; give another one with --port"
            )));
        }
        Err(_) => bind(0)
            .await
            .map_err(|error| Failure::failed(format!("demo: no port is free: {error}")))?,
    };
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(|error| Failure::failed(format!("demo: a port without an address: {error}")))
}
