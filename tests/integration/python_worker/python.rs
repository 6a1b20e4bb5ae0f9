//! The worker in Python as a process, with a virtual environment that is made once and kept under the target folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use streamkeeper_tests::process::Process;
use streamkeeper_tests::wait::{GENEROUS, until};
use streamkeeper_tests::world::World;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/worker/examples/python");
/// Written into an environment that is complete: what it was made of.
const MADE_OF: &str = "made-of.txt";

static PYTHON: OnceLock<PathBuf> = OnceLock::new();

/// The environment's interpreter.
fn python() -> &'static Path {
    PYTHON.get_or_init(|| {
        environment().unwrap_or_else(|problem| panic!("the worker in Python cannot run: {problem}"))
    })
}

/// Makes the environment where it is not there, or was made of other requirements.
fn environment() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-worker");
    let python = folder.join("bin/python");
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    // Test programs run side by side.
    let lock = File::create(folder.with_extension("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let requirements = Path::new(SOURCES).join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)
        .map_err(|error| format!("{}: {error}", requirements.display()))?;
    if std::fs::read_to_string(folder.join(MADE_OF)).is_ok_and(|made_of| made_of == wanted) {
        return Ok(python);
    }
    run(
        Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]),
        "Python 3.11 or later is needed: install the package python3",
    )?;
    run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
        "the module venv is needed: install the package python3-venv",
    )?;
    run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(&requirements),
        "pip could not install nats-py and msgpack; it needs the Python package index, or a mirror of it",
    )?;
    std::fs::write(folder.join(MADE_OF), wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command, advice: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{advice} ({command:?}: {error})"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Err(format!("{advice} ({command:?}: {}\n{said})", output.status))
}

/// A command that the worker runs for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    /// From its environment.
    pub(crate) epoch: String,
}

/// The worker, found in its world under its id.
pub(crate) struct PythonWorker {
    pub(crate) id: String,
    pub(crate) process: Process,
}

impl PythonWorker {
    /// Starts the worker; each stream's source is a line of shell.
    pub(crate) fn start(world: &World, id: &str, args: &[&str]) -> Self {
        let process = world.spawn(id, python(), |command| {
            // The sources are nobody's place for compiled files.
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            command.arg(Path::new(SOURCES).join("worker.py"));
            command.args(["--id", id, "--exec", "sh -c {source}"]).args(args);
        });
        let id = id.to_owned();
        Self { id, process }
    }

    /// What it runs, by stream.
    pub(crate) fn running(&self, world: &World) -> BTreeMap<String, Vec<Running>> {
        let mut running: BTreeMap<String, Vec<Running>> = BTreeMap::new();
        for found in world.living(&self.id) {
            let variable = |name| found.variable(name).map(str::to_owned);
            // Between fork and exec a command still is the worker itself.
            if found.command.contains("worker.py") {
                continue;
            }
            if let (Some(stream), Some(epoch)) =
                (variable("STREAMKEEPER_STREAM"), variable("STREAMKEEPER_EPOCH"))
            {
                let pid = found.pid;
                running.entry(stream).or_default().push(Running { pid, epoch });
            }
        }
        running
    }

    /// Waits until it runs exactly these, one command each.
    pub(crate) async fn runs(&self, world: &World, streams: &[&str]) -> BTreeMap<String, Running> {
        let reached = until(GENEROUS, async || {
            let running = self.running(world);
            let exactly = running.keys().map(String::as_str).eq(streams.iter().copied());
            if exactly && running.values().all(|commands| commands.len() == 1) {
                Ok(running
                    .into_iter()
                    .filter_map(|(stream, commands)| Some((stream, commands.into_iter().next()?)))
                    .collect())
            } else {
                Err(format!("{streams:?} are wanted, these run: {running:?}"))
            }
        });
        reached.await.unwrap_or_else(|reason| panic!("{reason}"))
    }
}
