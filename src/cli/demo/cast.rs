//! Everybody who takes part in the demo: the radio, the orchestrator, the agents.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::DemoArgs;
use super::audience::Audience;
use super::radio::Radio;
use super::score::Death;
use super::stage::Stage;
use super::wait::PATIENCE;
use crate::api::Api;
use crate::failure::Failure;
use crate::part::Part;

/// The port of an orchestrator's API.
const DEFAULT_PORT: u16 = 8001;
/// The orchestrator's name in tables and logs.
pub(super) const ORCHESTRATOR: &str = "orchestrator";
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// All of them.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) stage: Stage,
    pub(super) radio: Radio,
    pub(super) api: Api,
    pub(super) api_url: String,
    pub(super) folder: PathBuf,
    pub(super) orchestrator: Part,
    pub(super) agents: Vec<Part>,
    /// Agents that died, the one of the story first.
    pub(super) deaths: Vec<Death>,
    /// Whether the story was told to its end.
    pub(super) told: bool,
}

/// Who is to blame when something does not come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    Orchestrator,
    /// The agent with this index.
    Agent(usize),
}

impl Cast {
    pub(super) async fn new(args: &DemoArgs, folder: PathBuf, stage: Stage) -> Result<Self, Failure> {
        let radio = Radio::start(args.channels)
            .await
            .map_err(|error| Failure::failed(format!("demo: the radio cannot be started: {error}")))?;
        let address = format!("127.0.0.1:{}", port(args.port).await?);
        let logs = folder.join("logs");
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut serve = words(&["serve", "--bind", &address, "--data"]);
        serve.push(folder.clone().into());
        // Moved channels may move again soon, and who is back is trusted soon, so that the return of an agent is seen while
        // one watches.
        serve.extend(words(&["--set", "balancer.stream_cooldown=2s"]));
        serve.extend(words(&["--set", "balancer.probation=2s"]));
        // Whatever ends the demo, nothing stays; and agents without a message server are worth seeing.
        serve.extend(words(&["--set", "nats.linger=0s"]));
        let agents = (1..=args.agents)
            .map(|number| {
                let name = format!("agent-{number}");
                let mut agent = words(&["agent", "--id", &name, "--data"]);
                agent.push(folder.clone().into());
                // The radio knows its listeners by what they call themselves.
                let command =
                    format!("ffmpeg -nostdin -loglevel error -user_agent {name} -i {{source}} -f null -");
                agent.extend(words(&["--exec", &command]));
                Part::new(&name, agent, &logs)
            })
            .collect::<Vec<_>>();
        stage.part(ORCHESTRATOR, "not started");
        for agent in &agents {
            stage.part(&agent.name, "not started");
        }
        let api_url = format!("http://{address}");
        Ok(Self {
            stage,
            radio,
            api: Api::new(&api_url)?,
            api_url,
            orchestrator: Part::new(ORCHESTRATOR, serve, &logs),
            agents,
            deaths: Vec::new(),
            told: false,
            folder,
        })
    }

    /// The channels as streams.
    pub(super) fn declaration(&self) -> serde_json::Value {
        let streams: Vec<_> = (1..=self.audience().channels())
            .map(|channel| {
                json!({
                    "name": stream_name(channel),
                    "source": format!("{}/channel/{channel}", self.radio.url()),
                })
            })
            .collect();
        json!({ "streams": streams, "prune": true })
    }

    /// The radio's log.
    pub(super) fn audience(&self) -> &Audience {
        self.radio.audience()
    }

    pub(super) fn agent(&mut self, index: usize) -> Result<&mut Part, Failure> {
        self.agents
            .get_mut(index)
            .ok_or_else(|| Failure::failed(format!("there is no agent {index}")))
    }

    /// Looks again and again until `look` finds what is waited for.
    pub(super) async fn until<T, F>(
        &mut self,
        blame: Blame,
        what: &str,
        mut look: impl FnMut(Api, Audience) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, String>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match look(self.api.clone(), self.radio.audience().clone()).await {
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
    pub(super) fn all_live(&mut self) -> Result<(), Failure> {
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
