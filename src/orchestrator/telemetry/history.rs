//! What of the metrics is kept over time: a chosen list, small enough for a database.

use std::collections::BTreeMap;

use super::metrics as names;
use crate::port::samples::Sample;

/// What is kept. Counters as they stand; of a histogram its sum and its count.
pub const KEPT: [&str; 20] = [
    names::STREAMS,
    names::STREAMS_CPU_CORES,
    names::STREAMS_MEMORY_BYTES,
    names::STREAMS_BYTES_PER_SECOND,
    names::WORKERS,
    names::WORKER_STREAMS,
    names::WORKER_LOAD_RATIO,
    names::HEARTBEATS,
    names::MOVES,
    names::MIGRATIONS,
    names::LOSSES,
    names::FAILOVER_COUNT,
    names::FAILOVER_SUM,
    names::FINDINGS_PRESENT,
    names::CONSISTENCY_SCORE,
    names::REPAIRS,
    names::ALERTS,
    names::INVARIANT_VIOLATIONS,
    names::DATABASE_CONNECTIONS,
    names::MESSAGES_REFUSED,
];
/// Most series of one moment: two for each of a thousand workers, and the fleet's.
const MAX_SERIES: usize = 2_500;

/// The values of what is kept, out of the text of all metrics. What is no number is left out.
#[must_use]
pub fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(sample).take(MAX_SERIES).collect()
}

/// `name{key="value",…} 7`
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let name = &line[..end];
    if !KEPT.contains(&name) {
        return None;
    }
    let (labels, value) = match line[end..].strip_prefix('{') {
        None => ("", &line[end..]),
        Some(rest) => rest.rsplit_once('}')?,
    };
    let value: f64 = value.trim().parse().ok()?;
    value.is_finite().then(|| Sample {
        name: name.to_owned(),
        labels: as_json(labels),
        value,
    })
}

/// `a="1",b="2"` as a JSON object. Values are ids and words of ours, without quotes or commas.
fn as_json(labels: &str) -> String {
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let object: BTreeMap<&str, &str> = pairs.map(|(key, value)| (key, value.trim_matches('"'))).collect();
    // It is made of texts, so that it can always be written.
    serde_json::to_string(&object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_from_the_text_of_all_metrics() {
        let text = "# HELP streamkeeper_streams Declared streams\n# TYPE streamkeeper_streams gauge\n\
            streamkeeper_streams{state=\"running\"} 7\nstreamkeeper_term 3\nstreamkeeper_streams_cpu_cores 0.5\n\
            streamkeeper_migrations_total{way=\"b\",outcome=\"done\"} 2\n\
            streamkeeper_worker_load_ratio{worker=\"w\"} NaN\nstreamkeeper_failover_seconds_sum 1.5\n";
        let found: Vec<(String, String, f64)> = samples(text)
            .into_iter()
            .map(|sample| (sample.name, sample.labels, sample.value))
            .collect();
        let row = |name: &str, labels: &str, value| (name.to_owned(), labels.to_owned(), value);
        assert_eq!(
            found,
            [
                row("streamkeeper_streams", r#"{"state":"running"}"#, 7.0),
                row("streamkeeper_streams_cpu_cores", "{}", 0.5),
                row(
                    "streamkeeper_migrations_total",
                    r#"{"outcome":"done","way":"b"}"#,
                    2.0
                ),
                row("streamkeeper_failover_seconds_sum", "{}", 1.5),
            ]
        );
    }

    #[test]
    fn a_moment_has_a_bounded_number_of_series() {
        let text: String = (0..MAX_SERIES + 5)
            .map(|worker| format!("streamkeeper_worker_streams{{worker=\"w{worker}\"}} 1\n"))
            .collect();
        assert_eq!(samples(&text).len(), MAX_SERIES);
    }
}
