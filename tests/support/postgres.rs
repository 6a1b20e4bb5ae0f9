//! A real PostgreSQL for one test.

use std::fmt::Write as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::{Process, find_program};
use crate::wait;

/// Debian keeps one folder per version there, and none of them on the PATH.
const VERSIONS: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root; Debian's package makes this user for it.
const SYSTEM_USER: &str = "postgres";

/// The superuser of the server.
const SUPERUSER: &str = "postgres";
/// The user that owns the database.
const USER: &str = "keeper";
const PASSWORD: &str = "keeper-secret";
const DATABASE: &str = "streams";

/// A PostgreSQL on a loopback port that it keeps, with a folder of its own, one user and one database. It ends when
/// dropped, and with the thread that started it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    folder: TempDir,
    owner: Option<(u32, u32)>,
}

impl Postgres {
    /// Makes a database and starts its server. It does not flush to disk: the machine does not crash, only the server.
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up.
    pub async fn start() -> Self {
        Self::start_on(TempDir::with_prefix("streamkeeper-postgres-").expect("a temporary folder")).await
    }

    /// The same, with its data in this folder.
    ///
    /// # Panics
    /// As [`Postgres::start`] does.
    pub async fn start_on(folder: TempDir) -> Self {
        let owner = owner();
        if let Some((uid, gid)) = owner {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may give a folder away");
        }
        let mut initdb = command(&tool("initdb"), owner);
        initdb.arg("--pgdata").arg(folder.path().join("data")).args([
            "--no-sync",
            "--no-instructions",
            "--no-locale",
            "--encoding=UTF8",
            // Through the socket, which only this user reaches, nobody needs a password.
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--username",
            SUPERUSER,
        ]);
        run("initdb", &mut initdb);
        let port = free_port();
        let process = spawn(folder.path(), port, owner);
        let mut server = Self {
            process,
            port,
            folder,
            owner,
        };
        server.ready("postgres").await;
        server.admin(
            "postgres",
            &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"),
        );
        server.create_database(DATABASE);
        server
    }

    /// Where clients connect, password included.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The same server, another database.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The password in [`Self::url`]: no log may hold it.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The port, the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a program of PostgreSQL on this machine, such as `pg_dump`, as an operator would.
    ///
    /// # Panics
    /// Panics with what it says where it fails.
    pub fn program(name: &str, args: &[&str]) {
        run(name, Command::new(tool(name)).args(args));
    }

    /// Makes the server offer TLS with the certificate `server.pem` of a folder, and ask for one of `ca.pem` where
    /// `host` in `pg_hba.conf` says so. Clients in the clear are refused.
    ///
    /// # Panics
    /// Panics where a file cannot be written, or with what the server says.
    pub fn offer_tls(&self, certificates: &Path, host: &str) {
        let data = self.folder.path().join("data");
        for name in ["ca.pem", "server.pem", "server-key.pem"] {
            let copy = data.join(name);
            std::fs::copy(certificates.join(name), &copy).expect("a certificate");
            let owned = self.owner.map(|(uid, gid)| chown(&copy, Some(uid), Some(gid)));
            owned.transpose().expect("root may give a file away");
        }
        std::fs::write(
            data.join("pg_hba.conf"),
            format!("local all all trust\nhostssl all all 127.0.0.1/32 {host}\n"),
        )
        .expect("the server's list of hosts");
        for setting in [
            "ssl = on",
            "ssl_ca_file = 'ca.pem'",
            "ssl_cert_file = 'server.pem'",
            "ssl_key_file = 'server-key.pem'",
        ] {
            self.sql(&format!("ALTER SYSTEM SET {setting}"));
        }
        self.sql("SELECT pg_reload_conf()");
    }

