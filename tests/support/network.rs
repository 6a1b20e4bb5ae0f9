//! A network of hosts on this machine, in which links really break: each host is a network namespace, joined by a pair of
//! virtual Ethernet devices to the hall, the namespace in which the test and its servers are. The hall carries what one
//! host sends to another, and throws away what a partition forbids: silently, and in one direction where that is wanted.
//!
//! Nothing here reaches the machine's own network: the hall has no way out.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::fleet::Place;
use crate::process::{Process, find_program};
use crate::wait;

/// Says, in a test's environment, that it runs in the hall.
const IN_HALL: &str = "SK_TEST_IN_HALL";
/// Addresses of the hall are 10.77.0.1 and so on; host N has 10.77.N.2, and the hall's end of its link is 10.77.N.1.
const NET: [u8; 2] = [10, 77];
/// Partitions come first; then the addresses of the hall itself, which are first where nobody moves them.
const PARTITION_RULE: &str = "10";
const LOCAL_RULE: &str = "100";

/// Whether this process is in a hall.
pub fn is_hall() -> bool {
    std::env::var_os(IN_HALL).is_some()
}

/// Whether this test runs in the hall. Where it does not, it is run there, to its end: the caller has nothing left to do.
///
/// # Panics
/// Panics where that run fails, and where namespaces cannot be had.
pub fn in_hall(test: &str) -> bool {
    if is_hall() {
        return true;
    }
    let own = std::env::current_exe().expect("a test is a program");
    let mut unshare = Command::new(find_program("unshare"));
    unshare
        .args(["--net", "--", "setpriv", "--pdeathsig", "KILL", "--"])
        .arg(own);
    // An ignored test comes here only when it was asked for.
    unshare.args([
        test,
        "--exact",
        "--include-ignored",
        "--nocapture",
        "--test-threads",
        "1",
    ]);
    let status = unshare
        .env(IN_HALL, "1")
        .stdin(Stdio::null())
        .status()
        .expect("unshare runs");
    assert!(
        status.success(),
        "{test} failed in a network namespace of its own ({status}); what it said is above. Where unshare says that it is not \
         permitted: partitions are made of network namespaces, which need root and the capability CAP_SYS_ADMIN; in a \
         container, start it with --privileged"
    );
    false
}

/// The hall and its hosts. It ends with the process that is in the hall.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
}

/// One host.
#[derive(Debug)]
struct Host {
    name: String,
    /// Keeps the namespace alive.
    keeper: Process,
}

impl Network {
    /// Makes the hall of the namespace in which this process is.
    ///
    /// # Panics
    /// Panics outside of a hall, and with what `ip` says.
    pub fn new() -> Self {
        assert!(is_hall(), "a network is made in a hall of its own");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a namespace of its own can be set up");
        ip(&["link", "set", "lo", "up"]);
        // What comes for the hall itself shall be subject to partitions too.
        ip(&["rule", "add", "pref", LOCAL_RULE, "lookup", "local"]);
        ip(&["rule", "del", "pref", "0"]);
        Self { hosts: Vec::new() }
    }

    /// One more address of the hall, for a server: partitions are between addresses.
    ///
    /// # Panics
    /// Panics with what `ip` says.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        let address = Ipv4Addr::new(NET[0], NET[1], 0, number);
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
        address
    }

    /// One more host, and a place on it. Its own log goes to `folder`.
    ///
    /// # Panics
    /// Panics with what `ip` says, or where no namespace is made.
    pub async fn host(&mut self, name: &str, folder: &Path) -> Place {
        let number = u8::try_from(self.hosts.len() + 1).expect("fewer than 256 hosts");
        let unshare = find_program("unshare");
        let log = folder.join(format!("host-{name}.log"));
        let keeper = Process::spawn(name, &unshare, &log, |command| {
            command.args(["--net", "--", "sleep", "infinity"]);
        });
        let pid = keeper.pid().to_string();
        let namespace = format!("/proc/{pid}/ns/net");
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let apart = wait::until(wait::GENEROUS, async || match std::fs::read_link(&namespace) {
            Ok(other) if other != own => Ok(()),
            other => Err(format!("{namespace}: {other:?}")),
        });
        apart
            .await
            .unwrap_or_else(|reason| panic!("host {name} has no network of its own: {reason}"));
        let (hall, host) = (at(number, 1), at(number, 2));
        let device = format!("host{number}");
        ip(&[
            "link", "add", &device, "type", "veth", "peer", "name", "eth0", "netns", &pid,
        ]);
        ip(&["address", "add", &format!("{hall}/30"), "dev", &device]);
        ip(&["link", "set", &device, "up"]);
        let enter = vec![
            find_program("nsenter").to_string_lossy().into_owned(),
            format!("--net={namespace}"),
            "--".to_owned(),
        ];
        let inside = |args: &[&str]| run(&enter[0], &[&[enter[1].as_str(), "--", "ip"], args].concat());
        inside(&["link", "set", "lo", "up"]);
        inside(&["address", "add", &format!("{host}/30"), "dev", "eth0"]);
        inside(&["link", "set", "eth0", "up"]);
        inside(&["route", "add", "default", "via", &hall.to_string()]);
        self.hosts.push(Host {
            name: name.to_owned(),
            keeper,
        });
        Place {
            address: host,
            before: enter,
            variables: Vec::new(),
        }
    }

    /// Throws away what `from` sends to `to`, from now on.
    ///
    /// # Panics
    /// Panics with what `ip` says.
    pub fn cut(&self, from: Ipv4Addr, to: Ipv4Addr) {
        let (from, to) = (from.to_string(), to.to_string());
        ip(&[
            "rule",
            "add",
            "pref",
            PARTITION_RULE,
            "from",
            &from,
            "to",
            &to,
            "blackhole",
        ]);
    }

    /// Ends every partition.
    ///
    /// # Panics
    /// Panics where that does not end.
    pub fn heal(&self) {
        // One call takes away one rule, and fails where there is none left.
        while succeeds("ip", &["rule", "del", "pref", PARTITION_RULE]).is_ok() {}
    }

    /// Names of the hosts whose namespace is gone: none, as long as nobody kills its keeper.
    pub fn gone(&mut self) -> Vec<String> {
        let gone = self
            .hosts
            .iter_mut()
            .filter_map(|host| host.keeper.ended().map(|_| host.name.clone()));
        gone.collect()
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

fn at(host: u8, end: u8) -> Ipv4Addr {
    Ipv4Addr::new(NET[0], NET[1], host, end)
}

#[track_caller]
fn ip(args: &[&str]) {
    run("ip", args);
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    if let Err(said) = succeeds(program, args) {
        panic!(
            "{program} {args:?}: {said}; partitions need root, CAP_NET_ADMIN, and the kernel's veth and policy routing"
        );
    }
}

fn succeeds(program: &str, args: &[&str]) -> Result<(), String> {
    let program = if program.contains('/') {
        program.into()
    } else {
        find_program(program)
    };
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
