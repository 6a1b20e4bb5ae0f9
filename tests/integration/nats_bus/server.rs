//! A nats-server with a configuration of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// An authority that makes certificates, `ca.pem`, in `folder`.
pub(crate) struct Authority<'a> {
    folder: &'a Path,
    name: &'a str,
}

impl<'a> Authority<'a> {
    /// Makes the authority's own certificate, `NAME.pem`.
    pub(crate) fn new(folder: &'a Path, name: &'a str) -> Self {
        let authority = Self { folder, name };
        authority.make(name, "basicConstraints=critical,CA:TRUE", &[]);
        authority
    }

    /// Makes `NAME.pem` and `NAME-key.pem` for these names.
    pub(crate) fn vouch(&self, name: &str, names: &str) {
        let (cert, key) = (self.path(self.name), self.path(&format!("{}-key", self.name)));
        let extensions = format!("basicConstraints=critical,CA:FALSE\nsubjectAltName={names}");
        self.make(name, &extensions, &["-CA", &cert, "-CAkey", &key]);
    }

    fn path(&self, name: &str) -> String {
        self.folder
            .join(format!("{name}.pem"))
            .to_string_lossy()
            .into_owned()
    }

    fn make(&self, name: &str, extensions: &str, signer: &[&str]) {
        let config = self.folder.join(format!("{name}.cnf"));
        let text = format!(
            "[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=ext\n[dn]\nCN={name}\n[ext]\n{extensions}\n"
        );
        std::fs::write(&config, text).unwrap();
        let output = Command::new(find_program("openssl"))
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "2", "-config"])
            .arg(&config)
            .args([
                "-out",
                &self.path(name),
                "-keyout",
                &self.path(&format!("{name}-key")),
            ])
            .args(signer)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "openssl: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
