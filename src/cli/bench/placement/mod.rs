//! `bench placement`: what a plan costs and how good it is. The balancer of `serve`, asked as the leader asks it: with a new
//! state of the cluster.

mod fleet;
mod lpt;
mod measure;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::machine;
use super::tally::quantile;
use crate::failure::Failure;
use crate::screen;
use measure::Figures;

const EXAMPLES: &str = "\
Needs no server: a generated fleet is planned for by the balancer that `serve` runs. Capacities are unequal, there are \
three zones and three dimensions of load (weight, cpu, memory); 10 % of the streams require a label, 5 % have a spread \
key, 1 % are pinned.
  cpu_ms        processor time of one thread, from the state of the cluster to the finished plan, the median
  moves_excess  moves of streams that were not on a lost worker (death, storm), or not to the new one (join, return)
  imbalance     highest load / capacity of a worker and dimension, by that of the whole fleet
  highest, mean the same of each dimension, undivided: weight, cpu, memory
  ratio_to_lpt  cpu_ms by that of a bare heuristic without any constraint, in the same process

Examples:
  streamkeeper bench placement
  streamkeeper bench placement --streams 100000 --workers 1000 --weights lognormal --scenario death --json
  streamkeeper bench placement --streams 1000000 --workers 1000 --scenario join --runs 7";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlacementArgs {
    /// How many streams there are
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    streams: u32,
    /// How many workers there are
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(4..=20_000))]
    workers: u32,
    /// How the weights of streams are distributed
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Weights::Lognormal)]
    weights: Weights,
    /// What happens
    #[arg(long, value_enum, value_name = "SCENARIO", default_value_t = Scenario::Scratch)]
    scenario: Scenario,
    /// How often it is measured
    #[arg(long, value_name = "COUNT", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Seed of the generated fleet
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Ends with one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// How the weights of streams are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Weights {
    /// From half to one and a half
    Uniform,
    /// Median one, a few much heavier
    Lognormal,
    /// The n-th weighs 1/n
    Zipf,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Scenario {
    /// All streams are new
    Scratch,
    /// One worker dies
    Death,
    /// One worker joins
    Join,
    /// A dead worker comes back, its streams run elsewhere
    Return,
    /// One worker is emptied
    Drain,
    /// One worker in ten dies, all at once
    Storm,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct Report {
    scenario: Scenario,
    streams: u32,
    workers: u32,
    weights: Weights,
    seed: u64,
    runs: usize,
    cpu_ms: f64,
    cpu_ms_min: f64,
    cpu_ms_max: f64,
    lpt_ms: f64,
    ratio_to_lpt: f64,
    moves: usize,
    moves_excess: usize,
    imbalance: f64,
    imbalance_lower_bound: f64,
    highest: [f64; 3],
    mean: [f64; 3],
    unplaced: usize,
    machine: serde_json::Value,
}

pub(super) fn run(args: &PlacementArgs) -> Result<(), Failure> {
    let mut all: Vec<Figures> = Vec::new();
    for run in 1..=args.runs {
        let figures = measure::measure(args)?;
        screen::note(&format!(
            "run {run} of {}: {:.2} ms, bare heuristic {:.2} ms, {} moves",
            args.runs, figures.cpu_ms, figures.lpt_ms, figures.moves
        ));
        all.push(figures);
    }
    let settings = crate::runtime()?.block_on(machine::describe(&[]))?;
    let report = report(args, &all, settings);
    if args.json {
        let report = serde_json::to_string(&report)
            .map_err(|error| Failure::failed(format!("bench: the figures cannot be written: {error}")))?;
        return screen::line(&report);
    }
    screen::fields(&json!(report))
}

fn report(args: &PlacementArgs, all: &[Figures], machine: serde_json::Value) -> Report {
    let of = |share, pick: fn(&Figures) -> f64| quantile(all.iter().map(pick), share);
    let (cpu_ms, lpt_ms) = (of(0.5, |run| run.cpu_ms), of(0.5, |run| run.lpt_ms));
    // The plan is the same in every run.
    let plan = all.first().copied().unwrap_or_default();
    Report {
        scenario: args.scenario,
        streams: args.streams,
        workers: args.workers,
        weights: args.weights,
        seed: args.seed,
        runs: all.len(),
        cpu_ms,
        cpu_ms_min: of(0.0, |run| run.cpu_ms),
        cpu_ms_max: of(1.0, |run| run.cpu_ms),
        lpt_ms,
        ratio_to_lpt: cpu_ms / lpt_ms.max(1e-6),
        moves: plan.moves,
        moves_excess: plan.moves_excess,
        imbalance: plan.imbalance,
        imbalance_lower_bound: plan.imbalance_lower_bound,
        highest: plan.highest,
        mean: plan.mean,
        unplaced: plan.unplaced,
        machine,
    }
}
