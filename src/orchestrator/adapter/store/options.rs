//! How many connections there are, and how long each kind of operation may take.

use std::time::Duration;

/// Settings of the connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Most connections at a time; at least two.
    pub connections: u32,
    /// How long making the first connection may take.
    pub connect_timeout: Duration,
    /// How long to wait for a connection of the pool; making a new one is part of it.
    pub acquire_timeout: Duration,
    /// A connection that nobody used for so long is closed.
    pub idle_timeout: Duration,
    /// A connection is closed at this age, however busy it is.
    pub max_lifetime: Duration,
    /// How long a short read may take.
    pub read_timeout: Duration,
    /// How long a write may take before its outcome counts as unknown or failed.
    pub operation_timeout: Duration,
    /// How long reading or writing whole tables may take.
    pub bulk_timeout: Duration,
    /// How long one change of the schema may take.
    pub migration_timeout: Duration,
    /// A transaction that is open for so long is reported.
    pub long_transaction: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections: 4,
            connect_timeout: Duration::from_secs(3),
            acquire_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(1_800),
            read_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
            bulk_timeout: Duration::from_secs(60),
            migration_timeout: Duration::from_secs(600),
            long_transaction: Duration::from_secs(5),
        }
    }
}

/// Kinds of operations; each has limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reads some rows.
    Read,
    /// Writes a batch.
    Write,
    /// Reads or writes whole tables.
    Bulk,
    /// Changes the schema.
    Migration,
}

impl Kind {
    /// Label of metrics, and the word after our name in the server's list of connections.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Bulk => "bulk",
            Self::Migration => "migration",
        }
    }
}

impl StoreOptions {
    /// How long one statement of this kind, and the whole up to the commit, may take.
    pub(super) const fn limit(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Read => self.read_timeout,
            Kind::Write => self.operation_timeout,
            Kind::Bulk => self.bulk_timeout,
            Kind::Migration => self.migration_timeout,
        }
    }

    /// How long a statement of this kind may wait for a lock. Whole tables wait no longer than a batch does: who waits is
    /// in the way of others.
    pub(super) fn lock_limit(&self, kind: Kind) -> Duration {
        self.limit(kind).min(self.operation_timeout) * 3 / 4
    }

    /// After this time the server ends a transaction in which nothing happens, because a program that is paused cannot.
    /// Whoever waits for a lock outlasts an idle holder.
    pub(super) fn idle_limit(&self) -> Duration {
        self.operation_timeout / 2
    }

    /// No transaction of this kind that has a living owner is open for so long: its work and its commit have the limit
    /// once each.
    pub(super) fn end_of_life(&self, kind: Kind) -> Duration {
        self.limit(kind) * 2 + Duration::from_secs(1)
    }
}
