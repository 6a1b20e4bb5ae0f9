//! Terms that survive restarts beside the database.

use streamkeeper_protocol::Term;

/// Remembers the highest term that this orchestrator ever took, so that a database that was restored from a backup
/// does not make it take an old one again.
pub trait TermMemory: Send + Sync + 'static {
    /// The remembered term; zero when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read: guessing could take an old term again.
    fn load(&self) -> std::io::Result<Term>;

    /// Remembers a term durably.
    ///
    /// # Errors
    /// When it cannot be written.
    fn save(&self, term: Term) -> std::io::Result<()>;
}
