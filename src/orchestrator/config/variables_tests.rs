//! Variables, classic names, environments, files of secrets.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use super::load::load_from;
use super::{ConfigErrors, Layers, Loaded};

/// The block that classic deployments set.
const CLASSIC: [(&str, &str); 9] = [
    ("HEARTBEAT_TIMEOUT", "300"),
    ("HEARTBEAT_WARNING_THRESHOLD", "120"),
    ("HEARTBEAT_CHECK_INTERVAL", "30"),
    ("EMERGENCY_THRESHOLD", "600"),
    ("MAX_RETRY_ATTEMPTS", "3"),
    ("RETRY_DELAY_SECONDS", "5"),
    ("EXPONENTIAL_BACKOFF", "true"),
    ("CIRCUIT_BREAKER_THRESHOLD", "5"),
    ("EMERGENCY_RECOVERY_ENABLED", "true"),
];

fn load(layers: &Layers, variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let variables: Vec<(OsString, OsString)> = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    load_from(layers, variables)
}

#[track_caller]
fn refused(layers: &Layers, variables: &[(&str, &str)], parts: &[&str]) -> String {
    let text = load(layers, variables).expect_err("it is wrong").to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    text
}

#[track_caller]
fn shown(loaded: &Loaded, key: &str) -> (String, String) {
    let setting = loaded.effective.iter().find(|setting| setting.key == key);
    let setting = setting.unwrap();
    (setting.value.clone(), setting.place.clone())
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn env_file(text: &str) -> (tempfile::NamedTempFile, Layers) {
    let file = file(text);
    let layers = Layers {
        env_file: Some(file.path().to_path_buf()),
        ..Layers::default()
    };
    (file, layers)
}

#[test]
fn the_classic_block_takes_effect() {
    let loaded = load(&Layers::default(), &CLASSIC).unwrap();
    let config = &loaded.config;
    assert_eq!(config.heartbeat.timeout, Duration::from_secs(300));
    assert_eq!(config.heartbeat.warning, Duration::from_secs(120));
    assert_eq!(config.heartbeat.check_interval, Duration::from_secs(30));
    assert_eq!(config.heartbeat.emergency, Duration::from_secs(600));
    assert_eq!(config.recovery.max_attempts, 3);
    assert_eq!(config.recovery.retry_delay, Duration::from_secs(5));
    assert!(config.recovery.exponential_backoff && config.recovery.enabled);
    assert_eq!(config.database.breaker_threshold, 5);
    let (value, place) = shown(&loaded, "heartbeat.timeout");
    assert_eq!(
        (value.as_str(), place.as_str()),
        ("\"300s\"", "environment variable HEARTBEAT_TIMEOUT")
    );
    let others = [
        ("EXPONENTIAL_BACKOFF", "False"),
        ("EMERGENCY_RECOVERY_ENABLED", "0"),
        ("RETRY_DELAY_SECONDS", "0.5"),
        ("CIRCUIT_BREAKER_THRESHOLD", ""),
    ];
    let config = load(&Layers::default(), &others).unwrap().config;
    assert!(!config.recovery.exponential_backoff && !config.recovery.enabled);
    assert_eq!(config.recovery.retry_delay, Duration::from_millis(500));
    assert_eq!(
        config.database.breaker_threshold, 5,
        "nothing is as good as not set"
    );
}

#[test]
fn the_own_name_wins_over_the_classic_one() {
    let both = [
        ("HEARTBEAT_TIMEOUT", "20"),
        ("STREAMKEEPER__HEARTBEAT__TIMEOUT", "11s"),
    ];
    let config = load(&Layers::default(), &both).unwrap().config;
    assert_eq!(config.heartbeat.timeout, Duration::from_secs(11));
}

#[test]
fn classic_values_are_refused_by_their_name() {
    let text = refused(
        &Layers::default(),
        &[
            ("HEARTBEAT_TIMEOUT", "10s"),
            ("HEARTBEAT_WARNING_THRESHOLD", "120"),
            ("EXPONENTIAL_BACKOFF", "maybe"),
            ("MAX_RETRY_ATTEMPTS", "many"),
            ("CIRCUIT_BREAKER_THRESHOLD", "0"),
        ],
        &[
            "environment variable HEARTBEAT_TIMEOUT: heartbeat.timeout: \"10s\" is not usable: it is a number of \
             seconds; write for example 300",
            "environment variable EXPONENTIAL_BACKOFF: recovery.exponential_backoff: \"maybe\"",
            "environment variable MAX_RETRY_ATTEMPTS: recovery.max_attempts: \"many\"",
            "environment variable CIRCUIT_BREAKER_THRESHOLD: database.breaker_threshold: is 0",
        ],
    );
    assert!(
        !text.contains("must be shorter"),
        "a follow-up of what is wrong anyway:\n{text}"
    );
    refused(
        &Layers::default(),
        &[("HEARTBEAT_TIMEOUT", "300")],
        &[
            "environment variable HEARTBEAT_TIMEOUT",
            "raise heartbeat.emergency",
        ],
    );
}

#[test]
fn a_file_of_variables_is_read_and_the_process_wins() {
    let (_kept, layers) = env_file(
        "# classic\n\nHEARTBEAT_TIMEOUT=20\nexport STREAMKEEPER__HTTP__BIND=\"127.0.0.1:9\"  # port\n\
         MAX_RETRY_ATTEMPTS='7'\nRETRY_DELAY_SECONDS=1 # soon\nOTHER=of somebody else\nEMPTY=\n",
    );
    let loaded = load(&layers, &[("MAX_RETRY_ATTEMPTS", "8")]).unwrap();
    assert_eq!(loaded.config.heartbeat.timeout, Duration::from_secs(20));
    assert_eq!(loaded.config.http.bind.port(), 9);
    assert_eq!(loaded.config.recovery.max_attempts, 8);
    assert_eq!(loaded.config.recovery.retry_delay, Duration::from_secs(1));
    let (_, place) = shown(&loaded, "heartbeat.timeout");
    assert!(place.ends_with(":3: variable HEARTBEAT_TIMEOUT"), "{place}");
}

#[test]
fn malformed_lines_of_variables_are_named_without_what_they_hold() {
    let (kept, layers) = env_file(
        "GOOD=1\nno variable s3cret\n1BAD=s3cret\nSPACE D=s3cret\nOPEN=\"s3cret\nAFTER='a' s3cret\n\
         STREAMKEEPER__HTTP__BNID=x\n",
    );
    let path = kept.path().display();
    let text = refused(
        &layers,
        &[],
        &[
            &format!("{path}:2: is no variable; write NAME=VALUE"),
            &format!("{path}:3: has no name of a variable"),
            &format!("{path}:4: has no name of a variable"),
            &format!("{path}:5: OPEN: the quote \" is not closed"),
            &format!("{path}:6: AFTER: something stands after the closing '"),
            &format!(
                "{path}:7: variable STREAMKEEPER__HTTP__BNID: http.bnid: is no setting; did you mean http.bind?"
            ),
        ],
    );
    assert!(!text.contains("s3cret"), "{text}");
    let missing = Layers {
        env_file: Some("/nonexistent/env".into()),
        ..Layers::default()
    };
    refused(&missing, &[], &["/nonexistent/env: cannot be read", "--env-file"]);
}

#[test]
fn every_environment_is_right_and_names_its_lines() {
    for name in ["development", "test", "staging", "production"] {
        let chosen = Layers {
            environment: Some(name.to_owned()),
            ..Layers::default()
        };
        let loaded = load(&chosen, &[]).unwrap();
        let own = format!("config/{name}.toml:");
        assert!(
            loaded
                .effective
                .iter()
                .any(|setting| setting.place.starts_with(&own)),
            "{name} changes nothing"
        );
        let by_variable = load(&Layers::default(), &[("STREAMKEEPER_ENVIRONMENT", name)]).unwrap();
        assert_eq!(by_variable.effective, loaded.effective);
        assert_eq!(loaded.config.http.fault_injection, name != "production");
    }
    // Every other layer wins.
    let chosen = Layers {
        environment: Some("production".to_owned()),
        ..Layers::default()
    };
    let config = load(
        &chosen,
        &[
            ("STREAMKEEPER__DATABASE__CONNECTIONS", "3"),
            ("STREAMKEEPER_ENVIRONMENT", "test"),
        ],
    );
    assert_eq!(config.unwrap().config.database.connections, 3);
}

#[test]
fn an_unknown_environment_is_refused() {
    let chosen = Layers {
        environment: Some("prodution".to_owned()),
        ..Layers::default()
    };
    refused(
        &chosen,
        &[],
        &["flag --environment: \"prodution\"", "did you mean production?"],
    );
    refused(
        &Layers::default(),
        &[("STREAMKEEPER_ENVIRONMENT", "qa")],
        &[
            "environment variable STREAMKEEPER_ENVIRONMENT: \"qa\"",
            "development, test, staging, production",
        ],
    );
}

#[test]
fn secrets_may_stand_in_files() {
    let secret = file("postgres://keeper:s3cret@db/keeper?sslpassword=s3cret\n");
    let reference = format!("file:{}", secret.path().display());
    let loaded = load(&Layers::default(), &[("STREAMKEEPER__DATABASE__URL", &reference)]).unwrap();
    assert_eq!(
        loaded.config.database.url,
        "postgres://keeper:s3cret@db/keeper?sslpassword=s3cret"
    );
    let (value, place) = shown(&loaded, "database.url");
    assert_eq!(value, "\"postgres://keeper:***@db/keeper?sslpassword=***\"");
    assert!(place.ends_with(&secret.path().display().to_string()), "{place}");

    let no_url = file("s3cret\n");
    let empty = file("\n");
    let named = |file: &tempfile::NamedTempFile| format!("file:{}", file.path().display());
    for (reference, part) in [
        (named(&no_url), "holds no URL"),
        (named(&empty), "is empty"),
        ("file:/nonexistent/secret".to_owned(), "cannot be read"),
        ("file:/dev/zero".to_owned(), "has more than"),
    ] {
        let text = refused(
            &Layers::default(),
            &[("STREAMKEEPER__DATABASE__URL", &reference)],
            &["database.url: file /", part],
        );
        assert!(!text.contains("s3cret"), "{text}");
    }
    // What is no secret is taken as it is written.
    refused(
        &Layers::default(),
        &[("STREAMKEEPER__NATS__PREFIX", "file:/x")],
        &["nats.prefix: \"file:/x\" is no prefix"],
    );
}
