//! A real nats-server for one test.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::{Process, find_program};
use crate::wait;

/// A nats-server on a loopback port, with a folder of its own. It ends when dropped, and with the thread that started it:
/// each test starts its own.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    port: u16,
    jetstream: bool,
    folder: TempDir,
}

impl NatsServer {
    /// Starts a server without JetStream.
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up.
    pub async fn start() -> Self {
        Self::launch(false).await
    }

    /// Starts a server with JetStream, whose store survives [`Self::restart`].
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up.
    pub async fn start_with_jetstream() -> Self {
        Self::launch(true).await
    }

    async fn launch(jetstream: bool) -> Self {
        let folder = TempDir::with_prefix("streamkeeper-nats-").expect("a temporary folder");
        let port = free_port();
        let process = spawn(&folder, port, jetstream);
        let mut server = Self {
            process,
            port,
            jetstream,
            folder,
        };
        server.ready().await;
        server
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port, the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, to stop it (SIGSTOP) or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill9();
    }

    /// Starts the server again on the same port, after killing what still runs.
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up.
    pub async fn restart(&mut self) {
        self.process.kill9();
        self.process = spawn(&self.folder, self.port, self.jetstream);
        self.ready().await;
    }

    /// Kills the server, empties what it kept, and starts it again on the same port.
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up, or its store cannot be removed.
    pub async fn come_back_empty(&mut self) {
        self.process.kill9();
        std::fs::remove_dir_all(self.folder.path().join("jetstream")).expect("the store is there");
        self.restart().await;
    }

    /// The server writes its file of ports once it listens: that it is this server, and no other one on the port, is
    /// certain because the file carries its process id.
    async fn ready(&mut self) {
        let file = self.ports_file();
        let process = &mut self.process;
        let up = wait::until(wait::GENEROUS, async || match process.ended() {
            Some(status) => Ok(Err(format!("it ended: {status}"))),
            None if file.is_file() => Ok(Ok(())),
            None => Err("it does not listen".to_owned()),
        })
        .await
        .and_then(|up| up);
        if let Err(reason) = up {
            panic!(
                "nats-server on port {}: {reason}\n{}",
                self.port,
                self.process.tail()
            );
        }
    }

    fn ports_file(&self) -> PathBuf {
        self.folder
            .path()
            .join(format!("nats-server_{}.ports", self.process.pid()))
    }
}

fn spawn(folder: &TempDir, port: u16, jetstream: bool) -> Process {
    let log = folder.path().join("nats-server.log");
    Process::spawn("nats-server", &find_program("nats-server"), &log, |command| {
        command
            .args(["--addr", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .arg("--ports_file_dir")
            .arg(folder.path());
        if jetstream {
            command
                .arg("--jetstream")
                .arg("--store_dir")
                .arg(folder.path().join("jetstream"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn comes_back_on_its_port() {
        let mut server = NatsServer::start_with_jetstream().await;
        let url = server.url();
        let client = async_nats::connect(&url).await.unwrap();
        assert!(client.server_info().jetstream);
        drop(client);
        server.kill();
        assert!(async_nats::connect(&url).await.is_err());
        server.restart().await;
        assert_eq!(server.url(), url);
        async_nats::connect(&url).await.unwrap();
    }
}
