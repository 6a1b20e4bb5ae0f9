//! An orchestrator with its own message server, on a folder that outlives it: started, asked, and looked at from outside.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::bench::cluster::free_port;
use crate::failure::Failure;
use crate::part::Part;

/// Longest wait for anything: a million streams take a while in a debug build.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two questions whether it is ready: a part of what is measured.
const ASK: Duration = Duration::from_millis(5);
/// The kernel counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;
const BYTES_PER_KIB: u64 = 1_024;

/// The process.
#[derive(Debug)]
pub(in crate::bench) struct Serve {
    folder: PathBuf,
    api: Api,
    part: Part,
}

impl Serve {
    /// Starts it, and says how long it took to be ready.
    pub(in crate::bench) async fn start(
        folder: &Path,
        database: &str,
        set: &[(String, String)],
    ) -> Result<(Self, Duration), Failure> {
        let address = format!("127.0.0.1:{}", free_port().await?);
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut args = words(&["serve", "--bind", &address, "--database", database, "--data"]);
        args.push(folder.into());
        // Nothing is left behind by a bench that is killed.
        args.extend(words(&["--set", "nats.linger=0s"]));
        for (key, value) in set {
            args.extend(words(&["--set", &format!("{key}={value}")]));
        }
        let mut serve = Self {
            folder: folder.to_owned(),
            api: Api::new(&format!("http://{address}"))?,
            part: Part::new("orchestrator", args, folder),
        };
        let start = Instant::now();
        serve.part.start()?;
        serve
            .until("a ready orchestrator", ASK, async |api| {
                let ready = api.get::<Value>("/readyz").await;
                ready.map(drop).map_err(|error| error.to_string())
            })
            .await?;
        Ok((serve, start.elapsed()))
    }

    pub(in crate::bench) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(in crate::bench) const fn api(&self) -> &Api {
        &self.api
    }

    /// Asks the API until it says what is waited for.
    async fn until(
        &mut self,
        what: &str,
        pause: Duration,
        ask: impl AsyncFn(&Api) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(last) = ask(&self.api).await else {
                return Ok(());
            };
            if let Some(status) = self.part.ended() {
                return Err(Failure::failed(format!(
                    "bench: the orchestrator ended by itself ({status})\n{}",
                    self.part.tail()
                )));
            }
            if Instant::now() > deadline {
                return Err(Failure::failed(format!(
                    "bench: {what} did not come to be within {PATIENCE:?}: {last}\n{}",
                    self.part.tail()
                )));
            }
            sleep(pause).await;
        }
    }

    /// Memory that it has in use, in bytes.
    pub(in crate::bench) fn resident_bytes(&self) -> Result<u64, Failure> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * BYTES_PER_KIB)
            .ok_or_else(|| Failure::failed("bench: the kernel does not say how much memory is in use"))
    }

    /// Processor time that it has used, in seconds.
    pub(in crate::bench) fn cpu_seconds(&self) -> Result<f64, Failure> {
        let text = self.proc("stat")?;
        // Its name may have spaces and ends with the last parenthesis.
        let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        let times = fields.map(|fields| fields.skip(11).take(2).map(str::parse::<f64>));
        let ticks = times.and_then(|times| times.sum::<Result<f64, _>>().ok());
        ticks
            .map(|ticks| ticks / TICKS_PER_SECOND)
            .ok_or_else(|| Failure::failed("bench: the kernel does not say how much time was used"))
    }

    fn proc(&self, file: &str) -> Result<String, Failure> {
        let pid = self.part.pid().unwrap_or_default();
        std::fs::read_to_string(format!("/proc/{pid}/{file}"))
            .map_err(|error| Failure::failed(format!("bench: the orchestrator is gone: {error}")))
    }

    /// Ends it and its message server.
    pub(in crate::bench) async fn end(mut self) {
        self.part.terminate();
        self.part.join().await;
    }
}
