//! Rules and dashboards on a real Prometheus that scrapes a real orchestrator: every rule is sound, and every panel shows
//! something where the fleet has something to show.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::http::Api;
use streamkeeper_tests::process::find_program;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

/// Series of what a fleet meets rarely: they begin when it happens first. Whoever adds a panel of one names it here.
const RARE: &[&str] = &[
    "streamkeeper_alerts_total",
    "streamkeeper_database_leaks_total",
    "streamkeeper_database_long_transactions_total",
    "streamkeeper_database_retries_total",
    "streamkeeper_database_timeouts_total",
    "streamkeeper_dropped_messages_total",
    "streamkeeper_events_dropped_total",
    "streamkeeper_messages_refused_total",
    "streamkeeper_messages_unsent_total",
    "streamkeeper_migration_overlap_seconds_bucket",
    "streamkeeper_migrations_total",
    "streamkeeper_nats_server_restarts_total",
    "streamkeeper_nats_slow_consumer_total",
    "streamkeeper_repairs_total",
];

fn compose() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose")
}

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// (where, expression) of every panel and of every variable.
fn panels() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let folder = compose().join("grafana/dashboards");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let title = board["title"].as_str().unwrap().to_owned();
        for panel in list(&board["panels"]) {
            let place = format!("{title}, {}", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "streamkeeper", "{place}");
            for target in list(&panel["targets"]) {
                found.push((place.clone(), target["expr"].as_str().unwrap().to_owned()));
            }
        }
        for variable in list(&board["templating"]["list"]) {
            let query = variable["query"]["query"].as_str().unwrap();
            let metric = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.split_once(','));
            let (metric, _) = metric.unwrap_or_else(|| panic!("{title}: {query}"));
            found.push((
                format!("{title}, variable {}", variable["name"]),
                metric.to_owned(),
            ));
        }
    }
    assert!(found.len() > 40, "only {} expressions are found", found.len());
    found
}

/// What our own metrics are called in an expression.
fn metrics(expression: &str) -> BTreeSet<String> {
    let is_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_' || byte == ':';
    expression
        .split(|byte| !is_name(byte))
        .filter(|word| word.starts_with("streamkeeper_") || word.starts_with("streamkeeper:"))
        .map(str::to_owned)
        .collect()
}

/// Every metric of the code and every recorded series, with the parts of histograms.
fn known() -> BTreeSet<String> {
    let root = compose().join("..");
    let files = [
        "src/orchestrator/telemetry/metrics.rs",
        "src/orchestrator/adapter/nats/metrics.rs",
    ];
    let mut known: BTreeSet<String> = files
        .iter()
        .flat_map(|file| metrics(&std::fs::read_to_string(root.join(file)).unwrap()))
        .collect();
    let histograms: Vec<String> = known
        .iter()
        .filter(|name| name.ends_with("_seconds"))
        .flat_map(|name| ["bucket", "count", "sum"].map(|part| format!("{name}_{part}")))
        .collect();
    known.extend(histograms);
    known.extend(rules().into_iter().filter_map(|rule| rule.record));
    known
}

struct Rule {
    record: Option<String>,
    name: String,
    expression: String,
}

fn rules() -> Vec<Rule> {
    let folder = compose().join("prometheus/rules");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = yaml(&entry.unwrap().path());
        for rule in list(&file["groups"]).flat_map(|group| list(&group["rules"])) {
            let text = |key: &str| rule[key].as_str().map(str::to_owned);
            let name = text("alert").or_else(|| text("record")).unwrap();
            if rule["alert"].is_string() {
                assert!(rule["labels"]["severity"].is_string(), "{name} has no severity");
                for annotation in ["summary", "suggestion"] {
                    assert!(
                        rule["annotations"][annotation].is_string(),
                        "{name} has no {annotation}"
                    );
                }
            }
            found.push(Rule {
                record: text("record"),
                name,
                expression: text("expr").unwrap(),
            });
        }
    }
    assert!(found.len() > 20, "only {} rules are found", found.len());
    found
}

