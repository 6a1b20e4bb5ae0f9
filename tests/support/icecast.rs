//! A real icecast2 with real sources: the judge from outside. It says who listens to what, whatever the program
//! under test believes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::time::Instant;

use crate::http::{Api, client};
use crate::ports::free_port;
use crate::process::{Process, find_program};
use crate::wait;
use crate::world::World;

const PASSWORD: &str = "for-this-test-only";

/// How long a picture must hold before it counts as settled.
const STEADY: Duration = Duration::from_secs(3);

/// How often the server is started, and how long it may take each time.
const START_ATTEMPTS: usize = 3;
const START_PATIENCE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(100);

/// Connection ids of the listeners, by mount. Every connection has its own: the same id means that the listener
/// never reconnected.
pub type Listeners = BTreeMap<String, BTreeSet<String>>;

/// An icecast2 with one source per mount.
#[derive(Debug)]
pub struct Icecast {
    port: u16,
    mounts: Vec<String>,
    api: Api,
    client: reqwest::Client,
    _server: Process,
    _sources: Vec<Process>,
}

impl Icecast {
    /// Starts the server and the sources, and waits until every mount is on air.
    ///
    /// # Panics
    /// Panics where a mount does not come on air.
    pub async fn start(world: &World, mounts: usize) -> Self {
        let (server, port) = Self::server(world).await;
        let api = Api::new(port);
        let mounts: Vec<String> = (1..=mounts).map(|number| format!("channel-{number}")).collect();
        let sources = (1..)
            .zip(&mounts)
            .map(|(number, mount)| start_source(world, port, number, mount));
        let icecast = Self {
            port,
            _sources: sources.collect(),
            mounts,
            api,
            client: client(),
            _server: server,
        };
        let on_air = wait::until(wait::GENEROUS, async || {
            let counts = icecast.counts().await?;
            let missing: Vec<_> = icecast
                .mounts
                .iter()
                .filter(|mount| !counts.contains_key(*mount))
                .collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("not on air: {missing:?}"))
            }
        });
        on_air.await.unwrap_or_else(|reason| panic!("icecast2: {reason}"));
        icecast
    }

    /// A server that answers. Once in a while icecast2 hangs before it listens: then it is started again.
    async fn server(world: &World) -> (Process, u16) {
        let mut reasons = Vec::new();
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            let server = start_server(world, port);
            let api = Api::new(port);
            match wait::until(START_PATIENCE, async || api.get("/status-json.xsl").await).await {
                Ok(_) => return (server, port),
                Err(reason) => reasons.push(reason),
            }
        }
        panic!("icecast2: {reasons:#?}");
    }

    /// Names of the mounts.
    pub fn mounts(&self) -> &[String] {
        &self.mounts
    }

    /// Where a listener connects.
    pub fn url(&self, mount: &str) -> String {
        format!("http://127.0.0.1:{}/{mount}", self.port)
    }

    /// Listeners per mount, as anybody can see them.
    ///
    /// # Errors
    /// When the server does not answer, in words.
    pub async fn counts(&self) -> Result<BTreeMap<String, u64>, String> {
        let status = self.api.get("/status-json.xsl").await?;
        let sources = &status["icestats"]["source"];
        // A single source stands there without a list around it.
        let list = sources
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![sources.clone()]);
        let count = |source: &serde_json::Value| {
            let url = source["listenurl"].as_str()?;
            let mount = url.rsplit('/').next()?.to_owned();
            Some((mount, source["listeners"].as_u64()?))
        };
        Ok(list.iter().filter_map(count).collect())
    }

    /// Connection ids per mount; mounts without listeners have an empty set.
    ///
    /// # Errors
    /// When the server does not answer, in words.
    pub async fn listeners(&self) -> Result<Listeners, String> {
        let mut listeners = Listeners::new();
        for mount in &self.mounts {
            listeners.insert(mount.clone(), self.listeners_of(mount).await?);
        }
        Ok(listeners)
    }

    async fn listeners_of(&self, mount: &str) -> Result<BTreeSet<String>, String> {
        let url = format!("http://127.0.0.1:{}/admin/listclients?mount=/{mount}", self.port);
        // A page that comes late on a busy machine says nothing about listeners.
        let mut tries = 0;
        let response = loop {
            let request = self.client.get(&url).basic_auth("admin", Some(PASSWORD));
            tries += 1;
            match request.send().await {
                Ok(response) => break response,
                Err(error) if error.is_timeout() && tries < 3 => {}
                Err(error) => return Err(format!("{mount}: {error:?}")),
            }
        };
        let text = response
            .error_for_status()
            .map_err(|error| format!("{mount}: {error}"))?
            .text()
            .await
            .map_err(|error| format!("{mount}: {error}"))?;
        let ids = text
            .split("<ID>")
            .skip(1)
            .filter_map(|rest| rest.split("</ID>").next());
        Ok(ids.map(ToOwned::to_owned).collect())
    }

    /// Waits until the public status shows exactly the `expected` listeners and goes on to show them, from the very same
    /// connections, for some seconds. Mounts that are not named must have none.
    ///
    /// # Panics
    /// Panics with the last picture where that does not happen.
    pub async fn settled(&self, expected: &BTreeMap<String, u64>) -> Listeners {
        let mut since: Option<(Instant, Listeners)> = None;
        let settled = wait::until(wait::GENEROUS * 2, async || {
            let counts = self.counts().await?;
            let wrong: Vec<String> = self
                .mounts
                .iter()
                .map(|mount| {
                    (
                        mount,
                        counts.get(mount),
                        expected.get(mount).copied().unwrap_or(0),
                    )
                })
                .filter(|(_, count, wanted)| *count != Some(wanted))
                .map(|(mount, count, wanted)| format!("{mount}: {count:?} listeners instead of {wanted}"))
                .collect();
            if !wrong.is_empty() {
                since = None;
                return Err(wrong.join(", "));
            }
            let now = self.listeners().await?;
            match &since {
                Some((begin, before)) if *before == now && begin.elapsed() >= STEADY => Ok(now),
                Some((_, before)) if *before == now => {
                    tokio::time::sleep(PAUSE).await;
                    Err("the right listeners, but not for long enough".to_owned())
                }
                _ => {
                    since = Some((Instant::now(), now));
                    Err("the right numbers, but listeners come and go".to_owned())
                }
            }
        });
        settled
            .await
            .unwrap_or_else(|reason| panic!("icecast2 does not settle: {reason}"))
    }

    /// Waits until every mount has exactly one listener, see [`Self::settled`].
    pub async fn one_each(&self, mounts: &[String]) -> Listeners {
        self.settled(&mounts.iter().map(|mount| (mount.clone(), 1)).collect())
            .await
    }
}

