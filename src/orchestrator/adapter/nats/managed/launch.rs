//! One start of the server: port, configuration, command line, waiting until it listens.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::Rng;
use serde::Deserialize;
use streamkeeper_protocol::Subjects;
use tokio::time::Instant;

use super::ManagedError;
use super::config::{CONFIG_FILE, Credentials, LOG_FILE, OUTPUT_FILE, PID_FILE, PORTS_FOLDER, ServerConfig};
use super::files::{failed, lock_file, write_private};
use super::process::Running;

/// How long the former port may be taken before another one is chosen: a server that is just ending frees it.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
/// Where a new port is looked for: below the ports that the system gives to outgoing connections, because those come
/// and go and could sit on ours while the server restarts.
const PORTS: RangeInclusive<u16> = 14_000..=19_999;
/// How many ports are tried before the server chooses by itself.
const MAX_PORTS_TRIED: usize = 100;
/// How often it is looked whether the server is up.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much of the end of a log is quoted, in bytes.
const TAIL_BYTES: u64 = 2_048;
/// A larger log is set aside at the next start, where it replaces the one before.
const MAX_LOG_BYTES: u64 = 8 * 1024 * 1024;

/// Starts the server, each time in the same way.
pub(super) struct Launcher {
    pub(super) program: PathBuf,
    /// Words before the server's command line; see [`super::ManagedOptions::linger`].
    pub(super) linger: Vec<OsString>,
    pub(super) linger_for: Duration,
    /// The server's folder, absolute.
    pub(super) folder: PathBuf,
    pub(super) subjects: Subjects,
    pub(super) credentials: Credentials,
    /// The port, or 0 before the first start if the server is to choose.
    pub(super) port: u16,
    pub(super) timeout: Duration,
}

