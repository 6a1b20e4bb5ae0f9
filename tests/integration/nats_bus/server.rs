//! A nats-server with a configuration of the test's own.

use std::path::{Path, PathBuf};

use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::process::{Process, find_program};
use streamkeeper_tests::wait::{GENEROUS, until};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A server on loopback. It ends when dropped.
pub(crate) struct Server {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Server {
    /// Starts a server. `{folder}` in its configuration becomes its folder.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_in(TempDir::with_prefix("streamkeeper-nats-").unwrap(), config).await
    }

    /// As [`Self::start`], in a folder that holds files for it already.
    pub(crate) async fn start_in(folder: TempDir, config: &str) -> Self {
        let port = free_port();
        configure(folder.path(), port, config);
        let process = spawn(folder.path());
        let mut server = Self {
            process,
            port,
            folder,
        };
        server.listens().await;
        server
    }

    /// Starts a server with JetStream.
    pub(crate) async fn with_jetstream() -> Self {
        Self::start("jetstream { store_dir: \"{folder}/jetstream\" }").await
    }

    /// Where clients connect without TLS.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The same without scheme.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A file in the server's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Kills the server with SIGKILL, empties what it kept, and starts it again on the same port.
    pub(crate) async fn come_back_empty(&mut self) {
        self.process.kill9();
        std::fs::remove_dir_all(self.file("jetstream")).unwrap();
        self.process = spawn(self.folder.path());
        self.listens().await;
    }

    /// Kills the server and starts it again on the same port with another configuration.
    pub(crate) async fn come_back_as(&mut self, config: &str) {
        self.process.kill9();
        configure(self.folder.path(), self.port, config);
        self.process = spawn(self.folder.path());
        self.listens().await;
    }

    async fn listens(&mut self) {
        let address = self.address();
        let listens = until(GENEROUS, async || {
            if let Some(status) = self.process.ended() {
                return Ok(Err(format!("it ended: {status}")));
            }
            let connected = TcpStream::connect(&address).await;
            connected.map(|_| Ok(())).map_err(|error| error.to_string())
        })
        .await
        .and_then(|listens| listens);
        if let Err(reason) = listens {
            panic!("nats-server at {address}: {reason}\n{}", self.process.tail());
        }
    }
}

fn configure(folder: &Path, port: u16, config: &str) {
    let config = config.replace("{folder}", &folder.to_string_lossy());
    let text = format!("listen: \"127.0.0.1:{port}\"\n{config}\n");
    std::fs::write(folder.join("server.conf"), text).unwrap();
}

fn spawn(folder: &Path) -> Process {
    let log = folder.join("server.log");
    Process::spawn("nats-server", &find_program("nats-server"), &log, |command| {
        command.arg("-c").arg(folder.join("server.conf"));
    })
}
