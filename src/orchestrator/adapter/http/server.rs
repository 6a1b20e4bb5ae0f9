//! Binding, running and stopping the servers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::KeepAlive;
use actix_web::middleware::{Compress, from_fn};
use actix_web::{App, web};
use tokio::net::TcpSocket;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_actix_web::TracingLogger;

use super::access_log::AccessLog;
use super::audit::audit;
use super::event_stream::MAX_READERS;
use super::finish::finish;
use super::follow::MAX_FOLLOWERS;
use super::leader::to_the_leader;
use super::{HttpContext, HttpSettings, Shared, TimeLimits, probes, routes, starting};
use crate::port::Start;

/// Threads of the API.
const API_WORKERS: usize = 2;
/// Most open connections; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// An idle connection is kept for this long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Requests under way have so long to end when the server stops.
const STOP_TIMEOUT_SECONDS: u64 = 5;
/// A server that takes no more connections has answered those that it has taken within this time.
const RETIRE_AFTER: Duration = Duration::from_secs(1);
/// How often histograms are tidied, so that they do not grow where nobody reads the metrics, and the database is asked for
/// a sign of life.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Why the API does not answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Somebody else has the address.
    #[error(
        "{setting}: address {addr} is in use; stop the program that has it, or write another address in {setting}"
    )]
    InUse {
        /// The setting.
        setting: &'static str,
        /// Its value.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("{setting}: cannot listen on {addr}; write an address of this machine in {setting}")]
    Bind {
        /// The setting.
        setting: &'static str,
        /// Its value.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Addresses that are ours. Whoever connects waits until somebody answers there.
#[derive(Debug)]
pub struct BoundHttp {
    fault_injection: bool,
    time_limits: TimeLimits,
    api: Listener,
    beside: Option<Listener>,
}

/// Answers on the addresses while the process starts.
#[derive(Debug)]
pub struct StartingHttp {
    servers: Vec<Running>,
}

/// A running API.
#[derive(Debug)]
pub struct HttpServer {
    addr: SocketAddr,
    probe_addr: Option<SocketAddr>,
    closing: CancellationToken,
    servers: Vec<Running>,
    upkeep: JoinHandle<()>,
}

#[derive(Debug)]
struct Running {
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

/// Binds the addresses and answers on them from now on, on the current actix system.
///
/// # Errors
/// When an address cannot be bound; nothing runs then.
pub fn start(settings: HttpSettings, context: HttpContext) -> Result<HttpServer, HttpError> {
    BoundHttp::bind(settings)?.serve(context)
}

impl BoundHttp {
    /// Takes the addresses, on the current runtime.
    ///
    /// # Errors
    /// When one of them cannot be had.
    pub fn bind(settings: HttpSettings) -> Result<Self, HttpError> {
        let beside = settings.probe_bind;
        let head_timeout = settings.time_limits.head;
        Ok(Self {
            fault_injection: settings.fault_injection,
            time_limits: settings.time_limits,
            api: Listener::bind("http.bind", settings.bind, head_timeout)?,
            beside: beside
                .map(|addr| Listener::bind("http.probe_bind", addr, head_timeout))
                .transpose()?,
        })
    }

    /// The API's address, with the port that was taken.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.api.addr
    }

    /// Answers that the process still starts, on the current actix system.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn starting(&self, start: watch::Receiver<Start>) -> Result<StartingHttp, HttpError> {
        let data = web::Data::new(start);
        let mut servers = Vec::new();
        for listener in std::iter::once(&self.api).chain(&self.beside) {
            // Whoever keeps a connection would never hear of the start's end.
            let server = listener.server(1, KeepAlive::Disabled, data.clone(), starting::routes)?;
            servers.push(Running::of(server));
        }
        Ok(StartingHttp { servers })
    }

    /// Answers for good, on the current actix system.
    ///
    /// # Errors
    /// When the system refuses it; nothing runs then.
    pub fn serve(self, context: HttpContext) -> Result<HttpServer, HttpError> {
        let closing = CancellationToken::new();
        let shared = web::Data::new(Shared {
            context,
            fault_injection: self.fault_injection,
            time_limits: self.time_limits,
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            event_readers: Arc::new(Semaphore::new(MAX_READERS)),
            closing: closing.clone(),
        });
        let keep_alive = KeepAlive::Timeout(KEEP_ALIVE);
        let mut servers = vec![
            self.api
                .server(API_WORKERS, keep_alive, shared.clone(), routes::api)?,
        ];
        if let Some(beside) = &self.beside {
            servers.push(beside.server(1, keep_alive, shared.clone(), routes::probes)?);
        }
        let addr = self.api.addr;
        let probe_addr = self.beside.as_ref().map(|listener| listener.addr);
        tracing::info!(%addr, ?probe_addr, "HTTP API answers");
        Ok(HttpServer {
            addr,
            probe_addr,
            closing,
            servers: servers.into_iter().map(Running::of).collect(),
            upkeep: actix_web::rt::spawn(upkeep(shared)),
        })
    }
}

impl StartingHttp {
    /// Takes no more connections. It stops a moment later: a server that stops drops those that it has taken and not yet
    /// looked at.
    pub async fn retire(self) {
        for server in &self.servers {
            server.handle.pause().await;
        }
        actix_web::rt::spawn(async move {
            tokio::time::sleep(RETIRE_AFTER).await;
            stop(self.servers).await;
        });
    }
}

impl HttpServer {
    /// The API's address, with the port that was taken.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address for probes and metrics alone.
    #[must_use]
    pub const fn probe_addr(&self) -> Option<SocketAddr> {
        self.probe_addr
    }

    /// Takes no more connections, lets requests under way end for up to 5 s, and stops.
    pub async fn stop(self) {
        self.upkeep.abort();
        self.closing.cancel();
        stop(self.servers).await;
    }
}

async fn stop(servers: Vec<Running>) {
    futures::future::join_all(servers.iter().map(|server| server.handle.stop(true))).await;
    for server in servers {
        match server.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the HTTP server ended with an error"),
            Err(error) => tracing::warn!(%error, "the HTTP server's task ended with an error"),
        }
    }
}

