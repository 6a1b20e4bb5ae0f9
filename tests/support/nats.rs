//! A real nats-server for one test.

use std::net::Ipv4Addr;
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
    address: Ipv4Addr,
    port: u16,
    jetstream: bool,
    /// Its place in a cluster.
    member: Vec<String>,
    folder: TempDir,
}

impl NatsServer {
    /// Starts a server without JetStream.
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up.
    pub async fn start() -> Self {
        Self::launch(Ipv4Addr::LOCALHOST, false, Vec::new()).await
    }

    /// Starts a server with JetStream, whose store survives [`Self::restart`].
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up.
    pub async fn start_with_jetstream() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST).await
    }

    /// Starts a server with JetStream at an address.
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up.
    pub async fn start_at(address: Ipv4Addr) -> Self {
        Self::launch(address, true, Vec::new()).await
    }

    /// Starts servers with JetStream, one at each address, that are one cluster.
    ///
    /// # Panics
    /// Panics with a server's log where it does not come up.
    pub async fn cluster(addresses: &[Ipv4Addr]) -> Vec<Self> {
        let routes: Vec<String> = addresses
            .iter()
            .map(|address| format!("nats://{address}:{}", free_port()))
            .collect();
        let mut servers = Vec::new();
        for (address, own) in addresses.iter().zip(&routes) {
            let name = format!("nats-{}", servers.len() + 1);
            let words = [
                "--server_name",
                &name,
                "--cluster_name",
                "tests",
                "--cluster",
                own,
            ];
            let words = words.into_iter().map(ToOwned::to_owned);
            let routes = ["--routes".to_owned(), routes.join(",")];
            servers.push(Self::launch(*address, true, words.chain(routes).collect()).await);
        }
        servers
    }

    async fn launch(address: Ipv4Addr, jetstream: bool, member: Vec<String>) -> Self {
        let folder = TempDir::with_prefix("streamkeeper-nats-").expect("a temporary folder");
        let port = free_port();
        let process = spawn(&folder, address, port, jetstream, &member);
        let mut server = Self {
            process,
            address,
            port,
            jetstream,
            member,
            folder,
        };
        server.ready().await;
        server
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.address, self.port)
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
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
        self.process = spawn(
            &self.folder,
            self.address,
            self.port,
            self.jetstream,
            &self.member,
        );
        self.ready().await;
    }

    /// Kills the server, empties what it kept, and starts it again on the same port.
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up, or its store cannot be removed.
    pub async fn come_back_empty(&mut self) {
        self.process.kill9();
        self.wipe();
        self.restart().await;
    }

    /// Empties what a server kept that was killed.
    ///
    /// # Panics
    /// Panics where its store cannot be removed.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.folder.path().join("jetstream")).expect("the store is there");
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

fn spawn(folder: &TempDir, address: Ipv4Addr, port: u16, jetstream: bool, member: &[String]) -> Process {
    let log = folder.path().join("nats-server.log");
    Process::spawn("nats-server", &find_program("nats-server"), &log, |command| {
        command
            .args(["--addr", &address.to_string(), "--port"])
            .arg(port.to_string())
            .args(member)
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
