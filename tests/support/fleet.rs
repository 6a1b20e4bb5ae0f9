//! Orchestrators and agents as real processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;

use rustix::process::Signal;

use crate::http::Api;
use crate::ports::free_port;
use crate::process::Process;
use crate::program::program;
use crate::wait;
use crate::world::World;

/// An orchestrator with a data folder and a port that it keeps.
#[derive(Debug)]
pub struct Orchestrator {
    name: String,
    data: PathBuf,
    port: u16,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    process: Process,
}

impl Orchestrator {
    /// Starts `streamkeeper serve` and waits until it is ready.
    ///
    /// # Panics
    /// Panics where it does not become ready.
    pub async fn start(world: &World, args: &[&str]) -> Self {
        Self::start_as(world, "orchestrator", args, &[]).await
    }

    /// Starts one of several, each with a name and a data folder of its own, with variables in its environment.
    ///
    /// # Panics
    /// Panics where it does not become ready.
    pub async fn start_as(world: &World, name: &str, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let data = match name {
            "orchestrator" => "data".to_owned(),
            other => format!("data-{other}"),
        };
        let data = world.folder().join(data);
        let port = free_port();
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let variables: Vec<(String, String)> = variables.iter().map(owned).collect();
        let process = serve(world, name, &data, port, &args, &variables);
        let mut orchestrator = Self {
            name: name.to_owned(),
            data,
            port,
            args,
            variables,
            process,
        };
        orchestrator.ready().await;
        orchestrator
    }

    /// The data folder.
    pub fn data(&self) -> &PathBuf {
        &self.data
    }

    /// The name under which [`World::living`] finds it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The API.
    pub fn api(&self) -> Api {
        Api::new(self.port)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The exit status, where it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Process ids of the managed message servers that it has started: one, normally.
    pub fn message_servers(&self, world: &World) -> Vec<i32> {
        let found = world.living(&self.name);
        let servers = found.iter().filter(|process| {
            let program = process.command.split(' ').next().unwrap_or_default();
            program.ends_with("/nats-server")
        });
        servers.map(|process| process.pid).collect()
    }

    /// Kills it with SIGKILL.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Ends it with SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait().await
    }

    /// Starts it again on the same folder and port, and waits until it is ready.
    ///
    /// # Panics
    /// Panics where it does not become ready.
    pub async fn restart(&mut self, world: &World) {
        self.process.kill9();
        self.process = serve(
            world,
            &self.name,
            &self.data,
            self.port,
            &self.args,
            &self.variables,
        );
        self.ready().await;
    }

    async fn ready(&mut self) {
        let api = self.api();
        let process = &mut self.process;
        let ready = wait::until(wait::GENEROUS, async || {
            if let Some(status) = process.ended() {
                return Ok(Err(format!("it ended: {status}")));
            }
            api.get("/readyz").await.map(|_| Ok(()))
        })
        .await
        .and_then(|ready| ready);
        if let Err(reason) = ready {
            panic!("the orchestrator is not ready: {reason}");
        }
    }
}

fn serve(
    world: &World,
    name: &str,
    data: &PathBuf,
    port: u16,
    args: &[String],
    variables: &[(String, String)],
) -> Process {
    world.spawn(name, program(), |command| {
        command
            .envs(variables.iter().cloned())
            .arg("serve")
            .arg("--data")
            .arg(data)
            .arg("--bind")
            .arg(format!("127.0.0.1:{port}"))
            .args(["--log", "info,streamkeeper=debug"])
            .args(
                world
                    .database_url()
                    .into_iter()
                    .flat_map(|url| ["--database", url]),
            )
            .args(args);
    })
}

/// An agent that keeps its id and state folder over restarts.
#[derive(Debug)]
pub struct Agent {
    id: String,
    args: Vec<String>,
    process: Process,
}

impl Agent {
    /// Starts `streamkeeper agent` with `args` besides its id and state folder.
    pub fn start(world: &World, id: &str, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Self {
            process: join(world, id, &args),
            id: id.to_owned(),
            args,
        }
    }

    /// The worker's id, and the name under which [`World::living`] finds it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills the agent alone, with SIGKILL.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Ends it with SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait().await
    }

    /// Starts it again, as the same worker.
    pub fn restart(&mut self, world: &World) {
        self.process.kill9();
        self.process = join(world, &self.id, &self.args);
    }

    /// Process ids of the commands that it runs, by stream.
    pub fn commands(&self, world: &World) -> BTreeMap<String, Vec<i32>> {
        let mut commands: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for process in world.living(&self.id) {
            // Between fork and exec a command still is the program itself.
            if process.command.contains(" tether ") {
                continue;
            }
            if let Some(stream) = process.variable("STREAMKEEPER_STREAM") {
                commands.entry(stream.to_owned()).or_default().push(process.pid);
            }
        }
        commands
    }
}

fn join(world: &World, id: &str, args: &[String]) -> Process {
    world.spawn(id, program(), |command| {
        command
            .args(["agent", "--id", id, "--state"])
            .arg(world.folder().join(format!("state-{id}")))
            .args(args);
    })
}