fn start_server(world: &World, port: u16) -> Process {
    let logs = world.folder().join("icecast2");
    std::fs::create_dir_all(&logs).expect("a folder for the logs");
    // Started by root it becomes another user, who must come to its folder of logs.
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    };
    open(world.folder(), 0o755);
    open(&logs, 0o777);
    let file = world.write("icecast.xml", &config(port, &logs.to_string_lossy()));
    world.spawn("icecast2", &find_program("icecast2"), |command| {
        command.arg("-c").arg(file);
    })
}

fn start_source(world: &World, port: u16, number: usize, mount: &str) -> Process {
    let sine = format!("sine=frequency={}", 200 + 50 * number);
    let target = format!("icecast://source:{PASSWORD}@127.0.0.1:{port}/{mount}");
    world.spawn(&format!("source-{mount}"), &find_program("ffmpeg"), |command| {
        command
            .args([
                "-nostdin",
                "-loglevel",
                "error",
                "-re",
                "-f",
                "lavfi",
                "-i",
                &sine,
            ])
            .args([
                "-c:a",
                "libmp3lame",
                "-b:a",
                "32k",
                "-content_type",
                "audio/mpeg",
                "-f",
                "mp3",
            ])
            .arg(target);
    })
}

fn config(port: u16, logs: &str) -> String {
    let owner = if geteuid().is_root() {
        "<changeowner><user>icecast2</user><group>icecast</group></changeowner>"
    } else {
        ""
    };
    format!(
        "<icecast>
  <limits><clients>400</clients><sources>100</sources><burst-on-connect>1</burst-on-connect></limits>
  <authentication>
    <source-password>{PASSWORD}</source-password>
    <admin-user>admin</admin-user><admin-password>{PASSWORD}</admin-password>
  </authentication>
  <hostname>127.0.0.1</hostname>
  <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <fileserve>1</fileserve>
  <paths>
    <basedir>/usr/share/icecast2</basedir><logdir>{logs}</logdir>
    <webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot>
  </paths>
  <logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>2</loglevel></logging>
  <security><chroot>0</chroot>{owner}</security>
</icecast>
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The judge is judged: it must see a listener come, go, and come back as another one.
    #[tokio::test]
    async fn the_judge_sees_who_listens() {
        let world = World::bare("judge");
        let icecast = Icecast::start(&world, 2).await;
        let mounts = icecast.mounts().to_vec();
        icecast.settled(&BTreeMap::new()).await;

        let listen = || {
            world.spawn("listener", &find_program("ffmpeg"), |command| {
                command
                    .args(["-nostdin", "-loglevel", "error", "-i", &icecast.url(&mounts[0])])
                    .args(["-f", "null", "-"]);
            })
        };
        let mut listener = listen();
        let first = icecast.one_each(&mounts[..1]).await;
        assert_eq!(first[&mounts[0]].len(), 1);
        listener.kill9();
        icecast.settled(&BTreeMap::new()).await;
        let _again = listen();
        let second = icecast.one_each(&mounts[..1]).await;
        assert_ne!(first[&mounts[0]], second[&mounts[0]]);
    }
}