/// What the server writes when it listens.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl Launcher {
    /// Starts the server and waits until it listens. From then on `port` is its port.
    pub(super) async fn launch(&mut self) -> Result<Running, ManagedError> {
        self.prepare()?;
        let command = self.command()?;
        let mut server = Running::spawn(command)
            .await
            .map_err(|source| ManagedError::Spawn {
                program: self
                    .linger
                    .first()
                    .map_or_else(|| self.program.clone(), PathBuf::from),
                source,
            })?;
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(port) = self.listening() {
                self.port = port;
                return Ok(server);
            }
            if Instant::now() >= deadline {
                return Err(self.not_up(format!("it does not listen after {:?}", self.timeout)));
            }
            if let Ok(status) = tokio::time::timeout(LOOK_EVERY, server.ended()).await {
                return Err(self.not_up(format!("it ended at once ({status})")));
            }
        }
    }

    /// The end of the server's log.
    pub(super) fn tail(&self) -> String {
        let log = tail(&self.folder.join(LOG_FILE));
        let output = tail(&self.folder.join(OUTPUT_FILE));
        format!("{log}{output}").trim_end().to_owned()
    }

    fn not_up(&self, problem: String) -> ManagedError {
        ManagedError::Start {
            problem,
            log: self.folder.join(LOG_FILE),
            tail: self.tail(),
        }
    }

    /// The text of the configuration, for a port or, with 0, any port.
    fn configuration(&self, port: u16) -> Result<String, ManagedError> {
        let not_text = io::Error::other("the path is not UTF-8");
        let folder = self.folder.to_str();
        let folder = folder.ok_or_else(|| failed(&self.folder, "be named in a configuration")(not_text))?;
        let leader = self.subjects.leader();
        let server = ServerConfig {
            folder,
            port: if port == 0 { -1 } else { i32::from(port) },
            root: leader.strip_suffix(".leader").unwrap_or(&leader),
            credentials: &self.credentials,
        };
        Ok(server.render())
    }

    /// Whether the last server was started with the configuration that we would write for that port.
    pub(super) fn is_configured(&self, port: u16) -> bool {
        let written = std::fs::read_to_string(self.folder.join(CONFIG_FILE)).ok();
        written.is_some() && written == self.configuration(port).ok()
    }

    /// Writes the configuration and clears what an earlier server left.
    fn prepare(&self) -> Result<(), ManagedError> {
        let config = self.folder.join(CONFIG_FILE);
        write_private(&config, self.configuration(self.port)?.as_bytes())?;
        let ports = self.folder.join(PORTS_FOLDER);
        for entry in std::fs::read_dir(&ports).map_err(failed(&ports, "read the folder"))? {
            let path = entry.map_err(failed(&ports, "read the folder"))?.path();
            std::fs::remove_file(&path).map_err(failed(&path, "remove the file"))?;
        }
        let _ = std::fs::remove_file(self.folder.join(PID_FILE));
        let log = self.folder.join(LOG_FILE);
        if log.metadata().is_ok_and(|meta| meta.len() > MAX_LOG_BYTES) {
            let aside = self.folder.join(format!("{LOG_FILE}.old"));
            std::fs::rename(&log, aside).map_err(failed(&log, "set the file aside"))?;
        }
        Ok(())
    }

    /// The command line.
    pub(super) fn words(&self) -> Vec<OsString> {
        let mut words = self.linger.clone();
        if !words.is_empty() {
            let time = self.linger_for.as_millis().to_string();
            words.extend([lock_file(&self.folder).into(), time.into(), "--".into()]);
        }
        words.push(self.program.clone().into());
        words.extend(["-c".into(), self.folder.join(CONFIG_FILE).into()]);
        words
    }

    fn command(&self) -> Result<Command, ManagedError> {
        let path = self.folder.join(OUTPUT_FILE);
        let mut file = OpenOptions::new();
        file.create(true).write(true).truncate(true).mode(0o600);
        let output = file.open(&path).map_err(failed(&path, "open the file"))?;
        let errors = output.try_clone().map_err(failed(&path, "open the file"))?;
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C goes to the whole group of the terminal; the server must not end before us.
            .process_group(0);
        Ok(command)
    }

    /// The port on which the server listens, once it does.
    pub(super) fn listening(&self) -> Option<u16> {
        let pid = std::fs::read_to_string(self.folder.join(PID_FILE)).ok()?;
        let entries = std::fs::read_dir(self.folder.join(PORTS_FOLDER)).ok()?;
        let wanted = format!("_{}.ports", pid.trim());
        let file = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().ends_with(&wanted))
            })?;
        // It may be half written: then it is read again in a moment.
        let ports: Ports = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        ports.nats.first()?.rsplit(':').next()?.parse().ok()
    }
}

/// The port of an earlier run where it gets free in time, else a free one; 0 where none was found.
pub(super) async fn choose_port(former: Option<u16>) -> u16 {
    if let Some(port) = former {
        let deadline = Instant::now() + PORT_PATIENCE;
        loop {
            if is_free(port) {
                return port;
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tracing::warn!(
            port,
            "the message server's port is taken by another program; another port is used, workers read it in connect.json"
        );
    }
    let mut random = rand::rng();
    let mut candidates = (0..MAX_PORTS_TRIED).map(|_| random.random_range(PORTS));
    candidates.find(|port| is_free(*port)).unwrap_or(0)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_port_that_stays_taken_is_given_up() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        let chosen = choose_port(Some(taken)).await;
        assert_ne!(chosen, taken);
        assert!(PORTS.contains(&chosen), "{chosen}");
        drop(listener);
        assert_eq!(choose_port(Some(taken)).await, taken);
    }

    #[test]
    fn the_tail_is_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{}end", "x".repeat(5_000))).unwrap();
        let text = tail(file.path());
        assert_eq!(text.len() as u64, TAIL_BYTES);
        assert!(text.ends_with("xend"));
        assert_eq!(tail(Path::new("/no/such/file")), "");
    }
}
