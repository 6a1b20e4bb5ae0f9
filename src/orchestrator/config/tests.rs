//! Bad and good input for each layer, and what is said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use super::load::{load_from, mask};
use super::{ConfigErrors, Flag, Layers, Loaded};

/// Loads a file of this text, these variables and these flags.
pub(super) fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str, &str)],
) -> Result<Loaded, ConfigErrors> {
    let mut kept = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    kept.write_all(file.as_bytes()).unwrap();
    let layers = Layers {
        file: Some(kept.path().to_path_buf()),
        flags: flags
            .iter()
            .map(|(name, key, value)| Flag {
                name: (*name).to_owned(),
                key: (*key).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
        ..Layers::default()
    };
    let environment: Vec<(OsString, OsString)> = environment
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
    load_from(&layers, environment)
}

#[track_caller]
pub(super) fn refused(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str, &str)],
    parts: &[&str],
) {
    let errors = load(file, environment, flags).expect_err(file);
    let text = errors.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn the_defaults_are_right_and_say_so() {
    let loaded = load("", &[("PATH", "/bin"), ("STREAMKEEPER_SERVER", "x")], &[]).unwrap();
    assert_eq!(loaded.config.heartbeat.timeout, Duration::from_secs(10));
    assert!(loaded.effective.iter().all(|setting| setting.place == "defaults"));
}

#[test]
fn later_layers_win_and_every_value_knows_its_place() {
    let loaded = load(
        "[heartbeat]\ntimeout = \"11s\"\nemergency = \"40s\"\n[nats]\nurls = [\n  \"nats://a:4222\",\n]\n",
        &[
            ("STREAMKEEPER__HEARTBEAT__TIMEOUT", "12s"),
            ("STREAMKEEPER__DATABASE__CONNECTIONS", "8"),
        ],
        &[
            ("--bind", "http.bind", "127.0.0.1:9"),
            ("--set", "nats.urls", "nats://b:1, nats://c:2"),
            ("--set", "http.fault_injection", "true"),
            ("--set", "balancer.band_relative", "1"),
        ],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.heartbeat.timeout, Duration::from_secs(12));
    assert_eq!(config.heartbeat.emergency, Duration::from_secs(40));
    assert_eq!(config.database.connections, 8);
    assert_eq!(config.http.bind.port(), 9);
    assert_eq!(config.nats.urls, ["nats://b:1", "nats://c:2"]);
    assert!(config.http.fault_injection);
    let place = |key: &str| {
        let setting = loaded
            .effective
            .iter()
            .find(|setting| setting.key == key)
            .unwrap();
        setting.place.clone()
    };
    assert!(place("heartbeat.emergency").ends_with(".toml:3"));
    assert_eq!(
        place("heartbeat.timeout"),
        "environment variable STREAMKEEPER__HEARTBEAT__TIMEOUT"
    );
    assert_eq!(place("http.bind"), "flag --bind");
    assert_eq!(place("lease.drift"), "defaults");
}

#[test]
fn files_are_refused_with_key_value_line_and_remedy() {
    let cases: &[(&str, &[&str])] = &[
        (
            "[heartbeat]\n\ntimeout = \"10x\"\n",
            &[".toml:3: heartbeat.timeout: \"10x\"", "write for example \"10s\""],
        ),
        (
            "heartbeat.timeout = 10\n",
            &[".toml:1: heartbeat.timeout: 10", "duration", "\"10s\""],
        ),
        (
            "[heartbeat]\ntimout = \"9s\"\n",
            &[".toml:2: heartbeat.timout", "did you mean heartbeat.timeout?"],
        ),
        (
            "[hartbeat]\ntimeout = \"9s\"\n",
            &[":2: hartbeat.timeout", "did you mean heartbeat.timeout?"],
        ),
        ("colour = 1\n", &[":1: colour: is no setting", "config show"]),
        ("http = 5\n", &[":1: http: is a section", "bind"]),
        (
            "[http]\nbind = \"localhost\"\n",
            &[":2: http.bind: \"localhost\"", "\"127.0.0.1:8001\""],
        ),
        (
            "[http]\nfault_injection = \"yes\"\n",
            &["http.fault_injection: \"yes\"", "boolean", "false"],
        ),
        (
            "[nats]\nurls = \"nats://u:secret@h:1\"\n",
            &["nats.urls", "u:***@h", "[\"nats://127.0.0.1:4222\"]"],
        ),
        ("[http\nbind = 1\n", &[".toml:1: is no TOML"]),
        (
            "[database]\nconnections = -1\n",
            &[":2: database.connections: -1"],
        ),
        (
            "[database]\nconnections = 1\n",
            &[":2: database.connections: is 1; write 2 or more"],
        ),
        (
            "[database]\nurl = \"mysql://u:secret@h/d\"\n",
            &[":2: database.url", "u:***@h", "postgres://"],
        ),
        (
            "[heartbeat]\nwarning = \"20s\"\n",
            &[
                ":2: heartbeat.warning",
                "must be shorter than heartbeat.timeout (10s)",
            ],
        ),
        (
            "[heartbeat]\nemergency = \"10s\"\n",
            &[
                ":2: heartbeat.emergency",
                "heartbeat.timeout (10s) must be shorter",
            ],
        ),
        (
            "[heartbeat]\nmass_failure_share = 1.5\n",
            &["mass_failure_share: is 1.5", "from 0 to 1"],
        ),
        ("[lease]\ndrift = nan\n", &["lease.drift: is NaN"]),
        ("[lease]\nduration = \"0s\"\n", &[":2: lease.duration: is 0"]),
        (
            "[consistency]\ncheck_interval = \"0s\"\n",
            &["consistency.check_interval: is 0"],
        ),
        (
            "[supervision]\nmax_restarts = 0\n",
            &["supervision.max_restarts: is 0"],
        ),
        (
            "[nats]\nprefix = \"a.*\"\n",
            &[":2: nats.prefix: \"a.*\" is no prefix"],
        ),
        (
            "[nats]\nurls = [\"http://h\"]\n",
            &[":2: nats.urls: \"http://h\"", "nats://HOST:4222"],
        ),
        (
            "[recovery]\nmax_delay = \"1s\"\n",
            &[":2: recovery.max_delay", "retry_delay (5s) must be at most"],
        ),
        (
            "[http]\nprobe_bind = \"127.0.0.1:8001\"\n",
            &[":2: http.probe_bind", "choose another port"],
        ),
        ("data_dir = \"\"\n", &[":1: data_dir: is empty"]),
    ];
    for (file, parts) in cases {
        refused(file, &[], &[], parts);
        assert!(!load(file, &[], &[]).unwrap_err().to_string().contains("secret"));
    }
}

#[test]
fn variables_and_flags_are_refused_by_their_name() {
    refused(
        "",
        &[
            ("STREAMKEEPER__HTTP__BNID", "x"),
            ("STREAMKEEPER__BALANCER__MAX_MOVES_PER_ROUND", "many"),
        ],
        &[
            ("--set", "lease.duration", "soon"),
            ("--bind", "http.bind", "8001"),
        ],
        &[
            "environment variable STREAMKEEPER__HTTP__BNID: http.bnid: is no setting; did you mean http.bind?",
            "environment variable STREAMKEEPER__BALANCER__MAX_MOVES_PER_ROUND: balancer.max_moves_per_round: \"many\"",
            "flag --set: lease.duration: \"soon\"",
            "flag --bind: http.bind: \"8001\"",
        ],
    );
}

#[test]
fn one_mistake_hides_no_other() {
    let errors = load(
        "[heartbeat]\ntimeout = \"x\"\nwarning = \"-\"\nmass_failure_count = 0\n[lease]\ndraft = 1\n",
        &[],
        &[],
    )
    .unwrap_err();
    assert_eq!(errors.0.len(), 4, "{errors}");
}

#[test]
fn a_missing_file_is_named() {
    let layers = Layers {
        file: Some("/nonexistent/streamkeeper.toml".into()),
        ..Layers::default()
    };
    let text = load_from(&layers, []).unwrap_err().to_string();
    assert!(
        text.starts_with("/nonexistent/streamkeeper.toml: cannot be read"),
        "{text}"
    );
}

/// Settings without a default; the second list contradicts the first.
const OPTIONAL: [&str; 2] = [
    "[alerts.webhook]\nurl = \"https://s3cret\"\nsecret = \"s3cret-0123456789\"\ntemplate = '{\"a\": {{ rule }}}'\n[http]\nprobe_bind = \"127.0.0.1:1\"\napi_url = \"http://o\"\n[leadership]\nnumber = 3\n[nats]\nserver = \"/x\"\nurls = [\"tls://h\"]\nuser = \"u\"\npassword = \"s3cret\"\n\
     system_user = \"u\"\nsystem_password = \"s3cret\"\n\
     tls_ca_file = \"/ca\"\ntls_cert_file = \"/cert\"\ntls_key_file = \"/key\"\n",
    "[nats]\nurls = [\"nats://u@h\"]\npassword_file = \"/p\"\ntoken_file = \"/t\"\n",
];

#[test]
fn every_optional_setting_is_known() {
    let [first, second] = OPTIONAL.map(|file| load(file, &[], &[]).unwrap());
    let external =
        |login: &str| load(&format!("[nats]\nurls = [\"nats://h\"]\n{login}\n"), &[], &[]).unwrap();
    let third = external("token = \"s3cret\"");
    let [fourth, fifth, sixth] = [
        "credentials_file = \"/c\"\nsystem_credentials_file = \"/c\"",
        "nkey_seed_file = \"/n\"\nsystem_nkey_seed_file = \"/n\"",
        "system_user = \"u\"\nsystem_password_file = \"/p\"",
    ]
    .map(external);
    // A new optional setting has to be set above: this fails to compile until it is named here.
    let super::Http {
        bind: _,
        api_url,
        probe_bind,
        change_timeout: _,
        fault_injection: _,
    } = &first.config.http;
    let super::Leadership {
        backend: _,
        number,
        lease: _,
        renew_every: _,
    } = &first.config.leadership;
    assert!(api_url.is_some() && number.is_some());
    let webhook = &first.config.alerts.webhook;
    assert!(webhook.url.is_some() && webhook.secret.is_some() && webhook.template.is_some());
    let super::Nats {
        urls: _,
        user,
        password,
        password_file: _,
        token: _,
        token_file: _,
        credentials_file: _,
        nkey_seed_file: _,
        system_user,
        system_password,
        system_password_file: _,
        system_credentials_file: _,
        system_nkey_seed_file: _,
        tls_ca_file,
        tls_cert_file,
        tls_key_file,
        prefix: _,
        server,
        linger: _,
        connect_timeout: _,
    } = &first.config.nats;
    assert!(probe_bind.is_some() && server.is_some() && user.is_some() && password.is_some());
    assert!(system_user.is_some() && system_password.is_some());
    let system = |loaded: &super::Loaded| loaded.config.nats.system_access();
    assert!(system(&fourth).is_some_and(|access| access.credentials_file.is_some()));
    assert!(system(&fifth).is_some_and(|access| access.nkey_seed_file.is_some()));
    assert!(system(&sixth).is_some_and(|access| access.password_file.is_some()));
    assert!(system(&third).is_none() && system(&first).is_some_and(|access| access.tls_ca_file.is_some()));
    assert!(tls_ca_file.is_some() && tls_cert_file.is_some() && tls_key_file.is_some());
    assert!(second.config.nats.password_file.is_some() && second.config.nats.token_file.is_some());
    assert!(third.config.nats.token.is_some());
    assert!(fourth.config.nats.credentials_file.is_some() && fifth.config.nats.nkey_seed_file.is_some());
    for loaded in [first, second, third, fourth, fifth, sixth] {
        let written = toml::Value::try_from(&loaded.config).unwrap();
        let mut keys = BTreeMap::new();
        super::load::flatten("", written.as_table().unwrap(), &mut keys);
        let keys: BTreeSet<String> = keys.into_keys().collect();
        let shown = format!("{:?} {written} {:?}", loaded.config, loaded.effective);
        assert!(!shown.contains("s3cret"), "{shown}");
        let known: BTreeSet<String> = loaded.effective.into_iter().map(|setting| setting.key).collect();
        assert_eq!(keys, known);
    }
}

#[test]
fn logins_of_the_message_server_must_agree() {
    let external = "[nats]\nurls = [\"nats://h\"]\n";
    let cases: &[(&str, &[&str])] = &[
        ("user = \"u\"", &[":3: nats.user", "needs a password"]),
        ("password = \"s3cret\"\npassword_file = \"/p\"", &["keep one"]),
        (
            "token = \"s3cret\"\ntoken_file = \"/t\"",
            &[":3: nats.token", "keep one"],
        ),
        (
            "token = \"s3cret\"\nuser = \"u\"\npassword = \"s3cret\"",
            &["nats.user and nats.token are set", "takes one login"],
        ),
        (
            "credentials_file = \"/c\"\nnkey_seed_file = \"/n\"\nuser = \"u\"\ntls_cert_file = \"/k\"",
            &[
                "nats.user, nats.credentials_file and nats.nkey_seed_file are set",
                "nats.user: a user needs a password",
                ":6: nats.tls_cert_file",
            ],
        ),
        (
            "system_password = \"s3cret\"\nsystem_password_file = \"/p\"",
            &[
                "nats.system_password and nats.system_password_file are both set",
                "set nats.system_user",
            ],
        ),
        (
            "system_nkey_seed_file = \"/n\"\nsystem_user = \"u\"",
            &[
                "nats.system_user and nats.system_nkey_seed_file are set",
                ":4: nats.system_user",
            ],
        ),
        (
            "tls_key_file = \"/k\"",
            &[":3: nats.tls_key_file", "set both or none"],
        ),
        (
            "password = [\"s3cret\"]",
            &[":3: nats.password: \"***\"", "\"a password\""],
        ),
    ];
    for (lines, parts) in cases {
        let file = format!("{external}{lines}\n");
        refused(&file, &[], &[], parts);
        assert!(!load(&file, &[], &[]).unwrap_err().to_string().contains("s3cret"));
    }
    refused(
        "[nats]\npassword_file = \"/p\"\n",
        &[],
        &[],
        &[":2: nats.password_file", "nats.urls"],
    );
}

#[test]
fn passwords_are_masked() {
    for (text, expected) in [
        ("nats://u:p@h:1", "nats://u:***@h:1"),
        (
            "a nats://h:1, postgres://u:p%40@h/d?x=y z",
            "a nats://h:1, postgres://u:***@h/d?x=y z",
        ),
        ("postgres://u@h/d", "postgres://u@h/d"),
        ("nothing", "nothing"),
    ] {
        assert_eq!(mask(text), expected);
    }
}
