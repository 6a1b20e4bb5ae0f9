//! The machine: data folder, room, files, ports, clocks.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use streamkeeper_orchestrator::config::Config;

use super::Finding;

/// Below this room is worth a word.
const LITTLE_ROOM: u64 = 1 << 30;
/// Below this nothing can be relied on.
const NO_ROOM: u64 = 64 << 20;
/// Each connection, command and log is a file.
const FEW_FILES: u64 = 4_096;

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![folder(&config.data_dir)];
    findings.extend(room(&config.data_dir));
    findings.push(files());
    findings.push(port("http.bind", config.http.bind));
    findings.extend(config.http.probe_bind.map(|bind| port("http.probe_bind", bind)));
    findings.push(clocks());
    findings
}

fn folder(data: &Path) -> Finding {
    const AREA: &str = "data folder";
    let shown = data.display();
    if !data.exists() {
        return Finding::ok(AREA, format!("{shown} is not there yet; `serve` makes it"));
    }
    match tempfile::tempfile_in(data) {
        Ok(_) => Finding::ok(AREA, format!("{shown} can be written")),
        Err(error) => Finding::error(
            AREA,
            format!("{shown} cannot be written: {error}"),
            "make it writable for this user, or choose another one with --data",
        ),
    }
}

/// Of the nearest folder that is there.
fn room(data: &Path) -> Option<Finding> {
    const AREA: &str = "disk";
    let there = data
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("."));
    let found = statvfs(there).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let shown = format!("{} MB are free at {}", free >> 20, there.display());
    let advice = "make room: the database, the message server and logs write there";
    Some(match free {
        ..NO_ROOM => Finding::error(AREA, shown, advice),
        NO_ROOM..LITTLE_ROOM => Finding::warning(AREA, shown, advice),
        _ => Finding::ok(AREA, shown),
    })
}

fn files() -> Finding {
    const AREA: &str = "file limit";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < FEW_FILES => Finding::warning(
            AREA,
            format!("this user may open {limit} files"),
            "raise it for many workers: `ulimit -n 65536`, or LimitNOFILE=65536 in the systemd unit",
        ),
        limit => Finding::ok(
            AREA,
            limit.map_or_else(
                || "there is none".to_owned(),
                |limit| format!("{limit} files may be open"),
            ),
        ),
    }
}

fn port(name: &str, address: std::net::SocketAddr) -> Finding {
    const AREA: &str = "ports";
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(AREA, format!("{name} {address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Finding::warning(
            AREA,
            format!("{name} {address} is in use"),
            "it is right where `serve` runs already (`streamkeeper status`); otherwise choose another port",
        ),
        Err(error) => Finding::error(
            AREA,
            format!("{name} {address} cannot be used: {error}"),
            "name an address of this machine",
        ),
    }
}

/// Leases count on a clock that goes on while the machine sleeps.
fn clocks() -> Finding {
    let of = |clock| {
        let time = clock_gettime(clock);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        )
    };
    let slept = of(ClockId::Boottime).saturating_sub(of(ClockId::Monotonic));
    if slept > Duration::from_secs(1) {
        return Finding::warning(
            "clocks",
            format!("the machine slept for {} s since it was started", slept.as_secs()),
            "keep machines awake that hold leases: whoever sleeps is taken for lost",
        );
    }
    Finding::ok("clocks", "the machine has not slept since it was started")
}
