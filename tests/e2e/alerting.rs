//! Alerts at a real Alertmanager and at a consumer of the message server that was away: one fleet, and all that happens to
//! those who are told.

use std::collections::BTreeSet;

use async_nats::jetstream::{self, consumer::pull};
use futures::StreamExt as _;
use serde_json::Value;
use streamkeeper_protocol::{Alert, AlertStatus, decode};
use streamkeeper_tests::alertmanager::Alertmanager;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::hook::{Hook, Request};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio::time::Instant;

const LOST: &str = "worker_lost";
const SINK: &str = "alerts_alertmanager";
const A: &str = "alerting-a";
const B: &str = "alerting-b";

/// A consumer that comes back under its name.
async fn pager(nats: &NatsServer) -> jetstream::consumer::PullConsumer {
    let stream = wait::until(wait::GENEROUS, async || {
        let client = async_nats::connect(nats.url()).await;
        let client = client.map_err(|error| error.to_string())?;
        let stream = jetstream::new(client).get_stream("SK_ALERTS").await;
        stream.map_err(|error| error.to_string())
    });
    let config = pull::Config {
        durable_name: Some("pager".to_owned()),
        ..pull::Config::default()
    };
    let stream = stream.await.unwrap();
    stream.get_or_create_consumer("pager", config).await.unwrap()
}

/// Waits until the API shows the alert of this worker with this status, and what the Alertmanager knows of it.
async fn shows(api: &Api, worker: &str, status: &str, delivery: &str) {
    let shown = wait::until(wait::GENEROUS, async || {
        let alerts = api.list("alerts").await?;
        let found = alerts.iter().any(|alert| {
            alert["rule"] == LOST
                && alert["labels"]["worker"] == worker
                && alert["status"] == status
                && alert["delivery"][SINK] == delivery
        });
        found.then_some(()).ok_or_else(|| format!("{alerts:?}"))
    });
    let shown = shown.await;
    shown.unwrap_or_else(|reason| panic!("no alert of {worker} that is {status} and {delivery}: {reason}"));
}

#[tokio::test]
async fn a_killed_agent_is_one_alert_for_everybody_whoever_was_away() {
    let world = World::new("alerting");
    let nats = NatsServer::start_with_jetstream().await;
    let mut manager = Alertmanager::new(&world);
    let sink = format!("alerts.alertmanager.urls={}", manager.url());
    let hook = Hook::hanging().await;
    let address = format!("alerts.webhook.url={}", hook.url());
    let args = [
        "--nats",
        &nats.url(),
        "--set",
        &sink,
        "--set",
        "alerts.alertmanager.resend_every=2s",
        "--set",
        &address,
        "--set",
        "alerts.webhook.plain_http=true",
        "--set",
        "alerts.webhook.private_addresses=true",
        "--set",
        "alerts.webhook.timeout=1s",
    ];
    let mut orchestrator = Orchestrator::start(&world, &args).await;
    let api = orchestrator.api();
    // It comes, and goes before anything happens.
    pager(&nats).await;
    let [mut a, mut b] =
        [A, B].map(|id| Agent::start(&world, id, &["--exec", "sleep 1", "--nats", &nats.url()]));
    api.workers_alive(2).await;

    // Nobody answers where the Alertmanager should be; it hears of it when it is there.
    let since = Instant::now();
    a.kill9();
    shows(&api, A, "firing", "waiting").await;
    println!("the alert fires after {:?}", since.elapsed());
    manager.start(&world).await;
    let told = manager.knows(LOST, &[A]).await;
    // A webhook that hangs holds up nobody; what it did not answer comes again.
    assert_eq!(hook.taken().len(), 0);
    hook.answers();
    posted(&hook, &[(A, "firing")]).await;
    shows(&api, A, "firing", "delivered").await;

    // Neither a second alert nor none.
    orchestrator.kill9();
    orchestrator.restart(&world).await;
    shows(&api, A, "firing", "delivered").await;
    let again = manager.knows(LOST, &[A]).await;
    assert_eq!(again[0]["startsAt"], told[0]["startsAt"]);

    // Whom this life never heard, it does not miss.
    heard(&api, B).await;
    let silence = silence(&world, &api).await;
    b.kill9();
    shows(&api, B, "suppressed", "waiting").await;
    manager.knows(LOST, &[A]).await;
    let remove = ["silences", "remove", &silence, "--server", api.base()];
    world.run(&remove).await.expect(0, &[]);
    manager.knows(LOST, &[A, B]).await;
    shows(&api, B, "firing", "delivered").await;

    // One that forgot everything is told again.
    manager.kill();
    manager.start(&world).await;
    manager.knows(LOST, &[A, B]).await;
    for agent in [&mut a, &mut b] {
        agent.restart(&world);
    }
    manager.knows(LOST, &[]).await;
    let all = [(A, "firing"), (A, "resolved"), (B, "firing"), (B, "resolved")];
    posted(&hook, &all).await;
    counts(&api).await;
    heard_by(&pager(&nats).await).await;
}

