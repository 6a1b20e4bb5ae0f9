//! The SDK's handler: one command per stream, under the guard.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use streamkeeper_worker::{Job, Lease, LogFd, Ownership, StreamHandler, WorkerId};
use tokio::sync::watch;

use crate::client::{Guard, Launch, RunEvent};
use crate::template::{CommandTemplate, Values};
use crate::usage::Usage;

/// What the names of the variables for labels begin with.
const LABEL_PREFIX: &str = "STREAMKEEPER_LABEL_";
/// The log target of what commands write, so that a filter can tell it from the agent's own lines.
const OUTPUT: &str = "stream";

/// Runs the same command, filled with its own values, for every stream.
pub(crate) struct ExecHandler {
    pub(crate) guard: Guard,
    pub(crate) worker: WorkerId,
    pub(crate) command: CommandTemplate,
    /// What a command writes when its stream runs; it runs as soon as it is started if there is none.
    pub(crate) ready_line: Option<String>,
    pub(crate) stop_grace: Duration,
    pub(crate) usage: Usage,
}

#[async_trait]
impl StreamHandler for ExecHandler {
    async fn run(&self, job: Job) -> String {
        let values = Values {
            stream: &job.stream,
            epoch: job.epoch,
            source: &job.spec.source,
            labels: &job.spec.labels,
        };
        let args = match self.command.args(values) {
            Ok(args) => args,
            Err(error) => {
                let reason = error.to_string();
                job.log(LogFd::Worker, &reason);
                return reason;
            }
        };
        let launch = Launch {
            name: job.stream.to_string(),
            program: self.command.program().to_owned(),
            args,
            env: environment(&self.worker, values),
            exclusive: job.spec.ownership == Ownership::Exclusive,
        };
        let mut run = self.guard.launch(launch).await;
        let mut _measured = None;
        let mut stopping = false;
        let mut awaited = self.ready_line.as_deref();
        loop {
            tokio::select! {
                event = run.next() => match event {
                    RunEvent::Started { pid } => {
                        tracing::info!(stream = %job.stream, epoch = %job.epoch, pid, "command started");
                        _measured = Some(self.usage.watch(pid, job.meter.clone()));
                        job.log(LogFd::Worker, &format!("command started, pid {pid}"));
                        if awaited.is_none() {
                            job.up().await;
                        }
                    }
                    RunEvent::Line { fd, text } => {
                        tracing::info!(target: OUTPUT, stream = %job.stream, epoch = %job.epoch, fd = fd.as_str(), line = text);
                        job.log(fd.into(), &text);
                        if awaited.take_if(|ready| text.contains(*ready)).is_some() {
                            tracing::info!(stream = %job.stream, epoch = %job.epoch, "command is ready");
                            job.up().await;
                        }
                    }
                    RunEvent::Dropped { lines } => {
                        tracing::warn!(target: OUTPUT, stream = %job.stream, epoch = %job.epoch, dropped = lines,
                            "it writes too much; lines were dropped");
                        job.log_dropped(lines);
                    }
                    RunEvent::Ended { reason } => {
                        tracing::info!(stream = %job.stream, epoch = %job.epoch, %reason, "command ended");
                        job.log(LogFd::Worker, &format!("command ended: {reason}"));
                        return reason;
                    }
                },
                () = job.stop.cancelled(), if !stopping => {
                    stopping = true;
                    run.stop(self.stop_grace).await;
                }
            }
        }
    }

    /// The guard process has the timer: it goes on when this process is frozen.
    fn guard(&self) -> Option<watch::Sender<Option<Lease>>> {
        Some(self.guard.lease())
    }
}

/// What a command learns of its stream.
fn environment(worker: &WorkerId, values: Values<'_>) -> BTreeMap<String, String> {
    let labels = values
        .labels
        .iter()
        .map(|(key, value)| (label_variable(key), value.clone()));
    let own = [
        ("STREAMKEEPER_STREAM", values.stream.to_string()),
        ("STREAMKEEPER_EPOCH", values.epoch.get().to_string()),
        ("STREAMKEEPER_WORKER", worker.to_string()),
        ("STREAMKEEPER_SOURCE", values.source.to_owned()),
    ];
    labels
        .chain(own.map(|(name, value)| (name.to_owned(), value)))
        .collect()
}

/// The label `geo.region` becomes `STREAMKEEPER_LABEL_GEO_REGION`.
fn label_variable(key: &str) -> String {
    let name = key.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    LABEL_PREFIX.chars().chain(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamkeeper_worker::StreamId;

    #[test]
    fn a_command_learns_its_stream() {
        let labels = BTreeMap::from([("geo.region=ä".to_owned(), "north sea".to_owned())]);
        let stream = StreamId::new("radio-7").unwrap();
        let values = Values {
            stream: &stream,
            epoch: serde_json::from_str("4294967298").unwrap(),
            source: "http://h/x",
            labels: &labels,
        };
        let environment = environment(&WorkerId::new("w1").unwrap(), values);
        let expected = [
            ("STREAMKEEPER_EPOCH", "4294967298"),
            ("STREAMKEEPER_LABEL_GEO_REGION__", "north sea"),
            ("STREAMKEEPER_SOURCE", "http://h/x"),
            ("STREAMKEEPER_STREAM", "radio-7"),
            ("STREAMKEEPER_WORKER", "w1"),
        ];
        let found: Vec<(&str, &str)> = environment
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(found, expected);
    }
}