#[test]
fn rules_do_what_they_are_for() {
    let cases = compose().join("prometheus/rules_test.yml");
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(&cases)
        .output();
    let output = output.expect("promtool runs; `make setup` installs it");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn rules_and_panels_name_only_metrics_that_exist() {
    let known = known();
    let of_rules = rules().into_iter().map(|rule| (rule.name, rule.expression));
    for (place, expression) in of_rules.chain(panels()) {
        let unknown: Vec<String> = metrics(&expression)
            .into_iter()
            .filter(|name| !known.contains(name))
            .collect();
        assert!(unknown.is_empty(), "{place}: {unknown:?} in {expression}");
    }
    for rare in RARE {
        assert!(known.contains(*rare), "{rare} does not exist");
    }
}

#[test]
fn compose_files_are_sound_and_name_what_is_there() {
    for name in ["servers.yaml", "monitoring.yaml"] {
        let path = compose().join(name);
        let file = yaml(&path);
        let volumes = file["volumes"].as_object().unwrap();
        for (service, parts) in file["services"].as_object().unwrap() {
            let image = parts["image"].as_str().unwrap();
            assert!(image.contains(':'), "{name}: {service}: {image} names no version");
            for port in list(&parts["ports"]) {
                let port = port.as_str().unwrap();
                assert!(port.starts_with("127.0.0.1:"), "{name}: {service}: {port}");
            }
            for volume in list(&parts["volumes"]) {
                let volume = volume.as_str().unwrap();
                let (from, _) = volume.split_once(':').unwrap();
                let is_there = match from.strip_prefix("./") {
                    Some(folder) => compose().join(folder).is_dir(),
                    None => volumes.contains_key(from),
                };
                assert!(is_there, "{name}: {service}: {volume}");
            }
            for needed in list(&parts["depends_on"]) {
                assert!(
                    file["services"][needed.as_str().unwrap()].is_object(),
                    "{name}: {needed}"
                );
            }
        }
    }
    let provisioning = compose().join("grafana/provisioning");
    let source = yaml(&provisioning.join("datasources/prometheus.yaml"));
    assert_eq!(source["datasources"][0]["uid"], "streamkeeper");
    yaml(&provisioning.join("dashboards/streamkeeper.yaml"));
}

/// Asks Prometheus; the result's entries.
async fn ask(api: &Api, expression: &str) -> Result<Vec<Value>, String> {
    // As Grafana would fill them in.
    let expression = expression
        .replace("$__rate_interval", "1m")
        .replace("$worker", ".*")
        .replace("$instance", ".*");
    let mut url = reqwest::Url::parse("http://prometheus/api/v1/query").unwrap();
    url.query_pairs_mut().append_pair("query", &expression);
    let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let answer = api.send(reqwest::Method::GET, &path, None).await?;
    if answer.status == 400 {
        panic!("{expression}: {}", answer.body);
    }
    let found = answer.body["data"]["result"].as_array().cloned();
    found.ok_or_else(|| format!("{expression}: {}", answer.body))
}

/// Starts Prometheus on an orchestrator that has met a failover, and judges everything.
pub(super) async fn judge(world: &World, orchestrator: &Orchestrator) {
    let target = orchestrator.api().base().replace("http://", "");
    let rules_folder = compose().join("prometheus/rules").canonicalize().unwrap();
    let mut config = yaml(&compose().join("prometheus/prometheus.yml"));
    config["global"] = serde_json::json!({"scrape_interval": "500ms", "evaluation_interval": "500ms"});
    config["rule_files"][0] = rules_folder.join("*.yml").to_str().unwrap().into();
    config["scrape_configs"][0]["static_configs"][0]["targets"][0] = target.into();
    let config = world.write("prometheus.yml", &config.to_string());
    let port = streamkeeper_tests::ports::free_port();
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let _prometheus = world.spawn("prometheus", &find_program("prometheus"), |command| {
        let storage = world.folder().join("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", storage.display()))
            .arg(listen);
    });
    let api = Api::new(port);

    // Every expression that has no rare series in it has a result, once there are some samples and the rules were evaluated.
    let mut missing: Vec<(String, String)> = panels();
    let shown = wait::until(wait::GENEROUS, async || {
        let mut still = Vec::new();
        for (place, expression) in std::mem::take(&mut missing) {
            let is_rare = metrics(&expression)
                .iter()
                .any(|name| RARE.contains(&name.as_str()));
            let found = ask(&api, &expression).await;
            // What is rare is asked as well: it has to be a query that can be read.
            if !matches!(&found, Ok(found) if is_rare || !found.is_empty()) {
                still.push((place, expression));
            }
        }
        missing = still;
        match missing.first() {
            None => Ok(()),
            Some(_) => Err(format!("nothing is shown by {missing:#?}")),
        }
    });
    shown.await.unwrap_or_else(|reason| panic!("{reason}"));

    let groups = wait::until(wait::GENEROUS, async || {
        let answer = api.get("/api/v1/rules").await?;
        let groups = answer["data"]["groups"].clone();
        let rules = list(&groups).flat_map(|group| list(&group["rules"]));
        match rules.filter(|rule| rule["health"] == "unknown").count() {
            0 if groups[0].is_object() => Ok(groups),
            count => Err(format!("{count} rules were not evaluated: {answer}")),
        }
    });
    let groups = groups.await.unwrap_or_else(|reason| panic!("{reason}"));
    let evaluated: Vec<&Value> = list(&groups).flat_map(|group| list(&group["rules"])).collect();
    assert_eq!(evaluated.len(), rules().len());
    for rule in evaluated {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
    let running = ask(&api, "streamkeeper:streams:by_state{state=\"running\"}").await;
    assert_eq!(running.unwrap()[0]["value"][1], "2");
}