    /// The process, to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Creates a database that belongs to the user of [`Self::url`].
    ///
    /// # Panics
    /// Panics with what the server says where it does not.
    pub fn create_database(&self, name: &str) {
        self.admin("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
    }

    /// Runs SQL as superuser in the database of [`Self::url`], and returns the rows, columns parted by `|`.
    ///
    /// # Panics
    /// Panics with what the server says where it fails.
    pub fn sql(&self, sql: &str) -> String {
        self.admin(DATABASE, sql)
    }

    /// Ends the server orderly: clients are cut off, what was committed is on disk.
    ///
    /// # Panics
    /// Panics with the server's log where it does not end.
    pub async fn stop(&mut self) {
        // SIGINT is a "fast" shutdown.
        self.process.signal(Signal::INT);
        self.process.wait().await;
    }

    /// Kills the server and all its children with SIGKILL.
    pub fn kill(&mut self) {
        let children = self.children();
        self.process.kill9();
        for child in children {
            // It may have ended by itself, which is what is wanted.
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// Stops every process of the server in its tracks (SIGSTOP), or lets them go on (SIGCONT).
    pub fn freeze(&mut self, signal: Signal) {
        for process in self.children() {
            // It may have ended by itself.
            let _ = kill_process(process, signal);
        }
        self.process.signal(signal);
    }

    /// Whether the server runs, as far as its first process shows.
    pub fn lives(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Starts the server again on the same port and data, after killing what still runs.
    ///
    /// # Panics
    /// Panics with the server's log where it does not come up.
    pub async fn start_again(&mut self) {
        self.kill();
        self.process = spawn(self.folder.path(), self.port, self.owner);
        self.ready(DATABASE).await;
    }

    fn children(&mut self) -> Vec<Pid> {
        if self.process.ended().is_some() {
            return Vec::new();
        }
        let pid = self.process.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        list.unwrap_or_default()
            .split_whitespace()
            .filter_map(|child| Pid::from_raw(child.parse().ok()?))
            .collect()
    }

    async fn ready(&mut self, database: &str) {
        let (folder, port, owner) = (self.folder.path().to_owned(), self.port, self.owner);
        let process = &mut self.process;
        let up = wait::until(wait::GENEROUS, async || {
            if let Some(status) = process.ended() {
                return Ok(Err(format!("it ended: {status}")));
            }
            // The socket lies in this server's own folder: no other server can answer.
            let mut psql = psql(&folder, port, owner, database, "SELECT 1");
            let output = psql.output().map_err(|error| error.to_string())?;
            if output.status.success() {
                Ok(Ok(()))
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        })
        .await
        .and_then(|up| up);
        if let Err(reason) = up {
            panic!("postgres on port {port}: {reason}\n{}", self.process.tail());
        }
    }

    fn admin(&self, database: &str, sql: &str) -> String {
        let mut psql = psql(self.folder.path(), self.port, self.owner, database, sql);
        run("psql", &mut psql)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn psql(folder: &Path, port: u16, owner: Option<(u32, u32)>, database: &str, sql: &str) -> Command {
    let mut psql = command(&tool("psql"), owner);
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
        .args(["--set", "ON_ERROR_STOP=1", "--username", SUPERUSER])
        .arg("--host")
        .arg(folder)
        .arg("--port")
        .arg(port.to_string())
        .args(["--dbname", database, "--command", sql]);
    psql
}

fn spawn(folder: &Path, port: u16, owner: Option<(u32, u32)>) -> Process {
    let server = tool("postgres");
    let prefix = prefix(owner);
    let program = prefix.first().map_or_else(|| server.clone(), PathBuf::from);
    Process::spawn("postgres", &program, &folder.join("postgres.log"), |command| {
        if !prefix.is_empty() {
            // Changing the user takes back what ends the server with its test.
            command
                .args(&prefix[1..])
                .args(["--pdeathsig", "KILL", "--"])
                .arg(&server);
        }
        command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
        command.args(["-h", "127.0.0.1", "-p"]).arg(port.to_string());
        for setting in [
            "fsync=off",
            "full_page_writes=off",
            "max_connections=40",
            "log_statement=none",
        ] {
            command.args(["-c", setting]);
        }
    })
}

/// A command that runs as the user whose database it is.
fn command(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut words = prefix(owner).into_iter();
    let mut command = match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg("--").arg(program);
            command
        }
        None => Command::new(program),
    };
    command.current_dir("/");
    command
}

/// The words before a program that make it run as that user.
fn prefix(owner: Option<(u32, u32)>) -> Vec<String> {
    let Some((uid, gid)) = owner else {
        return Vec::new();
    };
    let setpriv = find_program("setpriv").to_string_lossy().into_owned();
    let mut words = vec![setpriv];
    for (flag, id) in [("--reuid", uid), ("--regid", gid)] {
        words.extend([flag.to_owned(), id.to_string()]);
    }
    words.push("--clear-groups".to_owned());
    words
}

/// User and group of [`SYSTEM_USER`], where this process is root.
fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("a list of users");
    let line = users
        .lines()
        .find(|line| line.starts_with(&format!("{SYSTEM_USER}:")))
        .unwrap_or_else(|| panic!("there is no user {SYSTEM_USER}: run `make setup`"));
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("an id"));
    fields.next().zip(fields.next())
}

/// A program of PostgreSQL, of the newest version that is installed.
fn tool(name: &str) -> PathBuf {
    let newest = std::fs::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| program_of(*version, name).is_file())
        .max();
    newest.map_or_else(|| find_program(name), |version| program_of(version, name))
}

fn program_of(version: u32, name: &str) -> PathBuf {
    Path::new(VERSIONS)
        .join(version.to_string())
        .join("bin")
        .join(name)
}

#[track_caller]
fn run(name: &str, command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));
        panic!("{name}: {}: {said}", output.status);
    }
    said.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_what_was_committed_whatever_ends_it() {
        let mut server = Postgres::start().await;
        let url = server.url();
        server.sql("CREATE TABLE kept (n int)");
        server.sql("INSERT INTO kept VALUES (1)");
        server.kill();
        assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.start_again().await;
        server.sql("INSERT INTO kept VALUES (2)");
        server.stop().await;
        server.start_again().await;
        assert_eq!(server.url(), url);
        assert_eq!(server.sql("SELECT n FROM kept ORDER BY n"), "1\n2");
    }
}
