//! The server's configuration file and its users.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The orchestrator's user: may do everything in the account.
pub(super) const ORCHESTRATOR: &str = "orchestrator";
/// The workers' user: may speak for workers, and for nobody else.
pub(super) const WORKER: &str = "worker";
/// The user of the system account, which sees connections come and go.
pub(super) const SYSTEM: &str = "system";

/// The users' passwords, kept over restarts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Credentials {
    pub(super) orchestrator: String,
    pub(super) worker: String,
    pub(super) system: String,
}

impl Credentials {
    /// Fresh passwords of 128 random bits each.
    pub(super) fn random() -> Self {
        let password = || format!("{:032x}", rand::random::<u128>());
        Self {
            orchestrator: password(),
            worker: password(),
            system: password(),
        }
    }

    /// Whether they are what [`Self::random`] makes: anything else could break out of the configuration file.
    pub(super) fn are_sound(&self) -> bool {
        let sound = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound(&self.orchestrator) && sound(&self.worker) && sound(&self.system)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// What the file says.
pub(super) struct ServerConfig<'a> {
    /// Folder of the server's files, absolute.
    pub(super) folder: &'a str,
    /// Port, or -1 for any.
    pub(super) port: i32,
    /// What stands before `.heartbeat.…` in subjects.
    pub(super) root: &'a str,
    /// Passwords.
    pub(super) credentials: &'a Credentials,
}

impl ServerConfig<'_> {
    /// The file's text.
    pub(super) fn render(&self) -> String {
        let file = |name: &str| quoted(&format!("{}/{name}", self.folder));
        let user =
            |name: &str, password: &str| format!("user: {}, password: {}", quoted(name), quoted(password));
        let root = self.root;
        let publish = list(&[format!("{root}.heartbeat.>"), "_INBOX.>".to_owned()]);
        let subscribe = list(&[
            format!("{root}.assign.>"),
            format!("{root}.control.>"),
            format!("{root}.logs.>"),
            format!("{root}.leader"),
            "_INBOX.>".to_owned(),
        ]);
        format!(
            "# Written by streamkeeper at each start of the server: changes are lost.\n\
             listen: \"127.0.0.1:{port}\"\n\
             pid_file: {pid}\n\
             log_file: {log}\n\
             ports_file_dir: {ports}\n\
             jetstream {{ store_dir: {jetstream}, max_memory_store: 256MB }}\n\
             system_account: SYS\n\
             accounts {{\n\
             \x20 SYS {{ users: [ {{ {system} }} ] }}\n\
             \x20 STREAMKEEPER {{\n\
             \x20   jetstream: enabled\n\
             \x20   users: [\n\
             \x20     {{ {orchestrator} }}\n\
             \x20     {{ {worker}, permissions: {{ publish: {{ allow: {publish} }}, subscribe: {{ allow: {subscribe} }}, \
             allow_responses: true }} }}\n\
             \x20   ]\n\
             \x20 }}\n\
             }}\n",
            port = self.port,
            pid = file(PID_FILE),
            log = file(LOG_FILE),
            ports = file(PORTS_FOLDER),
            jetstream = file("jetstream"),
            system = user(SYSTEM, &self.credentials.system),
            orchestrator = user(ORCHESTRATOR, &self.credentials.orchestrator),
            worker = user(WORKER, &self.credentials.worker),
        )
    }
}

/// The configuration file's name.
pub(super) const CONFIG_FILE: &str = "nats-server.conf";
/// Where the server writes its process id.
pub(super) const PID_FILE: &str = "nats-server.pid";
/// Where the server logs.
pub(super) const LOG_FILE: &str = "nats-server.log";
/// What the server prints before it logs: mistakes in its configuration.
pub(super) const OUTPUT_FILE: &str = "nats-server.out";
/// Where the server says on which ports it listens.
pub(super) const PORTS_FOLDER: &str = "ports";

fn list(subjects: &[String]) -> String {
    let quoted: Vec<String> = subjects.iter().map(|subject| quoted(subject)).collect();
    format!("[{}]", quoted.join(", "))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a process with this command line runs our configuration file.
pub(super) fn runs(words: &[OsString], folder: &Path) -> bool {
    let config = folder.join(CONFIG_FILE);
    words.iter().any(|word| word == config.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_break_out_of_their_quotes() {
        assert_eq!(quoted(r#"/a "b"\c"#), r#""/a \"b\"\\c""#);
    }

    #[test]
    fn passwords_are_random_hidden_and_checked() {
        let credentials = Credentials::random();
        assert!(credentials.are_sound());
        assert_ne!(credentials, Credentials::random());
        assert_ne!(credentials.orchestrator, credentials.worker);
        assert!(!format!("{credentials:?}").contains(&credentials.worker));
        let worker = "\" } evil".to_owned();
        let broken = Credentials {
            worker,
            ..credentials
        };
        assert!(!broken.are_sound());
    }

    #[test]
    fn only_a_server_with_our_configuration_is_ours() {
        let folder = Path::new("/data/nats");
        let runs = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            runs(&words, folder)
        };
        assert!(runs("nats-server -c /data/nats/nats-server.conf"));
        assert!(!runs("nats-server -c /other/nats/nats-server.conf"));
        assert!(!runs("vi /data/nats/nats-server.conf.old"));
        assert!(!runs(""));
    }
}
