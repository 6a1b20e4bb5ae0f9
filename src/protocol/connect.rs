//! `connect.json`: how workers on the same machine find the bus. The orchestrator writes it (mode 0600), workers
//! read it again at each reconnect, because a managed server may come back on another port.

use serde::{Deserialize, Serialize};

/// File name inside the orchestrator's data folder.
pub const CONNECT_FILE: &str = "connect.json";

/// Contents of the file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// Server URLs without credentials, such as `nats://127.0.0.1:4222`.
    pub urls: Vec<String>,
    /// User for workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password for workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Prefix of all subjects.
    pub prefix: String,
    /// Where the orchestrator's HTTP API answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
}

impl std::fmt::Debug for Connect {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("urls", &self.urls)
            .field("user", &self.user)
            .field("prefix", &self.prefix)
            .field("api_url", &self.api_url)
            .finish_non_exhaustive()
    }
}
