//! Rounds with the default times, chosen evenly from the whole table: hours where that is wanted, and each finished round is
//! kept, so that whoever is interrupted goes on where it was (`make soak`).

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::pace::Pace;
use crate::rounds::{HEAD, KEPT, Outcome};
use crate::scene::{Scene, Stage};
use crate::table::{Row, TABLE};

const STAGES: [Stage; 3] = [Stage::Sqlite, Stage::Postgresql, Stage::Cluster];

/// Which rounds there are, and which are done.
struct Progress {
    file: PathBuf,
    plan: Vec<(Stage, &'static Row)>,
    /// One line of the report each.
    done: Vec<String>,
}

/// So many rounds, evenly from all that there are, and again from the beginning where more are wanted.
fn plan(rounds: usize) -> Vec<(Stage, &'static Row)> {
    let of = |stage: Stage| {
        TABLE
            .iter()
            .filter(move |row| row.on.contains(&stage))
            .map(move |row| (stage, row))
    };
    let all: Vec<_> = STAGES.into_iter().flat_map(of).collect();
    let whole = (rounds / all.len()) * all.len();
    let rest = rounds - whole;
    let chosen = (0..rest).map(|number| all[number * all.len() / rest]);
    all.iter().copied().cycle().take(whole).chain(chosen).collect()
}

impl Progress {
    fn read(folder: &Path, rounds: usize) -> Self {
        std::fs::create_dir_all(folder).expect("a folder for the soak");
        let file = folder.join("rounds.md");
        let plan = plan(rounds);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let done: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        let fits = done.len() <= plan.len()
            && done
                .iter()
                .zip(&plan)
                .all(|(line, (stage, row))| line.starts_with(&begin_of(*stage, row)));
        assert!(
            fits,
            "{} holds rounds of another soak than ROUNDS={rounds}: go on with that number, or remove the file",
            file.display()
        );
        Self { file, plan, done }
    }

    /// The first round that is left.
    fn next(&self) -> Option<(Stage, &'static Row)> {
        self.plan.get(self.done.len()).copied()
    }

    fn add(&mut self, line: String) {
        let file = OpenOptions::new().create(true).append(true).open(&self.file);
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .expect("the file of rounds");
        self.done.push(line);
    }
}

fn begin_of(stage: Stage, row: &Row) -> String {
    format!("| {} | {} |", row.name, stage.name())
}

/// Does rounds as long as one fleet serves them, and says which. A hall is for one fleet: the next one has another.
pub(crate) async fn one_fleet(folder: &Path, rounds: usize) {
    let mut progress = Progress::read(folder, rounds);
    let Some((stage, _)) = progress.next() else {
        return;
    };
    let mut scene = Scene::start(stage, Pace::full()).await;
    while let Some((next, row)) = progress.next()
        && next == stage
    {
        let outcome: Outcome = scene.round(row).await;
        let line = outcome.line(row, stage);
        println!("{line}");
        outcome
            .verdict
            .broken
            .iter()
            .for_each(|what| println!("  {what}"));
        progress.add(line);
        if !outcome.recovered {
            break;
        }
    }
}

/// Whether all rounds are done; the first time it is asked, it shows what is.
///
/// # Panics
/// Panics where all are done, and a promise was broken in any of them.
pub(crate) fn is_done(folder: &Path, rounds: usize, first: bool) -> bool {
    let progress = Progress::read(folder, rounds);
    let file = progress.file.display();
    if first {
        println!("{} of {rounds} rounds are done\n{HEAD}", progress.done.len());
        progress.done.iter().for_each(|line| println!("{line}"));
    }
    if progress.next().is_some() {
        return false;
    }
    let kept = progress.done.iter().filter(|line| line.ends_with(KEPT)).count();
    println!("{kept} of {rounds} rounds kept every promise; the table is in {file}");
    assert_eq!(kept, rounds, "promises were broken; what, stands in the log");
    true
}

#[test]
fn rounds_are_chosen_from_the_whole_table() {
    let all = plan(1_000);
    assert_eq!(all.len(), 1_000);
    for stage in STAGES {
        for count in [20, 1_000] {
            assert!(
                plan(count).iter().any(|(chosen, _)| *chosen == stage),
                "{count}: {}",
                stage.name()
            );
        }
        for row in TABLE.iter().filter(|row| row.on.contains(&stage)) {
            assert!(
                all.iter()
                    .any(|(on, chosen)| *on == stage && chosen.name == row.name),
                "{}",
                row.name
            );
        }
    }
    assert_eq!(plan(20).len(), 20);
}