async fn heard(api: &Api, worker: &str) {
    let heard = wait::until(wait::GENEROUS, async || {
        let workers = api.list("workers").await?;
        let alive = |found: &Value| found["id"] == worker && found["availability"] == "alive";
        let found = workers.iter().any(alive);
        found.then_some(()).ok_or_else(|| format!("{workers:?}"))
    });
    heard
        .await
        .unwrap_or_else(|reason| panic!("{worker} is not heard: {reason}"));
}

/// Waits until the webhook was told of exactly these changes of workers. One may come twice: an orchestrator was killed.
async fn posted(hook: &Hook, expected: &[(&str, &str)]) {
    let posted = wait::until(wait::GENEROUS, async || {
        let taken = hook.taken();
        let read = |request: &Request| {
            let body: Value = serde_json::from_str(&request.body).ok()?;
            let labels = &body["commonLabels"];
            let worker = labels["worker"]
                .as_str()
                .filter(|_| labels["alertname"] == LOST)?;
            Some((worker.to_owned(), body["status"].as_str()?.to_owned()))
        };
        let found: BTreeSet<(String, String)> = taken.iter().filter_map(read).collect();
        let expected = expected
            .iter()
            .map(|(worker, status)| ((*worker).to_owned(), (*status).to_owned()));
        match found == expected.collect() {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    });
    let posted = posted.await;
    posted.unwrap_or_else(|reason| panic!("the webhook was told otherwise: {reason}"));
}

/// Says the name of the silence.
async fn silence(world: &World, api: &Api) -> String {
    let about = format!("worker={B}");
    let add = [
        "silences", "add", &about, "--for", "1h", "--by", "Ada", "--reason", "new disk",
    ];
    let to = ["--server", api.base(), "-o", "json"];
    let added = world.run(&[&add[..], &to].concat()).await;
    added.expect(0, &[]);
    added.json()["id"].as_str().unwrap().to_owned()
}

/// What became of it stands in the metrics and in the health.
async fn counts(api: &Api) {
    let metrics = api.get("/metrics").await.unwrap();
    let line = format!("streamkeeper_alert_deliveries_total{{sink=\"{SINK}\",outcome=\"delivered\"}}");
    assert!(metrics.as_str().unwrap().contains(&line), "{metrics}");
    let health = api.get("/health").await.unwrap();
    assert_eq!(health["breakers"][SINK]["state"], "closed", "{health}");
}

/// Whoever was away all the time hears of every change once.
async fn heard_by(pager: &jetstream::consumer::PullConsumer) {
    let mut heard = Vec::new();
    let all = wait::until(wait::GENEROUS, async || {
        let mut batch = pager.fetch().max_messages(100).messages().await.unwrap();
        while let Some(message) = batch.next().await {
            let message = message.unwrap();
            message.ack().await.unwrap();
            let alert: Alert = decode(&message.payload, None).unwrap();
            if alert.labels["alertname"] == LOST {
                heard.push((alert.labels["worker"].clone(), alert.status));
            }
        }
        match heard.len() {
            4.. => Ok(()),
            _ => Err(format!("{heard:?}")),
        }
    });
    all.await.unwrap();
    heard[2..].sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        (A, AlertStatus::Firing),
        (B, AlertStatus::Firing),
        (A, AlertStatus::Resolved),
        (B, AlertStatus::Resolved),
    ];
    assert_eq!(
        heard,
        expected.map(|(worker, status)| (worker.to_owned(), status))
    );
}
