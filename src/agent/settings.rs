//! What a user chooses about commands: where their output goes, what they may use.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the output of commands goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// Line by line into the log, target `stream`: passwords of URLs masked, long lines cut, a limited number a second.
    #[default]
    Log,
    /// Nowhere; only the end of stderr is kept, for the reason of a failure.
    Discard,
    /// To the agent's own stderr, as it is: not masked, not limited, and no part of the reason of a failure.
    Inherit,
}

/// What each command may use, with everything that it starts. Needs a control group (version 1 or 2)
/// that the agent may divide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Most memory, in bytes. A command that needs more is killed and started again like any other that ends.
    pub memory_max: Option<u64>,
    /// Most processor time, in processors: 0.5 is half of one. A command that wants more waits.
    pub cpu_max: Option<f64>,
    /// Whether the agent refuses to start where limits cannot be set; else it warns and goes on without.
    pub required: bool,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.memory_max.is_none() && self.cpu_max.is_none()
    }
}

/// A number of bytes as people read it: `200 MiB`.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units
            .into_iter()
            .find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size))
        {
            Some((size, unit)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{} bytes", self.0),
        }
    }
}
