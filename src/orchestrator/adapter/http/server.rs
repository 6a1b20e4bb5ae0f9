//! Binding, running and stopping the servers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::{Compress, from_fn};
use actix_web::{App, web};
use tokio::task::JoinHandle;
use tracing_actix_web::TracingLogger;

use super::access_log::AccessLog;
use super::finish::finish;
use super::{HttpContext, HttpSettings, Shared, probes, routes};

/// Threads of the API.
const API_WORKERS: usize = 2;
/// Most open connections; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// An idle connection is kept for this long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client has so long to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests under way have so long to end when the server stops.
const STOP_TIMEOUT_SECONDS: u64 = 5;
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

/// A running API.
#[derive(Debug)]
pub struct HttpServer {
    addr: SocketAddr,
    probe_addr: Option<SocketAddr>,
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
    let shared = web::Data::new(Shared {
        context,
        fault_injection: settings.fault_injection,
    });
    let api = bind(
        "http.bind",
        settings.bind,
        API_WORKERS,
        shared.clone(),
        routes::api,
    )?;
    let beside = settings
        .probe_bind
        .map(|addr| bind("http.probe_bind", addr, 1, shared.clone(), routes::probes))
        .transpose()?;
    let addr = api.addr;
    let probe_addr = beside.as_ref().map(|bound| bound.addr);
    tracing::info!(%addr, ?probe_addr, "HTTP API answers");
    Ok(HttpServer {
        addr,
        probe_addr,
        servers: std::iter::once(api).chain(beside).map(Bound::run).collect(),
        upkeep: actix_web::rt::spawn(upkeep(shared)),
    })
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
        futures::future::join_all(self.servers.iter().map(|server| server.handle.stop(true))).await;
        for server in self.servers {
            match server.task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the HTTP server ended with an error"),
                Err(error) => tracing::warn!(%error, "the HTTP server's task ended with an error"),
            }
        }
    }
}

/// A server that has its address and does not run yet, so that nothing runs when the next address is taken.
struct Bound {
    addr: SocketAddr,
    server: actix_web::dev::Server,
}

impl Bound {
    fn run(self) -> Running {
        Running {
            handle: self.server.handle(),
            task: actix_web::rt::spawn(self.server),
        }
    }
}

fn bind(
    setting: &'static str,
    addr: SocketAddr,
    workers: usize,
    shared: web::Data<Shared>,
    routes: fn(&mut web::ServiceConfig),
) -> Result<Bound, HttpError> {
    let server = actix_web::HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .configure(routes)
            .default_service(web::to(routes::not_here))
            .wrap(from_fn(finish))
            .wrap(Compress::default())
            .wrap(TracingLogger::<AccessLog>::new())
    })
    .workers(workers)
    .max_connections(MAX_CONNECTIONS / workers)
    .backlog(BACKLOG)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_TIMEOUT)
    .shutdown_timeout(STOP_TIMEOUT_SECONDS)
    .disable_signals()
    .bind(addr)
    .map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::InUse { setting, addr },
        _ => HttpError::Bind {
            setting,
            addr,
            source,
        },
    })?;
    let addr = server.addrs().first().copied().unwrap_or(addr);
    Ok(Bound {
        addr,
        server: server.run(),
    })
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
