//! The database of one test's world: what is tested from outside is tested on both kinds.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::postgres::Postgres;

/// The kinds of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    /// The file in the orchestrator's data folder.
    Sqlite,
    /// A database on the PostgreSQL that all tests of one program share.
    Postgresql,
}

/// Runs each of these tests (`async fn name(kind: DatabaseKind)`) on either kind of database.
#[macro_export]
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::database::DatabaseKind::Sqlite).await;
            })+
        }

        mod postgresql {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::database::DatabaseKind::Postgresql).await;
            })+
        }
    };
}

/// A fresh database on the shared server.
#[derive(Debug)]
pub(crate) struct Fresh {
    url: String,
    _server: Arc<Shared>,
}

impl Fresh {
    /// Makes one; starts the server where no other test has it.
    pub(crate) fn new(name: &str) -> Self {
        let server = Shared::get();
        server.postgres.create_database(name);
        Self {
            url: server.postgres.url_of(name),
            _server: server,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// A server for as long as any test needs it. Its own thread starts it and waits, because a server ends with the thread
/// that started it, and tests come and go.
#[derive(Debug)]
struct Shared {
    // First, because fields are dropped in this order.
    postgres: Postgres,
    _thread_waits: SyncSender<()>,
}

static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());

impl Shared {
    fn get() -> Arc<Self> {
        // Whoever comes meanwhile waits for the same server. One that did not start failed its test; the next one tries anew.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start());
        *shared = Arc::downgrade(&started);
        started
    }

    fn start() -> Self {
        let (started, server) = sync_channel(1);
        let (thread_waits, until_dropped) = sync_channel::<()>(0);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            if started.send(runtime.block_on(Postgres::start())).is_ok() {
                // An error says that the server is not needed any more.
                let _ = until_dropped.recv();
            }
        });
        Self {
            postgres: server.recv().expect("PostgreSQL starts; its own words are above"),
            _thread_waits: thread_waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_share_a_server_and_have_databases_of_their_own() {
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| Fresh::new("one"));
            let other = scope.spawn(|| Fresh::new("other"));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(Arc::ptr_eq(&one._server, &other._server));
        assert_ne!(one.url(), other.url());
        // The threads that asked for it are gone, and it goes on.
        assert_eq!(one._server.postgres.sql("SELECT 1"), "1");
    }
}
