//! What a change did, as the server says it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::screen::{self, Format, Paint};

/// Names of streams by what became of them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    pub(super) created: Vec<String>,
    pub(super) changed: Vec<String>,
    pub(super) deleted: Vec<String>,
    pub(super) restarted: Vec<String>,
    pub(super) released: Vec<String>,
    pub(super) unchanged: Vec<String>,
    pub(super) warnings: Vec<Warning>,
    pub(super) dry_run: bool,
}

/// A rule that cannot be kept at present.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Warning {
    stream: String,
    field: String,
    detail: String,
}

impl Change {
    pub(super) fn of(raw: &Value) -> Result<Self, Failure> {
        Self::deserialize(raw)
            .map_err(|error| Failure::failed(format!("the server answers a change in another way: {error}")))
    }

    /// Prints it: `changed` is the word for streams that were changed.
    pub(super) fn print(&self, format: Format, changed: &str) -> Result<(), Failure> {
        if format == Format::Json {
            let raw = serde_json::to_value(self)
                .map_err(|error| Failure::failed(format!("the answer cannot be written: {error}")))?;
            return screen::json(&raw);
        }
        for (word, paint, names) in [
            ("created", Paint::Good, &self.created),
            (changed, Paint::Notable, &self.changed),
            ("deleted", Paint::Bad, &self.deleted),
            ("restarted", Paint::Notable, &self.restarted),
            ("released", Paint::Notable, &self.released),
            ("unchanged", Paint::Dim, &self.unchanged),
        ] {
            for name in names {
                screen::line(&format!("{} {name}", paint.out(word)))?;
            }
        }
        self.warn();
        Ok(())
    }

    /// Tells what cannot be kept at present.
    pub(super) fn warn(&self) {
        for Warning {
            stream,
            field,
            detail,
        } in &self.warnings
        {
            screen::complain(&format!("warning: stream {stream}: {field} {detail}"));
        }
    }

    /// One line with numbers.
    pub(super) fn summary(&self) -> String {
        format!(
            "{}{} created, {} changed, {} deleted, {} unchanged",
            if self.dry_run {
                "dry run, nothing was done: "
            } else {
                ""
            },
            self.created.len(),
            self.changed.len(),
            self.deleted.len(),
            self.unchanged.len()
        )
    }
}
