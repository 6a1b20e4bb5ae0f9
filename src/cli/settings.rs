//! Flags that become settings of the orchestrator.

use std::path::PathBuf;

use clap::Args;
use streamkeeper_orchestrator::config::{ConfigErrors, Flag, Layers};

use crate::failure::Failure;

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SettingsArgs {
    /// Kind of installation: development, test, staging or production; it changes some defaults
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// File with variables, one NAME=VALUE a line; those of the process win
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// File with settings (TOML); what it does not name keeps its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of the API
    #[arg(long, value_name = "ADDR:PORT")]
    bind: Option<String>,
    /// URL of a NATS server that somebody else runs; may be given several times
    #[arg(long, value_name = "URL")]
    nats: Vec<String>,
    /// Database: sqlite://FILE or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Any setting, such as heartbeat.timeout=12s; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl SettingsArgs {
    /// Layers for the loader. `--set` comes first: the flag with a name of its own is the clearer one.
    pub(crate) fn layers(&self) -> Result<Layers, Failure> {
        let mut flags: Vec<Flag> = self
            .set
            .iter()
            .map(|(key, value)| flag("--set", key, value))
            .collect();
        if let Some(data) = &self.data {
            let text = data.to_str().ok_or_else(|| {
                Failure::usage(format!(
                    "--data {}: is not UTF-8; name a folder in UTF-8",
                    data.display()
                ))
            })?;
            flags.push(flag("--data", "data_dir", text));
        }
        if let Some(bind) = &self.bind {
            flags.push(flag("--bind", "http.bind", bind));
        }
        if !self.nats.is_empty() {
            flags.push(flag("--nats", "nats.urls", &self.nats.join(",")));
        }
        if let Some(database) = &self.database {
            flags.push(flag("--database", "database.url", database));
        }
        Ok(Layers {
            environment: self.environment.clone(),
            env_file: self.env_file.clone(),
            file: self.config.clone(),
            flags,
        })
    }
}

fn flag(name: &str, key: &str, value: &str) -> Flag {
    Flag {
        name: name.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// Reads `KEY=VALUE`.
pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Mistakes in the configuration, one a line.
pub(crate) fn refused(errors: &ConfigErrors) -> Failure {
    match errors.0.as_slice() {
        [one] => Failure::usage(format!("configuration: {one}")),
        many => {
            let lines: Vec<String> = many.iter().map(|error| format!("  {error}")).collect();
            Failure::usage(format!(
                "configuration: {} mistakes\n{}",
                many.len(),
                lines.join("\n")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_settings() {
        let args = SettingsArgs {
            bind: Some("127.0.0.1:9".into()),
            nats: vec!["nats://a".into(), "nats://b".into()],
            set: vec![("http.bind".into(), "127.0.0.1:8".into())],
            ..SettingsArgs::default()
        };
        let layers = args.layers().unwrap();
        assert_eq!(
            layers.flags.last(),
            Some(&flag("--nats", "nats.urls", "nats://a,nats://b"))
        );
        // The last one wins.
        assert_eq!(
            layers.flags.first(),
            Some(&flag("--set", "http.bind", "127.0.0.1:8"))
        );
    }

    #[test]
    fn assignments_need_a_key() {
        assert_eq!(assignment("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(assignment("=b").is_err());
        assert!(assignment("a").is_err());
    }
}
