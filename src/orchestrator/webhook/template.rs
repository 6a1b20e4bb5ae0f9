//! What a webhook is told where the usual body is not what it understands: a template in Jinja's language.
//!
//! Every value is written as JSON, so that no text of an alert can end a string of the body early.

use std::borrow::Cow;
use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;
use serde::de::IgnoredAny;
use streamkeeper_protocol::{Alert, AlertStatus, PROTOCOL_VERSION};

/// The one template's name, as errors show it.
const NAME: &str = "template";
/// Most bytes of a template, and of what it makes.
const MAX_BYTES: usize = 64 * 1024;
/// Most steps of one body.
const MAX_STEPS: u64 = 50_000;
/// What rules are about.
const LABELS: [&str; 4] = ["worker", "stream", "kind", "invariant"];

/// Why a template is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTemplate(String);

/// A template that makes JSON of every alert that is known today.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
}

/// What a template may name.
#[derive(Serialize)]
struct Names<'a> {
    status: AlertStatus,
    rule: &'a str,
    severity: &'a str,
    labels: &'a BTreeMap<String, String>,
    annotations: BTreeMap<&'a str, Cow<'a, str>>,
    starts_at: &'a str,
    ends_at: Option<&'a str>,
    fingerprint: &'a str,
    incident: Option<&'a str>,
}

impl Template {
    /// Reads a template and tries it out.
    ///
    /// # Errors
    /// When it is none, or makes no JSON of some alert; in words.
    pub fn new(text: &str) -> Result<Self, BadTemplate> {
        if text.len() > MAX_BYTES {
            let problem = format!("has {} bytes; at most {MAX_BYTES} are allowed", text.len());
            return Err(BadTemplate(problem));
        }
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(MAX_STEPS));
        let added = environment.add_template_owned(NAME, text.to_owned());
        added.map_err(|error| BadTemplate(format!("is no template: {}", in_words(&error))))?;
        let template = Self { environment };
        for label in LABELS.into_iter().map(Some).chain([None]) {
            for status in [AlertStatus::Firing, AlertStatus::Resolved] {
                let alert = example(label, status);
                template.render(&alert, as_it_is).map_err(|problem| {
                    let about = label.unwrap_or("nothing");
                    BadTemplate(format!(
                        "makes no body of an alert about {about}: {problem}; a label that only some alerts have is \
                         written {{{{ labels.worker | default(\"\") }}}}"
                    ))
                })?;
            }
        }
        Ok(template)
    }

    /// The body for one alert, with secrets hidden by `mask`.
    ///
    /// # Errors
    /// When that is no JSON, in words.
    pub fn render(&self, alert: &Alert, mask: fn(&str) -> Cow<'_, str>) -> Result<String, String> {
        let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
        let annotations = alert.annotations.iter();
        let names = Names {
            status: alert.status,
            rule: label("alertname"),
            severity: label("severity"),
            labels: &alert.labels,
            annotations: annotations
                .map(|(name, text)| (name.as_str(), mask(text)))
                .collect(),
            starts_at: &alert.starts_at,
            ends_at: alert.ends_at.as_deref(),
            fingerprint: &alert.fingerprint,
            incident: alert.incident.as_deref(),
        };
        let template = self.environment.get_template(NAME);
        let made = template.and_then(|template| template.render(Serde(&names)));
        let made = made.map_err(|error| in_words(&error))?;
        if made.len() > MAX_BYTES {
            return Err(format!(
                "it has {} bytes; at most {MAX_BYTES} are sent",
                made.len()
            ));
        }
        match serde_json::from_str::<IgnoredAny>(&made) {
            Ok(IgnoredAny) => Ok(made),
            Err(error) => Err(format!(
                "it is no JSON ({error}); values bring their own quotes: {{\"text\": {{{{ annotations.summary }}}}}}"
            )),
        }
    }
}

fn in_words(error: &minijinja::Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    error
        .line()
        .map_or_else(|| what.clone(), |line| format!("line {line}: {what}"))
}

/// An example holds no secret.
const fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn example(label: Option<&str>, status: AlertStatus) -> Alert {
    let text = |text: &str| text.to_owned();
    let mut labels = BTreeMap::from([
        (text("alertname"), text("worker_lost")),
        (text("severity"), text("critical")),
    ]);
    labels.extend(label.map(|label| (text(label), text("a"))));
    let annotations = ["summary", "description", "suggestion"];
    Alert {
        v: PROTOCOL_VERSION,
        status,
        labels,
        annotations: annotations.map(|name| (text(name), text("\"quoted\"\n"))).into(),
        starts_at: text("2026-01-01T00:00:00Z"),
        ends_at: (status == AlertStatus::Resolved).then(|| text("2026-01-01T00:01:00Z")),
        fingerprint: text("0123456789abcdef"),
        incident: Some(text("89abcdef01234567")),
        explained_by: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_bring_their_quotes_and_secrets_stay() {
        let template = Template::new(
            "{\"text\": {{ annotations.summary }}, \"who\": {{ labels.worker | default(none) }}, \"up\": \
             {% if status == \"resolved\" %}true{% else %}false{% endif %}, \"all\": {{ labels }}}",
        )
        .unwrap();
        let alert = example(Some("worker"), AlertStatus::Firing);
        let body = template.render(&alert, |_| "*\"*".into()).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let labels = serde_json::json!({"alertname": "worker_lost", "severity": "critical", "worker": "a"});
        let expected = serde_json::json!({"text": "*\"*", "who": "a", "up": false, "all": labels});
        assert_eq!(body, expected);
    }

    #[test]
    fn what_makes_no_body_is_refused_with_its_line() {
        let long = " ".repeat(MAX_BYTES + 1);
        for (text, expected) in [
            ("{\n\"a\": {{ rule }", "line 2"),
            ("{\"a\": {{ labels.worker }}}", "default"),
            ("{\"a\": {{ sumary }}}", "line 1"),
            ("{\"a\": \"{{ rule }}\"}", "no JSON"),
            (
                "{% for a in range(9999) %}{% for b in range(9999) %}1{% endfor %}{% endfor %}",
                "fuel",
            ),
            (long.as_str(), "at most"),
        ] {
            let problem = Template::new(text).unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
