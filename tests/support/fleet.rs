//! Orchestrators and agents as real processes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;

use crate::http::Api;
use crate::ports::free_port;
use crate::process::Process;
use crate::program::program;
use crate::wait;
use crate::world::World;

/// Where a process runs, and in which surroundings: by default here, as everything else.
#[derive(Debug, Clone)]
pub struct Place {
    /// The address that it listens on.
    pub address: Ipv4Addr,
    /// Words before its command: a program that becomes it.
    pub before: Vec<String>,
    /// Its variables.
    pub variables: Vec<(String, String)>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            before: Vec::new(),
            variables: Vec::new(),
        }
    }
}

impl Place {
    /// Starts the program with `args` there.
    fn spawn(&self, world: &World, name: &str, args: &[String]) -> Process {
        let words = self.before.iter().map(PathBuf::from);
        let words: Vec<PathBuf> = words.chain([program().clone()]).collect();
        world.spawn(name, &words[0], |command| {
            command
                .args(&words[1..])
                .envs(self.variables.iter().cloned())
                .args(args);
        })
    }
}

/// An orchestrator with a data folder and a port that it keeps.
#[derive(Debug)]
pub struct Orchestrator {
    name: String,
    data: PathBuf,
    port: u16,
    args: Vec<String>,
    place: Place,
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
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let place = Place {
            variables: variables.iter().map(owned).collect(),
            ..Place::default()
        };
        Self::start_in(world, name, place, args).await
    }

    /// Starts one somewhere.
    ///
    /// # Panics
    /// Panics where it does not become ready.
    pub async fn start_in(world: &World, name: &str, place: Place, args: &[&str]) -> Self {
        let data = match name {
            "orchestrator" => "data".to_owned(),
            other => format!("data-{other}"),
        };
        let data = world.folder().join(data);
        let port = free_port();
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let process = serve(world, name, &data, port, &args, &place);
        let mut orchestrator = Self {
            name: name.to_owned(),
            data,
            port,
            args,
            place,
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
        Api::at(self.place.address, self.port)
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
        self.launch(world);
        self.ready().await;
    }

    /// Starts it again on the same folder and port, and does not wait.
    pub fn launch(&mut self, world: &World) {
        self.process.kill9();
        self.process = serve(world, &self.name, &self.data, self.port, &self.args, &self.place);
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

fn serve(world: &World, name: &str, data: &Path, port: u16, args: &[String], place: &Place) -> Process {
    let mut words = vec![
        "serve".to_owned(),
        "--data".to_owned(),
        data.to_string_lossy().into_owned(),
        "--bind".to_owned(),
        format!("{}:{port}", place.address),
        "--log".to_owned(),
        "info,streamkeeper=debug".to_owned(),
    ];
    if let Some(url) = world.database_url() {
        words.extend(["--database".to_owned(), url.to_owned()]);
    }
    words.extend(args.iter().cloned());
    place.spawn(world, name, &words)
}

/// An agent that keeps its id and state folder over restarts.
#[derive(Debug)]
pub struct Agent {
    id: String,
    args: Vec<String>,
    place: Place,
    process: Process,
}

impl Agent {
    /// Starts `streamkeeper agent` with `args` besides its id and state folder.
    pub fn start(world: &World, id: &str, args: &[&str]) -> Self {
        Self::start_in(world, id, Place::default(), args)
    }

    /// Starts one somewhere.
    pub fn start_in(world: &World, id: &str, place: Place, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Self {
            process: join(world, id, &args, &place),
            id: id.to_owned(),
            args,
            place,
        }
    }

    /// Where it runs; a change counts from the next start on.
    pub fn place(&mut self) -> &mut Place {
        &mut self.place
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
        self.process = join(world, &self.id, &self.args, &self.place);
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

fn join(world: &World, id: &str, args: &[String], place: &Place) -> Process {
    let state = world.folder().join(format!("state-{id}"));
    let mut words: Vec<String> = ["agent", "--id", id, "--state"].map(ToOwned::to_owned).into();
    words.push(state.to_string_lossy().into_owned());
    words.extend(args.iter().cloned());
    place.spawn(world, id, &words)
}