impl Running {
    fn of(server: Server) -> Self {
        Self {
            handle: server.handle(),
            task: actix_web::rt::spawn(server),
        }
    }
}

/// An address that is ours, with the port that was taken.
#[derive(Debug)]
struct Listener {
    setting: &'static str,
    addr: SocketAddr,
    head_timeout: Duration,
    socket: TcpListener,
}

impl Listener {
    fn bind(setting: &'static str, addr: SocketAddr, head_timeout: Duration) -> Result<Self, HttpError> {
        let bind = || -> io::Result<Self> {
            let socket = match addr {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // Connections of an earlier run may still be dying there.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let socket = socket.listen(BACKLOG)?.into_std()?;
            let addr = socket.local_addr()?;
            Ok(Self {
                setting,
                addr,
                head_timeout,
                socket,
            })
        };
        bind().map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => HttpError::InUse { setting, addr },
            _ => HttpError::Bind {
                setting,
                addr,
                source,
            },
        })
    }

    /// A server on this address, which does not run yet. Another one may answer there as well.
    fn server<T: Send + Sync + 'static>(
        &self,
        workers: usize,
        keep_alive: KeepAlive,
        data: web::Data<T>,
        routes: fn(&mut web::ServiceConfig),
    ) -> Result<Server, HttpError> {
        let failed = |source| HttpError::Bind {
            setting: self.setting,
            addr: self.addr,
            source,
        };
        let server = actix_web::HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .configure(routes)
                .wrap(from_fn(audit))
                .wrap(from_fn(to_the_leader))
                .wrap(from_fn(finish))
                .wrap(Compress::default())
                .wrap(TracingLogger::<AccessLog>::new())
        })
        .workers(workers)
        .max_connections(MAX_CONNECTIONS / workers)
        .keep_alive(keep_alive)
        .client_request_timeout(self.head_timeout)
        .shutdown_timeout(STOP_TIMEOUT_SECONDS)
        .disable_signals();
        let socket = self.socket.try_clone().map_err(failed)?;
        Ok(server.listen(socket).map_err(failed)?.run())
    }
}

/// Scrapes ask nobody and wait for nobody, so somebody else has to look after the database.
async fn upkeep(shared: web::Data<Shared>) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.context.metrics.run_upkeep();
        probes::database(&shared).await;
    }
}
